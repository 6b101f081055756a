/** Somebody at a terminal with Profanity, somebody else with xmpp.js. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { Device } from './device.js';
import { Profanity } from './profanity.js';
import type { Relay } from './relay.js';
import { Stage, without } from './stage.js';
import { ways } from './ways.js';

const stage = Stage.forThisFile();
const skip = without('profanity') || without('javascript');

describe('Profanity, STARTTLS', { skip, concurrency: false }, () => {
  let profanity: Profanity;
  let romeo: Device;
  let second: Device;
  let relay: Relay;
  let own: string;
  let other: string;
  const account = stage.account('desk');
  const connect = async () => {
    await profanity.types(`/connect ${account.bare} server 127.0.0.1 port ${relay.port} tls force`);
    await profanity.types(account.password);
  };
  let isBroken = false;
  const step = (title: string, work: () => Promise<void>): void =>
    void test(title, { timeout: 90_000 }, async (t) => {
      if (isBroken) return t.skip('a step before failed');
      isBroken = true;
      await work();
      isBroken = false;
    });
  after(() => profanity?.quits());

  step('logs in, once the certificate is accepted', async () => {
    relay = await stage.relay('c2s');
    romeo = await stage.keep(ways.xmppJsTls.device(stage.account('home'), stage.port('c2s_tls')));
    second = await stage.keep(ways.xmppJsStartTls.device(account, stage.port('c2s')));
    await Promise.all([romeo.online(), second.online()]);
    other = romeo.jid.split('/')[0]!;
    profanity = await Profanity.start();
    await profanity.types('/reconnect 1');
    await profanity.types('/carbons on');
    await connect();
    await profanity.sees(/Use '.tls allow'/);
    await profanity.types('/tls always');
    const screen = await profanity.sees(/logged in successfully/);
    own = /(\S+@localhost\/\S+) logged in/.exec(screen)![1]!;
  });

  step('both subscribe, and see each other', async () => {
    await profanity.types(`/roster add ${other} Romeo`);
    await profanity.types(`/sub request ${other}`);
    await romeo.inbox.next('presence', { from: account.bare, type: 'subscribe' });
    await romeo.accept(account.bare);
    await romeo.subscribe(account.bare);
    await profanity.sees(/[Aa]uthorization request|wants? to subscribe|requests? to subscribe/);
    await profanity.types(`/sub allow ${other}`);
    await romeo.inbox.next('presence', { from: account.bare, type: 'subscribed' });
    await romeo.inbox.next('presence', { from: own, type: 'available' });
    const contact = (await romeo.roster()).find(({ jid }) => jid === account.bare);
    assert.equal(contact?.subscription, 'both');
    const mine = (await second.roster()).find(({ jid }) => jid === other);
    assert.deepEqual(mine, { jid: other, subscription: 'both', name: 'Romeo', groups: [] });
  });

  step('both talk', async () => {
    for (const text of ['Grüße – 日本語', '<b>&amp; "quoted"</b>', 'a long one '.repeat(80).trim()]) {
      await profanity.types(`/msg ${other} ${text}`);
      assert.equal((await romeo.inbox.next('message', { from: own })).body, text);
    }
    await romeo.say(own, 'Wie geht’s, <Julia> & Co.?');
    await profanity.sees(/Wie geht’s, <Julia> & Co\.\?/);
  });

  step('what another device of its account says and hears is shown (XEP-0280)', async () => {
    await second.say(other, 'said elsewhere');
    await profanity.sees(/said elsewhere/);
    await romeo.say(second.jid, 'heard elsewhere');
    await profanity.sees(/heard elsewhere/);
  });

  step('asks the server', async () => {
    await profanity.types('/win 1');
    await pings(profanity);
    await profanity.types('/serversoftware localhost');
    await profanity.sees(/Waxwing/);
    await profanity.types('/blocked add nobody@localhost');
    await profanity.sees(/nobody@localhost successfully blocked/);
    await profanity.types('/blocked remove nobody@localhost');
    await profanity.sees(/nobody@localhost successfully unblocked/);
    assert.deepEqual(await second.blocked(), []);
  });

  step('a connection that is cut comes back, and what was said meanwhile is shown', async () => {
    await profanity.types(`/msg ${other} before`);
    await romeo.inbox.next('message', { body: 'before' });
    relay.cut();
    await romeo.say(account.bare, 'said during the cut');
    const screen = await profanity.sees(/said during the cut/);
    assert.equal(screen.match(/said during the cut/g)?.length, 1);
    await profanity.types(`/msg ${other} after`);
    await romeo.inbox.next('message', { body: 'after' });
  });

  step('what is said while it is away is shown when it comes', async () => {
    await second.offline();
    await profanity.types('/disconnect');
    await romeo.inbox.next('presence', { from: own, type: 'unavailable' });
    await romeo.say(account.bare, 'said while away');
    await romeo.ping('localhost');
    await profanity.types('/win 1');
    await profanity.types('/clear');
    await connect();
    await profanity.sees(/logged in successfully/);
    await profanity.types(`/msg ${other} back`);
    await romeo.inbox.next('message', { body: 'back' });
    await profanity.sees(/said while away/);
    await profanity.types('/quit');
    await romeo.inbox.next('presence', { from: account.bare, type: 'unavailable' });
  });
});

test('Profanity, direct TLS', { skip, timeout: 60_000 }, async (t) => {
  const account = stage.account('desk');
  const profanity = await Profanity.start();
  t.after(() => profanity.quits());
  await profanity.types(`/connect ${account.bare} server 127.0.0.1 port ${stage.port('c2s_tls')} tls legacy`);
  await profanity.types(account.password);
  await profanity.sees(/tls allow/);
  await profanity.types('/tls allow');
  await profanity.sees(/logged in successfully/);
  await pings(profanity);
});

/** It pings only what it knows to answer that: what it asked when it logged in is answered before this. */
async function pings(profanity: Profanity): Promise<void> {
  await profanity.types('/disco info localhost');
  await profanity.sees(/urn:xmpp:ping/);
  await profanity.types('/ping');
  await profanity.sees(/Ping response from server/);
}
