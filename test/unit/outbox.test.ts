/** Outboxes (routing/outbox.ts) through long runs of whatever can happen, by seeds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Jid } from '../../src/server/address/jid.js';
import { Outbox, type Parcel } from '../../src/server/routing/outbox.js';
import { sizeOf } from '../../src/server/routing/outflow.js';
import type { Origin } from '../../src/server/routing/passage.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { el } from '../../src/server/xml/element.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

const bounds = { stanzas: 200, bytes: 60_000 };
const most = 100_000;
const turn = () => new Promise((resolve) => setImmediate(resolve));
const gone = new StanzaError('remote-server-timeout');

for (const seed of [1, 2, 3, 4, 5])
  test(`nothing is lost, refused twice or reordered, and all bounds hold: seed ${seed}`, async () => {
    const random = mulberry32(seed);
    const below = (n: number) => Math.floor(random() * n);
    const budget = { most: () => most, used: 0 };
    /** Of each stanza, by id: taken, then sent or refused; and whether its sender was acknowledged. */
    const outcome = new Map<string, string>();
    const acknowledged = new Set<string>();
    const acknowledging: Promise<unknown>[] = [];
    let hits = 0;
    const filled = [0, 0];
    const outboxes = [0, 1].map(
      (at) =>
        new Outbox({
          bounds: () => bounds,
          budget,
          limitHit: () => void hits++,
          refuse: (stanza) => {
            assert.equal(outcome.get(stanza.id!), 'taken');
            outcome.set(stanza.id!, 'refused');
            // The callback may answer immediately.
            if (below(4) === 0) say(at);
          },
          filled: () => void filled[at]!++,
        }),
    );
    const held: Parcel[] = [];
    const last = new Map<string, number>();
    let count = 0;

    const say = (at: number): void => {
      const id = String(count++);
      const from = Jid.parse(`user${below(5)}@verona`);
      const stanza = Stanza.build(
        'message',
        { id, from },
        el('body', null, 'x'.repeat(below(3) === 0 ? below(5000) : 10)),
      );
      const acknowledges = below(2) === 0;
      let isAsked = false;
      const origin: Origin = {
        session: undefined,
        acknowledges,
        acknowledgeAfter: (done, what) => {
          assert.equal(what, 'network');
          isAsked = true;
          acknowledging.push(
            done.then(() => {
              assert.notEqual(outcome.get(id), 'taken');
              acknowledged.add(id);
            }),
          );
        },
      };
      try {
        outboxes[at]!.receive(stanza, origin);
        outcome.set(id, 'taken');
        assert.equal(isAsked, acknowledges);
        if (!acknowledges) acknowledged.add(id);
      } catch (error) {
        assert.ok(error instanceof StanzaError && error.condition === 'resource-constraint');
        assert.equal(isAsked, false);
      }
    };

    const check = (): void => {
      let bytes = 0;
      for (const outbox of outboxes) {
        assert.ok(outbox.size >= 0 && outbox.size <= bounds.stanzas);
        assert.ok(outbox.bytes >= 0 && outbox.bytes <= bounds.bytes);
        bytes += outbox.bytes;
      }
      assert.equal(budget.used, bytes);
      assert.ok(bytes <= most);
      assert.ok(held.reduce((sum, { stanza }) => sum + sizeOf(stanza), 0) <= bytes);
    };

    for (let step = 0; step < 5000; step++) {
      const at = below(2);
      const outbox = outboxes[at]!;
      const act = below(100);
      if (act < 50) say(at);
      else if (act < 80) {
        const parcel = outbox.take();
        if (parcel !== undefined) {
          const key = `${at} ${parcel.stanza.from!.bare}`;
          assert.ok(Number(parcel.stanza.id) > (last.get(key) ?? -1), 'in the order in which it was said');
          last.set(key, Number(parcel.stanza.id));
          held.push(parcel);
        }
      } else if (act < 96) {
        const [parcel] = held.splice(below(held.length), 1);
        if (parcel === undefined) continue;
        if (below(5) === 0) parcel.refuse(gone);
        else {
          outcome.set(parcel.stanza.id!, 'sent');
          parcel.sent();
        }
        const settled = outcome.get(parcel.stanza.id!);
        parcel.sent();
        parcel.refuse(gone);
        assert.equal(outcome.get(parcel.stanza.id!), settled, 'the first word counts');
      } else if (act === 99 && below(10) === 0) outbox.refuseAll(gone);
      else await turn();
      check();
    }
    for (const parcel of held.splice(0)) parcel.refuse(gone);
    for (const outbox of outboxes) while (outbox.size > 0) outbox.refuseAll(gone);
    await Promise.all(acknowledging);
    check();
    assert.equal(budget.used, 0);
    assert.ok(hits > 0 && filled.every((times) => times > 0), 'the run came to the bounds');
    assert.deepEqual(
      [...outcome.values()].filter((one) => one === 'taken'),
      [],
    );
    assert.deepEqual(
      [...outcome.keys()].filter((id) => !acknowledged.has(id)),
      [],
    );
  });

test('filling an outbox is reported once per turn, unless it is empty again', async () => {
  let filled = 0;
  const outbox = new Outbox({
    bounds: () => bounds,
    budget: { most: () => most, used: 0 },
    limitHit: () => {},
    refuse: () => {},
    filled: () => void filled++,
  });
  const origin: Origin = { session: undefined, acknowledges: false, acknowledgeAfter() {} };
  const stanza = Stanza.build('message', { from: Jid.parse('romeo@verona') });
  outbox.receive(stanza, origin);
  outbox.receive(stanza, origin);
  assert.equal(filled, 0, 'not from within');
  await turn();
  await turn();
  assert.equal(filled, 1);
  outbox.receive(stanza, origin);
  outbox.refuseAll(gone);
  await turn();
  await turn();
  assert.equal(filled, 1);
  outbox.receive(stanza, origin);
  await turn();
  await turn();
  assert.equal(filled, 2);
});

test('sources pause when an eighth is used, and continue together', async () => {
  const outbox = new Outbox({
    bounds: () => ({ stanzas: 16, bytes: 60_000 }),
    budget: { most: () => most, used: 0 },
    limitHit: () => {},
    refuse: () => {},
    filled: () => {},
  });
  const origin: Origin = { session: undefined, acknowledges: false, acknowledgeAfter() {} };
  const stanza = Stanza.build('message', { from: Jid.parse('verona') });
  outbox.receive(stanza, origin);
  assert.equal(outbox.room(), undefined);
  outbox.receive(stanza, origin);
  const waiting = [outbox.room(), outbox.room()];
  assert.ok(waiting.every((one) => one !== undefined));
  outbox.take()!.sent();
  await Promise.all(waiting);
  assert.equal(outbox.room(), undefined);
});
