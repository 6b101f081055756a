import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder, Encoder, FrameError, type Message, protocol } from '../../src/server/cluster/frames.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

const node = { id: 'verona ä', epoch: 2 ** 40 };
const frame = { kind: 'frame', slot: 4095, to: ['a@b/c'], again: undefined, question: undefined } as const;

const messages: readonly Message[] = [
  { kind: 'hello', protocol, from: node, to: { id: '', epoch: 1 }, cluster: 'c', view: 0, connection: 127 },
  { ...frame, number: 1, payload: 'one' },
  { ...frame, number: 2, payload: 'one', to: ['a@b/c', 'a@b/😀'] },
  { ...frame, number: 3, payload: '', again: { ...node, number: 128 } },
  { ...frame, number: 4, payload: '', question: { id: 2 ** 45, timeoutMs: 30_000, isForNode: false } },
  { ...frame, number: 5, payload: '', question: { id: 0, timeoutMs: 1, isForNode: true } },
  { ...frame, number: 6, payload: 'x'.repeat(100_000), to: [] },
  { kind: 'answer', number: Number.MAX_SAFE_INTEGER, id: 1, isGiven: true, payload: '<iq/>' },
  { kind: 'answer', number: 7, id: 1, isGiven: false, payload: '' },
  { kind: 'at', number: 8, view: 16_383 },
  { kind: 'view', view: 16_384 },
  { kind: 'drain', id: 1, slots: [0, 127, 128, 4095] },
  { kind: 'drained', id: 1 },
  { kind: 'welcome', from: node },
  { kind: 'ping' },
  { kind: 'pong' },
  { kind: 'refused', reason: 'ä' },
  {
    kind: 'confirm',
    ranges: [
      [1, 1],
      [3, 1_000_000],
    ],
  },
];

function encoded(all: readonly Message[]): Buffer {
  const encoder = new Encoder();
  for (const message of all) encoder.add(message);
  assert.equal(encoder.isEmpty, all.length === 0);
  const bytes = encoder.take();
  assert.ok(encoder.isEmpty);
  return bytes;
}

test('written frames are read, in pieces of any size', () => {
  const random = mulberry32(7);
  const bytes = encoded(messages);
  for (let round = 0; round < 200; round++) {
    const decoder = new Decoder();
    const read: Message[] = [];
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + Math.floor(random() ** 3 * (round < 100 ? 9 : 5000));
      read.push(...decoder.read(bytes.subarray(at, end)));
      at = end;
    }
    assert.deepEqual(read, messages);
  }
});

test('bytes taken from the writer are not overwritten later', () => {
  const encoder = new Encoder();
  encoder.add(messages[1]!);
  const first = encoder.take();
  const copy = Buffer.from(first);
  encoder.add({ kind: 'drain', id: 99, slots: [1, 2, 3] });
  encoder.take();
  assert.deepEqual(first, copy);
});

test('invalid bytes cause a FrameError', () => {
  const random = mulberry32(11);
  let refused = 0;
  for (let round = 0; round < 5000; round++) {
    const bytes = encoded(messages.filter(() => random() < 0.3));
    for (let n = 0; n < 1 + random() * 3 && bytes.length > 0; n++)
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    try {
      for (const _ of new Decoder().read(bytes));
    } catch (error) {
      assert.ok(error instanceof FrameError, String(error));
      refused++;
    }
  }
  assert.ok(refused > 1000);
});

test('a slot that does not exist is refused', () => {
  for (const message of [
    { ...frame, number: 1, slot: 4096, payload: '' },
    { kind: 'drain', id: 1, slots: [4096] },
  ] as const)
    assert.throws(() => [...new Decoder().read(encoded([message]))], FrameError);
});

test('the first message of a connection is short; those of other protocols are read as far as all have in common', () => {
  const hello = messages[0]!;
  assert.ok(hello.kind === 'hello');
  assert.throws(() => [...new Decoder().read(encoded([{ ...hello, cluster: 'x'.repeat(5000) }]))], FrameError);
  const [other] = [...new Decoder().read(encoded([{ ...hello, protocol: 99 }]))];
  assert.ok(other?.kind === 'hello');
  assert.deepEqual([other.protocol, other.from], [99, node]);
});

test('a message that is too long is refused before it is complete', () => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(2 ** 31, 0);
  assert.throws(() => [...new Decoder().read(head)], FrameError);
  const first = encoded([{ ...frame, number: 2, payload: 'one' }]);
  // As if the payload had come before.
  const repeats = encoded([
    { ...frame, number: 1, payload: 'one' },
    { ...frame, number: 2, payload: 'one' },
  ]).subarray(first.length);
  assert.throws(() => [...new Decoder().read(repeats)], FrameError);
});
