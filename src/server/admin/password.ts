/** Passwords that the program chooses. */
import { randomInt } from 'node:crypto';

/** Without what looks alike: 0 and o, 1 and l and i. */
const alphabet = '23456789abcdefghjkmnpqrstuvwxyz';

/** 138 random bits, in four groups that can be typed. */
export function newPassword(): string {
  const letters = Array.from({ length: 28 }, () => alphabet[randomInt(alphabet.length)]);
  return letters.join('').replace(/(.{7})(?!$)/g, '$1-');
}
