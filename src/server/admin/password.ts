/** Generates passwords. */
import { randomInt } from 'node:crypto';

/** Without similar characters: 0 and o, 1 and l and i. */
const alphabet = '23456789abcdefghjkmnpqrstuvwxyz';

/** 138 random bits in four groups that are easy to type; more if longer passwords are required. */
export function newPassword(shortest = 0): string {
  const groups = Math.max(4, Math.ceil((shortest + 1) / 8));
  const letters = Array.from({ length: 7 * groups }, () => alphabet[randomInt(alphabet.length)]);
  return letters.join('').replace(/(.{7})(?!$)/g, '$1-');
}
