/** The same in another order, which the seed decides. */
import { mulberry32 } from '../src/storage/wrappers.js';

export function shuffled<T>(all: readonly T[], seed: number): T[] {
  const random = mulberry32(seed);
  const rest = [...all];
  const result: T[] = [];
  while (rest.length > 0) result.push(...rest.splice(Math.floor(random() * rest.length), 1));
  return result;
}
