/** XEP-0478: the limits of a stream are announced, and hold. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { overTcp, scenario } from './dialogue.js';

function limitsOf(features: Element): { bytes: number; idle: number } {
  const limits = features.getChild('limits', NS.streamLimits)!;
  const [bytes, idle] = ['max-bytes', 'idle-seconds'].map((name) => limits.getChildText(name)!);
  assert.match(bytes!, /^\d+$/);
  assert.match(idle!, /^\d+$/);
  return { bytes: Number(bytes), idle: Number(idle) };
}

const config = { limits: { stanza_bytes: 20_000, ping_after_seconds: 100 } };

// Over WebSocket a message above the limit ends the connection at once (RFC 6455 §7.4.1).
scenario('§3.1: the limits before and after login', { ...overTcp, config }, async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const romeo = await connect();
  await romeo.opens();
  const before = limitsOf(await romeo.receivesFeatures());
  assert.ok(before.bytes < 20_000 && before.bytes >= 2000);
  const after = limitsOf(await romeo.authenticates('romeo'));
  assert.deepEqual(after, { bytes: 20_000, idle: 100 });
  await romeo.binds('orchard');
  const message = (length: number) => {
    // Some transports add a namespace.
    const empty = `<message xmlns='${NS.client}' to='romeo@localhost/orchard' type='chat'><body></body></message>`;
    return empty.replace('></body>', `>${'x'.repeat(length - empty.length)}</body>`);
  };
  await romeo.sends(message(20_000));
  await romeo.receives(`<message type='chat'><body>*</body></message>`);
  await romeo.sends(message(20_001));
  await romeo.closed('policy-violation');
});

scenario('§3.1: too large before login', { config }, async ({ connect }) => {
  const romeo = await connect();
  await romeo.opens();
  const { bytes } = limitsOf(await romeo.receivesFeatures());
  await romeo.sends(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${'A'.repeat(bytes)}</auth>`);
  await romeo.closed('policy-violation');
});
