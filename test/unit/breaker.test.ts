import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Breaker, type BreakerLimits, type Refused } from '../../src/server/limits/breaker.js';

class Refusal extends Error {
  constructor(readonly why: Refused) {
    super(why);
  }
}

class Down extends Error {}

// Its timers do not keep a process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

/** An engine that answers, fails or hangs, and its breaker. */
function engine(limits: Partial<BreakerLimits> = {}) {
  const seen: string[] = [];
  const hanging: (() => void)[] = [];
  const made = {
    state: 'works' as 'works' | 'fails' | 'hangs',
    probes: 0,
    seen,
    hanging,
    run: (weight = {}) => breaker.run(ask, weight),
    get breaker() {
      return breaker;
    },
  };
  const ask = (): Promise<string> => {
    if (made.state === 'fails') return Promise.reject(new Down());
    if (made.state === 'hangs') return new Promise((resolve) => hanging.push(() => resolve('late')));
    return setImmediate('answer');
  };
  const breaker = new Breaker({
    limits: () => ({ within: 100, operations: 1000, bytes: 1000, ...limits }),
    probe: () => {
      made.probes++;
      return ask();
    },
    isFailure: (error) => error instanceof Down,
    refusal: (why) => new Refusal(why),
    opened: (error) => seen.push(`opened${error instanceof Down ? ': down' : ''}`),
    closed: ({ refused }) => seen.push(`closed ${refused}`),
  });
  return made;
}

const refused = (why: Refused) => (error: unknown) => error instanceof Refusal && error.why === why;
const until = async (isTrue: () => boolean): Promise<void> => {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 10));
};

test('an engine that works is not noticed', async () => {
  const { breaker, run, seen } = engine();
  assert.deepEqual(await Promise.all([run(), run()]), ['answer', 'answer']);
  assert.deepEqual(breaker.state, { isOpen: false, since: undefined, refused: 0, pending: 0, bytes: 0 });
  assert.deepEqual(seen, []);
});

test('what hangs is given up, and everything else refused at once, until a probe is answered', async () => {
  const one = engine();
  one.state = 'hangs';
  const asked = [one.run(), one.run({ isLong: true }), one.run()];
  const given = asked.map((operation) => operation.then(String, (error: Refusal) => error.why));
  await until(() => one.breaker.state.isOpen);
  assert.equal(await given[0], 'slow');
  assert.equal(await given[2], 'slow');
  for (let n = 0; n < 20; n++) await assert.rejects(one.run(), refused('open'));
  assert.equal(one.hanging.length, 3, 'no more was begun');
  assert.equal(one.breaker.state.pending, 3, 'what was given up is still under way');
  assert.ok(one.breaker.state.since! > 0);

  // Late answers change nothing but that, except for the one that is still awaited.
  for (const answer of one.hanging.splice(0)) answer();
  assert.equal(await given[1], 'late');
  await until(() => one.breaker.state.pending === 0);
  await assert.rejects(one.run(), refused('open'));
  one.state = 'works';
  await until(() => !one.breaker.state.isOpen);
  assert.equal(one.probes, 1);
  assert.equal(await one.run(), 'answer');

  // It comes back soon: this is the same outage.
  one.state = 'fails';
  const failed = Array.from({ length: 5 }, () => assert.rejects(one.run(), Down));
  await Promise.all(failed);
  await assert.rejects(one.run(), refused('open'));
  assert.deepEqual(one.seen, ['opened']);
  one.state = 'works';
  await until(() => !one.breaker.state.isOpen);
  one.breaker.end();
  assert.deepEqual(one.seen, ['opened', 'closed 24']);
});

test('one slow operation among others is given up alone', async () => {
  const one = engine();
  one.state = 'hangs';
  const slow = one.run();
  one.state = 'works';
  let isOver = false;
  const others = (async () => {
    while (!isOver) assert.equal(await one.run(), 'answer');
  })();
  await assert.rejects(slow, refused('slow'));
  isOver = true;
  await others;
  assert.equal(one.breaker.state.isOpen, false);
  assert.deepEqual(one.seen, []);
});

test('errors open it only if they concern the engine, and nothing succeeds between them', async () => {
  const one = engine();
  for (let n = 0; n < 20; n++)
    await assert.rejects(
      one.breaker.run(() => Promise.reject(new TypeError())),
      TypeError,
    );
  for (let n = 0; n < 20; n++) {
    one.state = n % 4 === 3 ? 'works' : 'fails';
    await one.run().catch(() => {});
  }
  assert.deepEqual(one.seen, []);
  one.state = 'fails';
  for (let n = 0; n < 5; n++) await assert.rejects(one.run(), Down);
  assert.deepEqual(one.seen, ['opened: down']);
  one.breaker.end();
});

test('what is under way is bounded in number and bytes', async () => {
  const one = engine({ operations: 10, bytes: 100, within: 60_000 });
  one.state = 'hangs';
  const large = one.run({ bytes: 1000 });
  await assert.rejects(one.run({ bytes: 1 }), refused('full'), 'one that is larger than the bound is alone');
  one.hanging.splice(0)[0]!();
  assert.equal(await large, 'late');
  const waiting = Array.from({ length: 10 }, () => one.run({ bytes: 10 }));
  await assert.rejects(one.run(), refused('full'));
  assert.deepEqual([one.breaker.state.pending, one.breaker.state.bytes], [10, 100]);
  for (const answer of one.hanging) answer();
  await Promise.all(waiting);
  assert.deepEqual([one.breaker.state.pending, one.breaker.state.bytes], [0, 0]);
  assert.deepEqual(one.seen, []);
});

test('a probe that is never answered is followed by another one', async () => {
  const one = engine({ within: 50 });
  one.state = 'hangs';
  await assert.rejects(one.run(), refused('slow'));
  await until(() => one.probes === 1);
  one.state = 'works';
  await until(() => !one.breaker.state.isOpen);
  assert.equal(one.probes, 2);
});
