import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inbound, outbound, type SubscriptionType } from '../../src/modules/rfc-6121-presence/subscription.js';
import type { RosterItem } from '../../src/modules/rfc-6121-roster/services.js';

/** RFC 6121 §A.1, by the names of the states there. */
const states: Record<string, Pick<RosterItem, 'subscription' | 'ask' | 'pendingIn'>> = {
  None: { subscription: 'none' },
  'None + Pending Out': { subscription: 'none', ask: true },
  'None + Pending In': { subscription: 'none', pendingIn: '<presence/>' },
  'None + Pending Out+In': { subscription: 'none', ask: true, pendingIn: '<presence/>' },
  To: { subscription: 'to' },
  'To + Pending In': { subscription: 'to', pendingIn: '<presence/>' },
  From: { subscription: 'from' },
  'From + Pending Out': { subscription: 'from', ask: true },
  Both: { subscription: 'both' },
};

const item = (state: string): RosterItem => ({ name: 'Juliet', groups: ['Friends'], ...states[state]! });

function nameOf(of: RosterItem | undefined): string {
  const { subscription, ask, pendingIn } = of!;
  const found = Object.entries(states).find(
    ([, state]) =>
      state.subscription === subscription &&
      state.ask === ask &&
      (state.pendingIn === undefined) === (pendingIn === undefined),
  );
  return found?.[0] ?? JSON.stringify(of);
}

/** The state before, whether the stanza is routed, and the state after ('=': unchanged). */
type Row = readonly [before: string, on: boolean, after: string];

const tables: { title: string; way: 'out' | 'in'; type: SubscriptionType; rows: readonly Row[] }[] = [
  {
    title: '§A.2.1: outbound subscribe',
    way: 'out',
    type: 'subscribe',
    rows: [
      ['None', true, 'None + Pending Out'],
      ['None + Pending Out', true, '='],
      ['None + Pending In', true, 'None + Pending Out+In'],
      ['None + Pending Out+In', true, '='],
      ['To', true, '='],
      ['To + Pending In', true, '='],
      ['From', true, 'From + Pending Out'],
      ['From + Pending Out', true, '='],
      ['Both', true, '='],
    ],
  },
  {
    title: '§A.2.2: outbound unsubscribe',
    way: 'out',
    type: 'unsubscribe',
    rows: [
      ['None', true, '='],
      ['None + Pending Out', true, 'None'],
      ['None + Pending In', true, '='],
      ['None + Pending Out+In', true, 'None + Pending In'],
      ['To', true, 'None'],
      ['To + Pending In', true, 'None + Pending In'],
      ['From', true, '='],
      ['From + Pending Out', true, 'From'],
      ['Both', true, 'From'],
    ],
  },
  {
    title: '§A.2.3: outbound subscribed (pre-approval if it is not routed and there is no From)',
    way: 'out',
    type: 'subscribed',
    rows: [
      ['None', false, 'None'],
      ['None + Pending Out', false, 'None + Pending Out'],
      ['None + Pending In', true, 'From'],
      ['None + Pending Out+In', true, 'From + Pending Out'],
      ['To', false, 'To'],
      ['To + Pending In', true, 'Both'],
      ['From', false, '='],
      ['From + Pending Out', false, '='],
      ['Both', false, '='],
    ],
  },
  {
    title: '§A.2.4: outbound unsubscribed',
    way: 'out',
    type: 'unsubscribed',
    rows: [
      ['None', false, '='],
      ['None + Pending Out', false, '='],
      ['None + Pending In', true, 'None'],
      ['None + Pending Out+In', true, 'None + Pending Out'],
      ['To', false, '='],
      ['To + Pending In', true, 'To'],
      ['From', true, 'None'],
      ['From + Pending Out', true, 'None + Pending Out'],
      ['Both', true, 'To'],
    ],
  },
  {
    title: '§A.3.1: inbound subscribe',
    way: 'in',
    type: 'subscribe',
    rows: [
      ['None', true, 'None + Pending In'],
      ['None + Pending Out', true, 'None + Pending Out+In'],
      ['None + Pending In', false, '='],
      ['None + Pending Out+In', false, '='],
      ['To', true, 'To + Pending In'],
      ['To + Pending In', false, '='],
      ['From', false, '='],
      ['From + Pending Out', false, '='],
      ['Both', false, '='],
    ],
  },
  {
    title: '§A.3.2: inbound unsubscribe',
    way: 'in',
    type: 'unsubscribe',
    rows: [
      ['None', false, '='],
      ['None + Pending Out', false, '='],
      ['None + Pending In', true, 'None'],
      ['None + Pending Out+In', true, 'None + Pending Out'],
      ['To', false, '='],
      ['To + Pending In', true, 'To'],
      ['From', true, 'None'],
      ['From + Pending Out', true, 'None + Pending Out'],
      ['Both', true, 'To'],
    ],
  },
  {
    title: '§A.3.3: inbound subscribed',
    way: 'in',
    type: 'subscribed',
    rows: [
      ['None', false, '='],
      ['None + Pending Out', true, 'To'],
      ['None + Pending In', false, '='],
      ['None + Pending Out+In', true, 'To + Pending In'],
      ['To', false, '='],
      ['To + Pending In', false, '='],
      ['From', false, '='],
      ['From + Pending Out', true, 'Both'],
      ['Both', false, '='],
    ],
  },
  {
    title: '§A.3.4: inbound unsubscribed',
    way: 'in',
    type: 'unsubscribed',
    rows: [
      ['None', false, '='],
      ['None + Pending Out', true, 'None'],
      ['None + Pending In', false, '='],
      ['None + Pending Out+In', true, 'None + Pending In'],
      ['To', true, 'None'],
      ['To + Pending In', true, 'None + Pending In'],
      ['From', false, '='],
      ['From + Pending Out', true, 'From'],
      ['Both', true, 'From'],
    ],
  },
];

for (const { title, way, type, rows } of tables) {
  test(`RFC 6121 ${title}`, () => {
    for (const [before, on, after] of rows) {
      const given = item(before);
      const frozen = Object.freeze(given);
      const result = way === 'out' ? outbound(type, frozen) : inbound(type, frozen, '<presence/>');
      assert.equal('route' in result ? result.route : result.deliver, on, `${before}: goes on`);
      if (after === '=') assert.equal(result.item, given, `${before}: unchanged`);
      else assert.equal(nameOf(result.item), after, `${before}: becomes`);
      assert.deepEqual([result.item?.name, result.item?.groups], ['Juliet', ['Friends']], `${before}: name and groups`);
    }
  });
}

test('a subscribed contact that requests again gets approval immediately (§3.1.3)', () => {
  for (const state of ['From', 'From + Pending Out', 'Both'])
    assert.equal(inbound('subscribe', item(state), '').approve, true);
  for (const state of ['None', 'None + Pending In', 'To', 'To + Pending In'])
    assert.equal(inbound('subscribe', item(state), '').approve, false);
});

test('pre-approval (§3.4): stored, used, withdrawn', () => {
  const outsider = outbound('subscribed', undefined);
  assert.deepEqual(outsider, { item: { groups: [], subscription: 'none', approved: true }, route: false });
  const again = outbound('subscribed', outsider.item);
  assert.equal(again.item, outsider.item);

  const asked = inbound('subscribe', outsider.item, '<presence/>');
  assert.equal(asked.deliver, false);
  assert.equal(asked.approve, true);
  assert.equal(asked.item?.subscription, 'from');
  assert.equal(asked.item?.pendingIn, undefined);

  const known = outbound('subscribed', item('To'));
  assert.equal(inbound('subscribe', known.item, '').item?.subscription, 'both');

  const back = outbound('unsubscribed', outsider.item);
  assert.deepEqual(back, { item: { groups: [], subscription: 'none' }, route: false });
});

test('a request from a user who is not in the roster is stored but hidden from clients', () => {
  const { item: kept, deliver } = inbound('subscribe', undefined, '<presence id="1"/>');
  assert.deepEqual(kept, { groups: [], subscription: 'none', hidden: true, pendingIn: '<presence id="1"/>' });
  assert.equal(deliver, true);

  assert.deepEqual(outbound('subscribed', kept), { item: { groups: [], subscription: 'from' }, route: true });
  assert.deepEqual(outbound('unsubscribed', kept), { item: undefined, route: true });
  assert.deepEqual(inbound('unsubscribe', kept, ''), { item: undefined, deliver: true, approve: false });
  assert.equal(outbound('subscribe', kept).item?.hidden, undefined);
  assert.equal(outbound('subscribe', kept).item?.pendingIn, '<presence id="1"/>');
});

test('only a request stores something for users outside of the roster', () => {
  for (const type of ['subscribed', 'unsubscribe', 'unsubscribed'] as const)
    assert.deepEqual(inbound(type, undefined, ''), { item: undefined, deliver: false, approve: false });
  assert.deepEqual(outbound('unsubscribe', undefined), { item: undefined, route: true });
  assert.deepEqual(outbound('unsubscribed', undefined), { item: undefined, route: false });
});
