/**
 * The current speed of this machine: two operations independent of our code, compared with their times on the idle
 * reference machine of RESULTS.md. Shared machines vary by a factor of two within a day.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { costs } from './measure.js';

const key = randomBytes(20);
const text = 'x'.repeat(200);

const pieces = [
  { title: 'PBKDF2, SHA-1, 4,096 rounds', once: 620, run: () => pbkdf2Sync('secret', key, 4096, 20, 'sha1') },
  {
    title: 'two HMACs, a hash and a nonce, as of a SCRAM login',
    once: 7.9,
    run: () => {
      createHmac('sha1', key).update(text).digest();
      createHmac('sha1', key).update(text).digest('base64');
      createHash('sha1').update(key).digest();
      randomBytes(18);
    },
  },
];

/** The current cost of each in µs of CPU, and its ratio to the reference. */
export function yardstick(): { readonly title: string; readonly now: number; readonly times: number }[] {
  const now = costs(Object.fromEntries(pieces.map(({ title, run }) => [title, run])));
  return pieces.map(({ title, once }) => ({ title, now: now[title]!, times: now[title]! / once }));
}
