/**
 * Addresses as they occur on the message path, as slices of a larger text. Prints nanoseconds per parse, and the memory
 * that a cached address takes and retains. Run: `node --expose-gc dist/bench/jid.js`.
 */
import { Jid } from '../src/server/address/jid.js';

const ROUNDS = 100;
const TEXTS = 2000;

/** The address as the reader passes it on: a slice of a stanza's text. */
function cut(address: string, padding = ''): string {
  const stanza = `<message to='${address}' type='chat'>${padding}`;
  stanza.charCodeAt(20); // one string, not a concatenation
  return stanza.slice(13, 13 + address.length);
}

/** Prints the best of several rounds with new texts, in ns per text. */
function time(name: string, text: (i: number) => string, work: (text: string) => unknown): void {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const texts = Array.from({ length: TEXTS }, (_, i) => text(round * TEXTS + i));
    const start = process.hrtime.bigint();
    for (const text of texts) work(text);
    best = Math.min(best, Number(process.hrtime.bigint() - start) / TEXTS);
  }
  console.log(`${name.padEnd(40)} ${best.toFixed(0).padStart(6)} ns`);
}

const { gc } = globalThis;
if (gc !== undefined) {
  const heap = (): number => {
    gc();
    return process.memoryUsage().heapUsed;
  };
  const before = heap();
  for (let i = 0; i < 5000; i++)
    Jid.parse(cut(`keeper${i}@verona.example/Conversations.${i}`, String(i).repeat(20_000)));
  const each = (heap() - before) / 10_000; // 5000 full addresses and 5000 bare ones
  console.log(`${'a cached address, cut from 80 kB'.padEnd(40)} ${each.toFixed(0).padStart(6)} bytes`);
}

const known = Array.from({ length: 1000 }, (_, i) => Jid.parse(`romeo${i}@verona.example/Conversations.aB3d`));
time('cached, the same string', (i) => known[i % 1000]!.full, Jid.parse);
time('cached, a new slice', (i) => cut(known[i % 1000]!.full), Jid.parse);
time('cached, a new slice of a bare address', (i) => cut(known[i % 1000]!.bare), Jid.parse);
time('new resource of a cached account', (i) => cut(`romeo1@verona.example/Conversations.${i}`), Jid.parse);
time('new, bare', (i) => cut(`juliet${i}@verona.example`), Jid.parse);
time('new, account and resource', (i) => cut(`nurse${i}@verona.example/Conversations.aB3d`), Jid.parse);
time('new, in capitals', (i) => cut(`Tybalt${i}@verona.example`), Jid.parse);
time('new, not ASCII', (i) => cut(`\u03C0${i}@m\xFCnchen.example/B\xFCro`), Jid.parse);
time('refused', (i) => cut(`a b${i}@verona.example`), Jid.tryParse);
const room = Jid.parse('orchard@rooms.verona.example');
time(
  'withResource, cached',
  (i) => cut(`nick${i % 500}`),
  (nick) => room.withResource(nick),
);
