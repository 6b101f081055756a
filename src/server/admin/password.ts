/** Passwords that the program chooses. */
import { randomInt } from 'node:crypto';

/** Without what looks alike: 0 and o, 1 and l and i. */
const alphabet = '23456789abcdefghjkmnpqrstuvwxyz';

/** 138 random bits, in four groups that can be typed; more where passwords have to be longer. */
export function newPassword(shortest = 0): string {
  const groups = Math.max(4, Math.ceil((shortest + 1) / 8));
  const letters = Array.from({ length: 7 * groups }, () => alphabet[randomInt(alphabet.length)]);
  return letters.join('').replace(/(.{7})(?!$)/g, '$1-');
}
