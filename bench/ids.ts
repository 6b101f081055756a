/**
 * Cost of the ids that the server generates: of stanzas, streams, resources and tokens. For comparison, the same from
 * Node's own functions without a pool of random bytes. ns of CPU each. `node dist/bench/ids.js`
 */
import { createHash, randomBytes, randomInt, randomUUID } from 'node:crypto';
import { idAfter, idAt, randomId, stanzaId, timeOf } from '../src/server/stanza/ids.js';
import { costs } from './measure.js';

const id = stanzaId('romeo@localhost');
let now = Date.now();
let length = 0;
const each = (make: () => string) => (): void => {
  length += make().length;
};

const taken = costs({
  'stanza id, many in a millisecond': each(() => stanzaId('romeo@localhost')),
  'stanza id, the first of its millisecond': each(() => stanzaId('romeo@localhost', now++)),
  'when a stanza id was made': () => {
    length += timeOf(id) & 1;
  },
  'the ends of a range of time': each(() => idAt(now) + idAfter(now)),
  'resource after Bind 2 (6 bytes)': each(() => randomId(6)),
  'resource, id of a roster push (9)': each(() => randomId(9)),
  'stream, SM, IQ, item id (16)': each(() => randomId()),
  "the server's part of a SCRAM nonce (18)": each(() => randomId(18)),
  'the same 16 bytes from randomBytes': each(() => randomBytes(16).toString('base64url')),
  'randomUUID: an anonymous user': each(() => randomUUID()),
  'a token of FAST (32 bytes from randomBytes)': each(() => randomBytes(32).toString('base64url')),
  'the same 32 bytes by randomId': each(() => randomId(32)),
  "a stable resource: SHA-256 of the client's id": each(() =>
    createHash('sha256')
      .update('romeo@example.net 7e4b1c52-93d4-4e57-8a6b-0c1d2e3f4a5b')
      .digest('base64url')
      .slice(0, 8),
  ),
  'a digit of a password that an admin asks for': () => {
    length += randomInt(32);
  },
});

const rows: Record<string, { ns: number }> = {};
for (const [name, microseconds] of Object.entries(taken)) rows[name] = { ns: Math.round(microseconds * 1000) };
console.table(rows);
if (length === 0) throw new Error('nothing was made');
