import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Jid } from '../../src/server/address/jid.js';
import type { LocalHost } from '../../src/server/routing/host.js';
import type { Receipt } from '../../src/server/routing/link.js';
import { Session } from '../../src/server/routing/session.js';
import { writeStates } from '../../src/server/routing/session-state.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { revived, type SavedSm } from '../../src/server/stream/xep-0198-record.js';
import { Resumables } from '../../src/server/stream/xep-0198-resumables.js';
import { Sm } from '../../src/server/stream/xep-0198-sm.js';
import { CsiLink } from '../../src/server/stream/xep-0352-csi.js';
import type { DocumentStore } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { startHost } from './module-host.js';

const { host, stop } = await startHost([]);
after(stop);

const chat = (body: string) => Stanza.parse(`<message from='romeo@example.org/x'><body>${body}</body></message>`);
const presence = (from: string) => Stanza.parse(`<presence from='${from}@example.org/x'/>`);
const nowhere = { held: [], state: {} };

/** A store that records its operations, and completes deletions when the test releases them. */
function disk() {
  const store = new MemoryStorage().document<SavedSm>('stream_management');
  const asked: string[] = [];
  const waiting: ((error?: Error) => void)[] = [];
  const slow: DocumentStore<SavedSm> = {
    ...store,
    set: async (id, value) => {
      asked.push(`set ${id}`);
      await store.set(id, value);
    },
    forget: async (id) => {
      asked.push(`forget ${id}`);
      await new Promise<void>((resolve, reject) => waiting.push((error) => (error ? reject(error) : resolve())));
      await store.forget(id);
    },
  };
  const goOn = async (error?: Error) => {
    for (const go of waiting.splice(0)) go(error);
    await new Promise(setImmediate);
  };
  const failures: unknown[] = [];
  const resumables = new Resumables(slow, (error) => failures.push(error));
  const taken = () => asked.splice(0);
  return { store, resumables, taken, goOn, failures };
}

function managed(host: LocalHost, resumables: Resumables, id: string) {
  const written: string[] = [];
  const session = new Session(Jid.parse(`juliet@example.org/${id}`), { send: () => {} });
  const limits = () => ({ queue_stanzas: 100, queue_bytes: 100_000 });
  const sm = new Sm(session, host, 60, limits, () => {}, resumables, id);
  session.link = sm;
  sm.attach({
    hasRoom: true,
    write: (xml) => void written.push(xml),
    writeStanza: (stanza) => void written.push(stanza.toXml()),
    close: () => {},
    stopTaking: () => Promise.resolve(),
  });
  resumables.add(sm);
  const acknowledged = () => {
    sm.requested();
    return written.splice(0).findLast((xml) => xml.startsWith('<a '));
  };
  return { sm, session, written, acknowledged };
}

const isAt = (h: number) => `<a xmlns='urn:xmpp:sm:3' h='${h}'/>`;

test('a stanza is acknowledged once the stale snapshot is deleted', async () => {
  const { resumables, taken, goOn } = disk();
  const { sm, acknowledged } = managed(host, resumables, 'a');
  resumables.snapshot(sm, nowhere);
  sm.begin();
  assert.deepEqual(taken(), ['set a', 'forget a'], 'before anything else of the stanza is written');
  sm.handled();
  assert.equal(acknowledged(), undefined);
  sm.begin();
  sm.handled();
  assert.deepEqual(taken(), [], 'once');
  await goOn();
  assert.equal(acknowledged(), isAt(2));
  assert.equal(resumables.invalidating, undefined);
});

test('a snapshot counts once it is durable', async () => {
  const store = new MemoryStorage().document<SavedSm>('stream_management');
  const writes: (() => void)[] = [];
  const slow: DocumentStore<SavedSm> = {
    ...store,
    set: (id, value) => new Promise<void>((resolve) => writes.push(resolve)).then(() => store.set(id, value)),
  };
  const resumables = new Resumables(slow, (error) => assert.fail(String(error)));
  const { sm } = managed(host, resumables, 'a');
  const settle = () => new Promise(setImmediate);
  resumables.snapshot(sm, nowhere);
  await settle();
  assert.equal(resumables.snapshots, 0);
  // Stale before it was written, and taken again: the first write does not confirm the second.
  await resumables.invalidate(sm);
  resumables.snapshot(sm, nowhere);
  writes.shift()!();
  await settle();
  assert.equal(resumables.snapshots, 0);
  writes.shift()!();
  await settle();
  assert.equal(resumables.snapshots, 1);
});

test('a stanza sent to a session with a snapshot waits likewise', async () => {
  const { resumables, taken, goOn } = disk();
  const sender = managed(host, resumables, 'a');
  const recipient = managed(host, resumables, 'b');
  resumables.snapshot(recipient.sm, nowhere);
  sender.sm.begin();
  recipient.session.send(chat('1'));
  sender.sm.handled();
  assert.deepEqual(taken(), ['set b', 'forget b']);
  assert.equal(sender.acknowledged(), undefined);
  await goOn();
  assert.equal(sender.acknowledged(), isAt(1));
});

test('held stanzas and acknowledgements make a snapshot stale, too', async () => {
  const { resumables, taken, goOn, store } = disk();
  const { sm, session } = managed(host, resumables, 'a');
  const csi = new CsiLink(sm);
  session.link = csi;
  csi.inactive = true;
  session.send(chat('1'));
  resumables.snapshot(sm, nowhere);
  session.send(presence('romeo'));
  assert.deepEqual(taken(), ['set a', 'forget a']);
  await goOn();
  session.send(presence('nurse'));
  session.send(presence('romeo'));
  resumables.snapshot(sm, { held: csi.held, state: { seen: ['romeo@example.org/x'] } });
  assert.deepEqual(taken(), ['set a']);
  const saved = await store.get('a');
  assert.deepEqual(
    saved?.queue.map(({ xml }) => Stanza.parse(xml)).map(({ name, from }) => `${name} ${from?.local}`),
    ['message romeo', 'presence nurse', 'presence romeo'],
  );
  assert.deepEqual(saved?.state, { seen: ['romeo@example.org/x'] });
  sm.acknowledged(0);
  assert.deepEqual(taken(), []);
  sm.acknowledged(1);
  assert.deepEqual(taken(), ['forget a']);
});

test('a failed deletion is retried, and logged once', async () => {
  const { resumables, taken, goOn, failures } = disk();
  const { sm, acknowledged } = managed(host, resumables, 'a');
  resumables.snapshot(sm, nowhere);
  sm.begin();
  sm.handled();
  await goOn(new Error('full'));
  assert.equal(acknowledged(), isAt(1), 'a full disk stops nobody');
  resumables.retryDeletes();
  await goOn(new Error('full'));
  assert.deepEqual([taken(), failures.length], [['set a', 'forget a', 'forget a'], 1]);
  // A new write makes it current again.
  resumables.snapshot(sm, nowhere);
  resumables.retryDeletes();
  assert.deepEqual(taken(), ['set a']);
});

test('the snapshot of an ended session is deleted', () => {
  const { resumables, taken } = disk();
  const [one, other] = [managed(host, resumables, 'a'), managed(host, resumables, 'b')];
  resumables.snapshot(one.sm, nowhere);
  for (const { sm } of [one, other]) resumables.delete(sm);
  assert.deepEqual(taken(), ['set a', 'forget a']);
  assert.equal(resumables.get('a'), undefined);
});

test('writes during the shutdown are completed', async () => {
  const { resumables, taken, store } = disk();
  const { sm, session } = managed(host, resumables, 'a');
  resumables.snapshot(sm, nowhere);
  session.send(chat('1'));
  await resumables.save(Date.now(), () => nowhere);
  session.send(chat('2'));
  assert.deepEqual(taken(), ['set a', 'forget a', 'set a', 'set a']);
  assert.equal((await store.get('a'))?.queue.length, 2);
});

test('a session is restored unchanged', async () => {
  const { resumables, store } = disk();
  const { sm, session } = managed(host, resumables, 'a');
  session.appears(Stanza.parse('<presence><show>away</show></presence>'), 5);
  const receipt: Receipt = { delivered: () => {}, lost: () => {}, reference: '' };
  session.send(chat('1'), receipt);
  session.send(chat('2'));
  sm.acknowledged(1);
  session.send(chat('3'));
  for (let n = 0; n < 3; n++) {
    sm.begin();
    sm.handled();
  }
  const { sessionStates } = host.hooks;
  const state = writeStates(
    sessionStates,
    (state) => session.get(state),
    (_, error) => assert.fail(String(error)),
  ).values;
  resumables.snapshot(sm, { ...nowhere, state });
  await new Promise(setImmediate);

  const next = new Resumables(store, (error) => assert.fail(String(error)));
  const now = 1_000_000;
  const back: Sm[] = [];
  await next.load(
    () => true,
    (id, saved) => {
      const again = revived(saved, { send: () => {} }, sessionStates, ({ name }) => assert.fail(name));
      const one = new Sm(again, host, saved.holdSeconds, sm.limits, () => {}, next, id);
      one.restore(saved, now);
      back.push(one);
    },
  );
  const [one] = back;
  assert.equal(back.length, 1);
  assert.deepEqual([one?.id, one?.h, one?.waiting, one?.isRevived, one?.connected], ['a', 3, 2, true, false]);
  assert.equal(one?.expires, now + 60_000, 'it was connected: its time begins with the process');
  const { session: again } = one!;
  assert.deepEqual([again.priority, again.presence?.text('jabber:client', 'show')], [5, 'away']);
  // One was acknowledged, two are there.
  for (const [h, isRight] of [
    [0, false],
    [1, true],
    [3, true],
    [4, false],
  ] as const)
    assert.equal(one?.fits(h), isRight, String(h));
});

test('a stanza waits until the stale snapshot is deleted, whatever made it stale', async () => {
  for (const first of ['in', 'out']) {
    const { resumables, goOn } = disk();
    const { sm } = managed(host, resumables, `stale-${first}`);
    resumables.snapshot(sm, nowhere);
    if (first === 'out') sm.send(chat('out'));
    const order: string[] = [];
    const waiting = sm.begin()?.then(() => order.push('handled'));
    assert.ok(waiting !== undefined);
    await new Promise(setImmediate);
    order.push('deleted');
    await goOn();
    await waiting;
    assert.deepEqual(order, ['deleted', 'handled']);
    sm.handled();
    assert.equal(sm.begin(), undefined, 'the next one waits for nothing');
  }
});
