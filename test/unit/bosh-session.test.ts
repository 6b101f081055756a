/** XEP-0124: the session as a state machine, by its rules, and at random against what they promise. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { type BoshRequest, BoshSession, type Terms } from '../../src/server/transport/bosh/session.js';
import { parse } from '../../src/server/xml/element.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

const usual: Terms = {
  wait: 60_000,
  hold: 1,
  requests: 2,
  polling: 5000,
  inactivity: 30_000,
  maxPause: 120_000,
  acknowledges: false,
  isLegacy: false,
};

const first = 1000;

/** A session whose first request was answered, with a clock that stands still. */
class Harness {
  now = 1000;
  readonly taken: string[] = [];
  drained = 0;
  lost = 0;
  kept = 0;
  readonly session: BoshSession;
  readonly answers = new Map<string, string>();

  constructor(terms: Partial<Terms> = {}) {
    this.session = new BoshSession(
      first,
      { sid: 'it' },
      { ...usual, ...terms },
      {
        now: () => this.now,
        take: ({ rid, payloads, isTerminate }) => {
          this.taken.push(...(payloads!.length === 0 ? [`${rid}`] : [...payloads!].map(String)));
          if (isTerminate) this.session.end();
        },
        drained: () => this.drained++,
        lost: () => this.lost++,
        keeps: (more) => {
          this.kept += more;
        },
      },
    );
  }

  /** Sends a request; the answer is found under its name, `rid` by default. */
  send(rid: number, more: Partial<BoshRequest> = {}, name = String(rid), gone?: AbortSignal): void {
    const request = { rid, isTerminate: false, payloads: [Buffer.from(`p${rid}`)], ...more };
    const signal = gone ?? new AbortController().signal;
    void this.session.request(request, signal).then(({ status, body }) => {
      this.answers.set(name, status === 200 ? body : String(status));
    });
  }

  /** What was answered, once the promises have settled. */
  async answer(name: number | string): Promise<string | undefined> {
    await new Promise((resolve) => setImmediate(resolve));
    return this.answers.get(String(name));
  }

  async attributes(name: number | string): Promise<Record<string, string | undefined>> {
    const body = await this.answer(name);
    assert.ok(body, `${name} is answered`);
    const { xmlns, ...attributes } = parse(body).attrs;
    assert.equal(xmlns, 'http://jabber.org/protocol/httpbind');
    return attributes;
  }

  async isRefused(name: number | string, condition: string): Promise<void> {
    assert.deepEqual(await this.attributes(name), { type: 'terminate', condition });
    assert.ok(this.session.isOver);
    assert.equal(this.lost, 1);
  }

  flush(...elements: string[]): void {
    this.session.send(elements);
    this.session.flush();
  }
}

/** A harness with an answered session creation request. */
async function opened(terms: Partial<Terms> = {}, newKey?: string): Promise<Harness> {
  const harness = new Harness(terms);
  harness.send(first, { newKey });
  harness.flush('<features/>');
  assert.match((await harness.answer(first))!, /sid="it"/);
  harness.taken.length = 0;
  harness.now += 10_000;
  return harness;
}

const body = (attributes: string, elements = ''): string =>
  elements === ''
    ? `<body xmlns="http://jabber.org/protocol/httpbind"${attributes}/>`
    : `<body xmlns="http://jabber.org/protocol/httpbind"${attributes}>${elements}</body>`;

test('§8: a request is held until there is output', async () => {
  const harness = await opened();
  harness.send(first + 1);
  harness.flush();
  assert.equal(await harness.answer(first + 1), undefined);
  harness.flush('<a/>', '<b/>');
  assert.equal(await harness.answer(first + 1), body('', '<a/><b/>'));
  assert.equal(harness.drained, 2);
});

test('§8: no more requests are held than agreed, and output goes to the oldest', async () => {
  const harness = await opened();
  harness.send(first + 1);
  harness.flush();
  harness.send(first + 2);
  harness.flush('<a/>');
  assert.equal(await harness.answer(first + 1), body(` ack="${first + 2}"`, '<a/>'));
  assert.equal(await harness.answer(first + 2), undefined);
  harness.send(first + 3);
  harness.flush();
  assert.equal(await harness.answer(first + 2), body(` ack="${first + 3}"`));
});

test('§8: a held request is answered before its wait is over', async () => {
  const harness = await opened();
  harness.send(first + 1);
  harness.flush();
  harness.now += 58_000;
  harness.session.sweep();
  assert.equal(await harness.answer(first + 1), undefined);
  harness.now += 1000;
  harness.session.sweep();
  assert.equal(await harness.answer(first + 1), body(''));
});

test('§8: a long queue is sent in several answers', async () => {
  const harness = await opened();
  const long = `<a>${'x'.repeat(40_000)}</a>`;
  harness.flush(long, long, '<b/>');
  assert.equal(harness.session.queued, 2 * long.length + 4);
  harness.send(first + 1);
  harness.flush();
  assert.equal(await harness.answer(first + 1), body('', long));
  harness.send(first + 2);
  harness.flush();
  assert.equal(await harness.answer(first + 2), body('', `${long}<b/>`));
  assert.equal(harness.session.queued, 0);
});

test('§14.2: requests are taken and answered in order', async () => {
  const harness = await opened();
  harness.send(first + 2);
  harness.flush('<a/>');
  assert.equal(await harness.answer(first + 2), undefined);
  assert.deepEqual(harness.taken, []);
  harness.send(first + 1);
  harness.flush();
  assert.deepEqual(harness.taken, [`p${first + 1}`, `p${first + 2}`]);
  assert.equal(await harness.answer(first + 1), body(` ack="${first + 2}"`, '<a/>'));
  assert.equal(await harness.answer(first + 2), undefined);
});

test('§14.2: a number after the window ends the session', async () => {
  const harness = await opened();
  harness.send(first + 3);
  await harness.isRefused(first + 3, 'item-not-found');
});

test('§17.2: other requests are told that it is over', async () => {
  const harness = await opened();
  harness.send(first + 1);
  harness.flush();
  harness.session.send(['<a/>']);
  harness.send(first + 4);
  await harness.isRefused(first + 4, 'item-not-found');
  assert.equal(await harness.answer(first + 1), body(' type="terminate" condition="other-request"', '<a/>'));
});

test('§17.1: clients without a version get codes of HTTP', async () => {
  for (const [rid, more, status] of [
    [first + 9, {}, '404'],
    [first + 1, { payloads: undefined }, '400'],
  ] as const) {
    const harness = await opened({ isLegacy: true });
    harness.send(rid, more);
    assert.equal(await harness.answer(rid), status);
  }
});

test('§14.3: an answered request is answered alike, and not taken twice', async () => {
  const harness = await opened();
  harness.send(first + 1);
  harness.flush('<a/>');
  harness.send(first + 1, {}, 'again');
  harness.flush('<b/>');
  assert.equal(await harness.answer('again'), body('', '<a/>'));
  assert.deepEqual(harness.taken, [`p${first + 1}`]);
});

test('§14.3: what is no longer kept ends the session, and what is kept is bounded', async () => {
  const harness = await opened();
  for (let rid = first + 1; rid <= first + 6; rid++) {
    harness.send(rid);
    harness.flush('<a/>');
  }
  const size = body('', '<a/>').length;
  assert.equal(harness.kept, 3 * size);
  harness.send(first + 3, {}, 'again');
  await harness.isRefused('again', 'item-not-found');
});

test('§14.3, §17.3: of the same request twice the first is answered with a recoverable error', async () => {
  const harness = await opened();
  harness.send(first + 1);
  harness.flush();
  harness.send(first + 1, {}, 'again');
  harness.flush();
  assert.equal(await harness.answer(first + 1), body(' type="error"'));
  harness.flush('<a/>');
  assert.equal(await harness.answer('again'), body('', '<a/>'));
  assert.deepEqual(harness.taken, [`p${first + 1}`]);
});

test('§14.3: the same request without end ends the session', async () => {
  for (const output of [[], ['<a/>']]) {
    const harness = await opened();
    harness.send(first + 1);
    harness.flush(...output);
    for (let n = 0; n <= 20; n++) harness.send(first + 1, {}, `again ${n}`);
    await harness.isRefused('again 20', 'policy-violation');
    assert.notEqual(await harness.answer('again 19'), undefined);
  }
});

test('a request whose connection is gone gets no output; the request repeated gets it', async () => {
  const harness = await opened();
  const gone = new AbortController();
  harness.send(first + 1, {}, 'lost', gone.signal);
  harness.flush();
  gone.abort();
  harness.flush('<a/>');
  assert.equal(harness.session.queued, 4);
  harness.send(first + 1);
  harness.flush();
  assert.equal(await harness.answer(first + 1), body('', '<a/>'));
});

test('the next request gets the output too, and the lost one is empty', async () => {
  const harness = await opened();
  const gone = new AbortController();
  harness.send(first + 1, {}, 'lost', gone.signal);
  harness.flush();
  gone.abort();
  harness.send(first + 2);
  harness.flush('<a/>');
  assert.equal(await harness.answer(first + 2), body('', '<a/>'));
  harness.send(first + 1, {}, 'again');
  assert.equal(await harness.answer('again'), body(` ack="${first + 2}"`));
});

test('§10: a client that makes no request is gone', async () => {
  const harness = await opened();
  harness.session.flush();
  harness.now += 19_000;
  assert.equal(harness.session.sweep(), false);
  harness.now += 1001;
  assert.equal(harness.session.sweep(), true);
  assert.equal(harness.lost, 1);
  harness.send(first + 1);
  await harness.isRefused(first + 1, 'item-not-found');
});

test('§10: so is one whose connections are all gone', async () => {
  const harness = await opened();
  const gone = new AbortController();
  harness.send(first + 1, {}, 'lost', gone.signal);
  harness.flush();
  harness.now += 40_000;
  assert.equal(harness.session.sweep(), false);
  gone.abort();
  harness.now += 30_000;
  assert.equal(harness.session.sweep(), true);
});

test('§10: a pause answers all requests, without payload, and is over with the next request', async () => {
  const harness = await opened();
  harness.send(first + 1);
  harness.flush();
  harness.send(first + 2, { pause: 100_000, payloads: [] });
  harness.session.send(['<a/>', '<b/>']);
  harness.flush();
  assert.equal(await harness.answer(first + 1), body(` ack="${first + 2}"`, '<a/><b/>'));
  assert.equal(await harness.answer(first + 2), body(''));
  harness.flush('<c/>');
  harness.now += 99_000;
  assert.equal(harness.session.sweep(), false);
  harness.send(first + 2, { pause: 100_000, payloads: [] }, 'again');
  assert.equal(await harness.answer('again'), body(''));
  harness.send(first + 3);
  harness.flush();
  assert.equal(await harness.answer(first + 3), body('', '<c/>'));
  harness.now += 30_000;
  assert.equal(harness.session.sweep(), true);
});

test('§10: a pause is no longer than the server allows, and may be shorter than usual', async () => {
  for (const [pause, length] of [
    [1e9, 120_000],
    [1000, 1000],
  ] as const) {
    const harness = await opened();
    harness.send(first + 1, { pause });
    harness.flush();
    harness.now += length - 1;
    assert.equal(harness.session.sweep(), false);
    harness.now += 1;
    assert.equal(harness.session.sweep(), true);
  }
});

test('§11: a request more than agreed ends the session, unless it pauses or terminates', async () => {
  for (const [last, isAllowed] of [
    [{}, false],
    [{ pause: 1000 }, true],
    [{ isTerminate: true }, true],
  ] as const) {
    const harness = await opened({ hold: 2, requests: 3 });
    harness.send(first + 1);
    harness.send(first + 2);
    harness.flush();
    // One before it is missing.
    harness.send(first + 4);
    harness.send(first + 5, last);
    harness.flush();
    if (isAllowed) assert.equal(await harness.answer(first + 5), undefined);
    else await harness.isRefused(first + 5, 'policy-violation');
  }
});

test('§11: the extra request may arrive before those that it follows', async () => {
  for (const last of [{ pause: 1000 }, { isTerminate: true }]) {
    const harness = await opened();
    harness.send(first + 1);
    harness.flush();
    harness.send(first + 3, last);
    harness.send(first + 2);
    harness.flush();
    assert.deepEqual(harness.taken.slice(-3), [`p${first + 1}`, `p${first + 2}`, `p${first + 3}`]);
    assert.equal(harness.lost, 0);
  }
});

test('§11: an empty request while others wait is too much within the polling interval', async () => {
  for (const [later, payloads, isAllowed] of [
    [4999, [], false],
    [5000, [], true],
    [0, [Buffer.from('p')], true],
  ] as const) {
    const harness = await opened();
    harness.send(first + 1);
    harness.flush();
    harness.now += later;
    harness.send(first + 2, { payloads });
    harness.flush();
    if (isAllowed) assert.equal(await harness.answer(first + 2), undefined);
    else await harness.isRefused(first + 2, 'policy-violation');
  }
});

test('§11: an empty request that a later one has overtaken is none too many', async () => {
  const harness = await opened();
  harness.send(first + 2);
  harness.send(first + 1, { payloads: [] });
  harness.flush('<a/>');
  assert.equal(await harness.answer(first + 1), body(` ack="${first + 2}"`, '<a/>'));
  assert.equal(await harness.answer(first + 2), undefined);
});

test('§12: a session that polls is answered at once, and may not poll too often', async () => {
  for (const terms of [{ hold: 0, requests: 1 }, { wait: 0 }]) {
    const harness = await opened(terms);
    const empty = { payloads: [] };
    harness.send(first + 1, empty);
    harness.flush();
    assert.equal(await harness.answer(first + 1), body(''));
    harness.now += 5000;
    harness.send(first + 2, empty);
    harness.flush('<a/>');
    assert.equal(await harness.answer(first + 2), body('', '<a/>'));
    // The last answer had a payload.
    harness.send(first + 3, empty);
    harness.flush();
    assert.equal(await harness.answer(first + 3), body(''));
    harness.now += 4999;
    harness.send(first + 4, empty);
    await harness.isRefused(first + 4, 'policy-violation');
  }
});

test('§13: the end is acknowledged on the oldest request, the others get nothing', async () => {
  const harness = await opened();
  harness.send(first + 1);
  harness.flush();
  harness.session.send(['<a/>']);
  harness.send(first + 2, { isTerminate: true });
  assert.deepEqual(harness.taken, [`p${first + 1}`, `p${first + 2}`]);
  assert.equal(await harness.answer(first + 1), body(' type="terminate"', '<a/>'));
  assert.equal(await harness.answer(first + 2), body(''));
  assert.equal(harness.lost, 0);
});

test('the end waits for a request, and is the last answer', async () => {
  const harness = await opened();
  harness.session.send(['<a/>']);
  harness.session.end('remote-stream-error', '<stream:error/>');
  harness.flush('<b/>');
  harness.send(first + 2, {}, 'wrong');
  assert.deepEqual(await harness.attributes('wrong'), { type: 'terminate', condition: 'item-not-found' });
  harness.send(first + 1);
  const last = body(
    ' xmlns:stream="http://etherx.jabber.org/streams" type="terminate" condition="remote-stream-error"',
    '<a/><stream:error/>',
  );
  assert.equal(await harness.answer(first + 1), last);
  harness.send(first + 1, {}, 'again');
  assert.equal(await harness.answer('again'), last);
  harness.send(first + 2);
  assert.deepEqual(await harness.attributes(first + 2), { type: 'terminate', condition: 'item-not-found' });
  assert.equal(harness.session.sweep(), false);
  harness.now += 30_000;
  assert.equal(harness.session.sweep(), true);
  harness.session.forget();
  assert.equal(harness.kept, 0);
});

test('the end also finds a request that was lost', async () => {
  const harness = await opened();
  const gone = new AbortController();
  harness.send(first + 1, {}, 'lost', gone.signal);
  gone.abort();
  harness.session.end();
  harness.send(first + 1);
  assert.equal(await harness.answer(first + 1), body(' type="terminate"'));
});

test('a missing request is not waited for without end', async () => {
  const harness = await opened();
  harness.send(first + 2);
  harness.now += 59_000;
  assert.equal(harness.session.sweep(), false);
  harness.now += 1000;
  harness.session.sweep();
  await harness.isRefused(first + 2, 'item-not-found');
});

test('§9.2: a client is told of an answer that it lacks', async () => {
  const harness = await opened({ acknowledges: true });
  harness.send(first + 1);
  harness.flush('<a/>');
  // It may be on its way.
  harness.now += 1000;
  harness.send(first + 2, { ack: first });
  harness.flush();
  assert.equal(await harness.answer(first + 2), undefined);
  harness.now += 1500;
  harness.send(first + 3, { ack: first });
  harness.flush();
  assert.equal(await harness.answer(first + 2), body(` ack="${first + 3}" report="${first + 1}" time="2500"`));
  assert.equal(await harness.answer(first + 3), undefined);
  harness.send(first + 1, {}, 'again');
  assert.equal(await harness.answer('again'), body('', '<a/>'));
  harness.send(first + 4, { ack: first + 2 });
  harness.flush();
  assert.equal(harness.kept, (await harness.answer(first + 3))!.length);
});

test('a paused session takes nothing, and acknowledges what has arrived', async () => {
  const harness = await opened();
  harness.send(first + 1);
  harness.flush();
  harness.session.pause();
  harness.send(first + 2);
  harness.flush('<a/>');
  assert.deepEqual(harness.taken, [`p${first + 1}`]);
  assert.equal(await harness.answer(first + 1), body(` ack="${first + 2}"`, '<a/>'));
  harness.now += 600_000;
  assert.equal(harness.session.sweep(), false);
  harness.session.resume();
  harness.flush('<b/>');
  assert.deepEqual(harness.taken, [`p${first + 1}`, `p${first + 2}`]);
  assert.equal(await harness.answer(first + 2), body('', '<b/>'));
});

const hash = (text: string): string => createHash('sha1').update(text).digest('hex');

test('§15: keys in sequence, and a new sequence', async () => {
  const keys = ['seed', hash('seed'), hash(hash('seed'))];
  const other = hash('other');
  const harness = await opened({}, keys[2]!.toUpperCase());
  harness.send(first + 1, { key: keys[1] });
  harness.flush('<a/>');
  // §15.3: in the order of the numbers, whatever the order of arrival.
  harness.send(first + 3, { key: 'other' });
  harness.send(first + 2, { key: keys[0], newKey: other });
  harness.flush('<b/>');
  assert.equal(harness.taken.length, 3);
  assert.equal(await harness.answer(first + 2), body(` ack="${first + 3}"`, '<b/>'));
  // Whoever knows the numbers alone gets nothing.
  harness.send(first + 2, { key: keys[1] }, 'theft');
  await harness.isRefused('theft', 'item-not-found');
});

test('§15.4: without the right key nothing is taken', async () => {
  for (const key of [undefined, hash('seed'), 'other']) {
    const harness = await opened({}, hash('seed'));
    harness.send(first + 1, { key });
    await harness.isRefused(first + 1, 'item-not-found');
    assert.deepEqual(harness.taken, []);
  }
});

/** A client and its network at random. */
async function play(seed: number, rounds: number): Promise<void> {
  const random = mulberry32(seed);
  const pick = (n: number) => Math.floor(random() * n);
  const hold = 1 + pick(3);
  const harness = new Harness({ hold, requests: hold + 1, polling: 0 });
  const isOnTheWay = new Set<number>();
  const received = new Map<number, string>();
  const lines = new Map<number, AbortController>();
  let next = first;
  let sent = 0;
  const transmit = (rid: number) => {
    const line = new AbortController();
    lines.set(rid, line);
    const request = { rid, isTerminate: false, payloads: [Buffer.from(`p${rid}`)] };
    void harness.session.request(request, line.signal).then((reply) => {
      // A broken connection brings nothing.
      if (lines.get(rid) !== line) return;
      lines.delete(rid);
      assert.equal(reply.status, 200);
      assert.doesNotMatch(reply.body, /terminate/, `seed ${seed}`);
      if (/type="error"/.test(reply.body)) isOnTheWay.add(rid);
      else received.set(rid, reply.body);
    });
  };
  // §14.3: a client that lacks an answer repeats its request before it goes on.
  const maySend = () => next - Math.min(next, ...isOnTheWay, ...lines.keys()) < hold + 1;
  const step = async (isQuiet: boolean) => {
    const what = pick(10);
    const waiting = [...isOnTheWay];
    const rid = waiting[pick(waiting.length)];
    const busy = [...lines.keys()][pick(lines.size)];
    if (what < 3 && maySend() && !isQuiet) isOnTheWay.add(next++);
    else if (what < 6 && rid !== undefined) {
      isOnTheWay.delete(rid);
      transmit(rid);
    } else if (what < 7 && busy !== undefined && !isQuiet) {
      lines.get(busy)!.abort();
      lines.delete(busy);
      isOnTheWay.add(busy);
    } else if (what < 8 && !isQuiet) harness.session.send([`<o n='${sent++}'/>`]);
    else harness.session.flush();
    await Promise.resolve();
  };
  for (let n = 0; n < rounds; n++) await step(false);
  for (let n = 0; n < 400; n++) {
    await step(true);
    if (harness.session.queued > 0 && maySend()) isOnTheWay.add(next++);
  }
  await new Promise((resolve) => setImmediate(resolve));
  const all = Array.from({ length: next - first }, (_, n) => `p${first + n}`);
  assert.deepEqual(harness.taken, all, `seed ${seed}`);
  const output = all.map((_, n) => received.get(first + n) ?? '').join('');
  assert.deepEqual(
    [...output.matchAll(/n='(\d+)'/g)].map(([, n]) => Number(n)),
    Array.from({ length: sent }, (_, n) => n),
  );
  assert.ok(lines.size <= hold, `seed ${seed}`);
}

test('whatever the network does, everything arrives once and in order', async () => {
  const seed = Number(process.env.SEED ?? 1);
  for (let n = 0; n < Number(process.env.ROUNDS ?? 200); n++) await play(seed + n, 150);
});
