/** The cost that one account may cause, and its writes that may be pending (XEP-0205 §3). */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { loadConfig } from '../../src/server/config/load.js';
import { Backlog } from '../../src/server/limits/backlog.js';
import { Share, Shares } from '../../src/server/limits/shares.js';

const { limits } = loadConfig({ text: '', modules: standardModules });
const rates = {
  stanzas_per_second: 10,
  stanza_burst: 10,
  bytes_per_second: 1000,
  byte_burst: 1000,
  answer_bytes_per_second: 1000,
  answer_byte_burst: 1000,
  cpu_ms_per_second: 100,
  cpu_ms_burst: 100,
};

/** The clock stands still except for `pass`. */
function world() {
  let now = 1000;
  mock.timers.enable({ apis: ['setTimeout'] });
  const clock = mock.method(performance, 'now', () => now);
  const hits: string[] = [];
  const pass = (ms: number) => {
    now += ms;
    mock.timers.tick(ms);
  };
  const end = () => {
    clock.mock.restore();
    mock.timers.reset();
  };
  return { hits, pass, end, hit: (limit: string) => void hits.push(limit), now: () => now };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

const costs: readonly [limit: string, spend: (share: Share) => void][] = [
  ['stanzas_per_second', (share) => Array.from({ length: 20 }, () => share.takeStanza())],
  ['bytes_per_second', (share) => share.received(performance.now(), 2000)],
  ['answer_bytes_per_second', (share) => share.answered(2000)],
  ['cpu_ms_per_second', (share) => share.worked(200)],
];

/** Those of one limit; the others are unlimited. */
function only(limit: string): typeof rates {
  const kind = limit.replace(/s?_per_second$/, '');
  const limits = Object.entries(rates).map(([name, rate]) => [
    name,
    name.startsWith(kind) ? rate : Number.POSITIVE_INFINITY,
  ]);
  return Object.fromEntries(limits) as typeof rates;
}

const cases = costs.flatMap(([limit, spend]) => [
  { title: limit, limit, spend, limits: rates },
  { title: `${limit} alone`, limit, spend, limits: only(limit) },
]);
for (const { title, limit, spend, limits } of cases)
  test(`a share in debt is served again after enough time: ${title}`, async () => {
    const { hits, hit, now, pass, end } = world();
    const share = new Share('rate_account', () => limits, hit);
    pass(100);
    share.refill(now());
    assert.equal(share.isSpent, false);
    spend(share);
    assert.equal(share.isSpent, true);
    await turn();
    const served: number[] = [];
    for (const one of [1, 2, 3])
      share.wait(() => {
        served.push(one);
        share.worked(0.1);
      });
    pass(900);
    assert.deepEqual(served, []);
    pass(200);
    for (let round = 0; round < 3; round++) await turn();
    assert.deepEqual(served, [1, 2, 3]);
    assert.deepEqual([...new Set(hits)], [`rate_account.${limit}`]);
    end();
  });

test('twenty streams of an account share one turn', async () => {
  const { hit, end } = world();
  const share = new Share('rate_account', () => ({ ...rates, cpu_ms_per_second: 1e9, cpu_ms_burst: 1e9 }), hit);
  const served: number[] = [];
  const stream = (one: number): void => {
    if (served.length === 40) return;
    served.push(one);
    share.worked(30);
    share.wait(() => stream(one));
  };
  share.worked(30);
  for (let one = 0; one < 20; one++) share.wait(() => stream(one));
  // A turn of the event loop serves one of them, and the next turn the next one.
  for (let round = 0; round < 40; round++) await turn();
  const length = served.length;
  assert.ok(length >= 20, String(length));
  assert.deepEqual(
    served,
    served.map((_, at) => at % 20),
  );
  // Nothing waits when the next test begins.
  for (let round = 0; round < 40; round++) await turn();
  end();
});

test('accounts in debt are served one after another, without delaying others', async () => {
  const { hit, end } = world();
  const all = { ...rates, cpu_ms_per_second: 1e9, cpu_ms_burst: 1e9, stanzas_per_second: 1e9, stanza_burst: 1e9 };
  const busy = Array.from({ length: 10 }, () => new Share('rate_account', () => all, hit));
  const other = new Share('rate_account', () => all, hit);
  const served: number[] = [];
  const stream = (one: number): void => {
    served.push(one);
    busy[one]!.worked(20);
    if (served.length < 40) busy[one]!.wait(() => stream(one));
  };
  for (const [one, share] of busy.entries()) {
    share.worked(20);
    share.wait(() => stream(one));
  }
  let turns = 0;
  for (; served.length < 49; turns++) {
    await turn();
    assert.equal(other.isSpent, false);
    other.worked(0.1);
  }
  assert.ok(turns >= 48, `one in each turn of the event loop: ${turns}`);
  for (const one of busy.keys()) assert.ok(served.filter((same) => same === one).length >= 4, `${one} had its turns`);
  end();
});

test('a jump of the clock does not count as work', async () => {
  const { hit, end } = world();
  const share = new Share('rate_account', () => ({ ...rates, cpu_ms_burst: 2000, cpu_ms_per_second: 1e6 }), hit);
  share.worked(1e9);
  await turn();
  assert.equal(share.isSpent, false);
  end();
});

test('reconnecting does not refill a share; addresses of proxies have one for each connection', () => {
  const { hit, end } = world();
  const shares = new Shares(
    () => ({ ...limits, rate_account: rates, rate_address: rates }),
    hit,
    (address) => address === '127.0.0.1',
  );
  const first = shares.ofAccount('romeo@localhost');
  const second = shares.ofAccount('romeo@localhost');
  assert.equal(first, second);
  first.answered(5000);
  shares.leave(first);
  shares.leave(second);
  assert.equal(shares.size, 0);
  assert.equal(shares.ofAccount('romeo@localhost').isSpent, true);
  assert.equal(shares.ofAccount('juliet@localhost').isSpent, false);
  assert.equal(shares.ofAddress('2001:db8::1'), shares.ofAddress('2001:db8::2'));
  assert.notEqual(shares.ofAddress('127.0.0.1'), shares.ofAddress('127.0.0.1'));
  // Anonymous accounts of one address are one.
  assert.equal(shares.ofAnonymous('a@localhost', '192.0.2.1'), shares.ofAnonymous('b@localhost', '192.0.2.1'));
  assert.notEqual(shares.ofAnonymous('a@localhost', '127.0.0.1'), shares.ofAnonymous('b@localhost', '127.0.0.1'));
  end();
});

test('when the disk is nearly full, accounts that wrote much are served slowly, others immediately', async () => {
  const { hits, hit, pass, end } = world();
  let writable = Number.POSITIVE_INFINITY;
  const all = { ...rates, stanza_burst: 1e9, byte_burst: 1e9 };
  const make = () =>
    new Share(
      'rate_account',
      () => all,
      hit,
      () => writable,
    );
  const [large, small] = [make(), make()];
  large.wrote(50_000_000);
  small.wrote(5000);
  assert.equal(large.isOutOfRoom, false);
  writable = 1_000_000;
  assert.deepEqual([large.isOutOfRoom, small.isOutOfRoom], [true, false]);
  let isServed = false;
  large.waitForRoom(() => {
    isServed = true;
  });
  assert.deepEqual(hits, ['storage.low_space_bytes']);
  for (let seconds = 0; seconds < 18; seconds += 2) pass(2000);
  assert.equal(isServed, false);
  // Data written while there was space is not charged later: 310,720 bytes at 16 KiB a second.
  pass(2000);
  assert.equal(isServed, true);
  writable = 1000;
  assert.equal(small.isOutOfRoom, true, 'the less is left, the smaller ones wait too');
  writable = Number.POSITIVE_INFINITY;
  assert.deepEqual([large.isOutOfRoom, small.isOutOfRoom], [false, false]);
  end();
});

test('written bytes are counted by day', (t) => {
  const day = 86_400_000;
  let now = 20_000 * day;
  t.mock.method(Date, 'now', () => now);
  const share = new Share(
    'rate_account',
    () => rates,
    () => {},
  );
  share.wrote(5_000_000);
  share.wrote(1);
  assert.deepEqual(share.written, { today: 5_000_001, yesterday: 0 });
  now += day;
  assert.deepEqual(share.written, { today: 0, yesterday: 5_000_001 });
  share.wrote(7);
  now += 2 * day;
  assert.deepEqual(share.written, { today: 0, yesterday: 0 });
});

// --- the disk

const brake = { waiting_for_disk: 100, waiting_for_disk_bytes: 10_000, waiting_for_disk_bytes_per_account: 4000 };

interface Write {
  readonly share: Share;
  end(): Promise<void>;
}

function disk() {
  const hits: string[] = [];
  const backlog = new Backlog(
    () => brake,
    (limit) => void hits.push(limit),
  );
  const share = () =>
    new Share(
      'rate_account',
      () => limits.rate_account,
      () => {},
    );
  const write = (one: Share, bytes: number): Write => {
    let end!: () => void;
    const durable = new Promise<void>((resolve) => {
      end = resolve;
    });
    backlog.add(one, bytes, durable);
    const settle = async () => {
      end();
      await durable;
      await Promise.resolve();
    };
    return { share: one, end: settle };
  };
  return { hits, backlog, share, write };
}

test('an account with many pending writes waits until half of them are durable; others do not', async () => {
  const { hits, share, write } = disk();
  const [hostile, ordinary] = [share(), share()];
  const writes = Array.from({ length: 5 }, () => write(hostile, 1000));
  write(ordinary, 100);
  assert.deepEqual([hostile.isHeld, ordinary.isHeld], [true, false]);
  assert.deepEqual(hits, ['waiting_for_disk_bytes_per_account']);
  for (const one of writes.slice(0, 2)) await one.end();
  assert.equal(hostile.isHeld, true);
  await writes[2]!.end();
  assert.equal(hostile.isHeld, false);
});

test('too many pending writes in total pause the largest accounts first', async () => {
  const { backlog, hits, share, write } = disk();
  const large = Array.from({ length: 4 }, share);
  const small = Array.from({ length: 20 }, share);
  const writes: Write[] = [];
  for (const one of small) writes.push(write(one, 10));
  for (let round = 0; round < 5; round++) for (const one of large) if (!one.isHeld) writes.push(write(one, 1000));
  for (const one of small) if (!one.isHeld) writes.push(write(one, 10));
  assert.ok(large.every((one) => one.isHeld));
  assert.ok(hits.includes('waiting_for_disk_bytes'));
  assert.ok(backlog.bytes < 2 * brake.waiting_for_disk_bytes);
  for (const { share: one } of writes.slice(-20)) assert.equal(small.includes(one) && one.isHeld, false);
  for (const one of writes) await one.end();
  assert.ok([...large, ...small].every((one) => !one.isHeld && one.waiting === 0 && one.waitingBytes === 0));
  assert.deepEqual([backlog.waiting, backlog.bytes], [0, 0]);
});

test('no account is paused forever, in whatever order writes complete', async () => {
  let state = 7;
  const random = (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state % below;
  };
  for (let round = 0; round < 50; round++) {
    const { backlog, share, write } = disk();
    const shares = Array.from({ length: 1 + random(6) }, share);
    const open: Write[] = [];
    for (let step = 0; step < 200; step++) {
      const one = shares[random(shares.length)]!;
      if (!one.isHeld && random(2) === 0) open.push(write(one, random(3000)));
      else if (open.length > 0) await open.splice(random(open.length), 1)[0]!.end();
    }
    while (open.length > 0) await open.splice(random(open.length), 1)[0]!.end();
    assert.ok(shares.every((one) => !one.isHeld));
    assert.equal(backlog.waiting, 0);
  }
});
