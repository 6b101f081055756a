/** Routes to other servers are found by pair, by remote domain, by carrier, and by the session that they wait for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Outbox } from '../../src/server/routing/outbox.js';
import type { Carrier } from '../../src/server/stream/s2s/carriers.js';
import { type Route, Routes } from '../../src/server/stream/s2s/routes.js';
import { ServerSm } from '../../src/server/stream/s2s/sm.js';

const route = (from: string, to: string): Route => ({
  pair: { from, to },
  outbox: {} as Outbox,
  since: 0,
  sent: 0,
  last: undefined,
  step: 'connection',
  opener: undefined,
  open: undefined,
  carrier: undefined,
  waitsFor: undefined,
  resumes: undefined,
  lostAt: undefined,
  attempts: 0,
  pause: undefined,
});

const newCarrier = (): Carrier => ({ send() {} });
const newSession = () => new ServerSm({ id: undefined, holdSeconds: 0, bounds: () => ({ stanzas: 1, bytes: 1 }) });

test('routes are found by pair and by remote domain', () => {
  const routes = new Routes();
  const [one, other, third] = [
    route('a.example', 'x.example'),
    route('b.example', 'x.example'),
    route('a.example', 'y.example'),
  ];
  for (const each of [one, other, third]) routes.add(each);
  assert.equal(routes.get('b.example x.example'), other);
  assert.deepEqual([...routes.to('x.example')], [one, other]);
  routes.delete(one);
  assert.deepEqual([...routes.to('x.example')], [other]);
  assert.equal(routes.get('a.example x.example'), undefined);
  routes.delete(other);
  assert.deepEqual([...routes.to('x.example')], []);
  assert.deepEqual([routes.size, routes.all()], [1, [third]]);
});

test('a route is led over a carrier, waits for a session, or neither', () => {
  const routes = new Routes();
  const [one, other] = [route('a.example', 'x.example'), route('b.example', 'x.example')];
  const [carrier, session] = [newCarrier(), newSession()];
  for (const each of [one, other]) {
    routes.add(each);
    routes.lead(each, carrier);
  }
  // The one that was served is the last.
  routes.lead(one, carrier);
  assert.deepEqual(routes.led(carrier), [other, one]);
  routes.lead(one, session);
  assert.deepEqual([routes.led(carrier), routes.led(session)], [[other], [one]]);
  assert.deepEqual([one.carrier, one.waitsFor, other.carrier], [undefined, session, carrier]);
  routes.lead(one, undefined);
  assert.deepEqual([routes.led(session), one.waitsFor], [[], undefined]);
  routes.delete(other);
  assert.deepEqual([routes.led(carrier), other.carrier], [[], undefined]);
});
