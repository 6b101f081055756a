/**
 * How fast this machine is just now: two pieces of work that have nothing of ours in them, against what they took on
 * the machine, quiet, on which the marks of RESULTS.md were set. Shared machines change by a factor of two within a day.
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

/** What each takes now, in µs of CPU, and how many times that of then. */
export function yardstick(): { readonly title: string; readonly now: number; readonly times: number }[] {
  const now = costs(Object.fromEntries(pieces.map(({ title, run }) => [title, run])));
  return pieces.map(({ title, once }) => ({ title, now: now[title]!, times: now[title]! / once }));
}
