/** Files for the server's own user alone: they tell of people and what they do. */
import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

export const privateMode = 0o600;

/** Makes the folder where there is none, and closes a file that is there to others. */
export function makePrivate(file: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const found = statSync(file, { throwIfNoEntry: false });
  // Not a terminal, a pipe or /dev/null.
  if (found?.isFile() && (found.mode & 0o077) !== 0) chmodSync(file, privateMode);
}
