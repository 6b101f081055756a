/** Subscriptions and presence between two servers (RFC 6121 §3, §4). */
import assert from 'node:assert/strict';
import { NS } from '../../../src/server/stanza/ns.js';
import type { Client } from './client.js';
import type { Peer } from './peer.js';
import { befriend, type Play } from './scene.js';

/** A roster push; resolves once it came. */
const pushed = (client: Client, of: Client, subscription: string, ask?: string): Promise<unknown> => {
  const asked = ask === undefined ? '' : ` ask='${ask}'`;
  const item = `<item jid='${of.bare}' subscription='${subscription}'${asked}/>`;
  return client.gets(`<iq type='set'><query xmlns='${NS.roster}'>${item}</query></iq>`);
};

async function subscriptionOf(client: Client, of: Client): Promise<string> {
  return (await client.can.roster()).find(({ jid }) => jid === of.bare)?.subscription ?? 'no item';
}

/** RFC 6121 §3.3.3: who no longer wants presence gets an unavailable one. Prosody leaves it out. */
const takesLeave = (server: Peer): boolean => server.name !== 'prosody';

export const contacts: readonly Play[] = [
  {
    title: 'a subscription, from none to both and back (RFC 6121 §3, Appendix A)',
    async play(scene, one, other) {
      const romeo = await scene.someone(one);
      const juliet = await scene.someone(other);
      romeo.sends(`<presence to='${juliet.bare}' type='subscribe'/>`);
      await pushed(romeo, juliet, 'none', 'subscribe');
      await juliet.gets(`<presence from='${romeo.bare}' type='subscribe'/>`);
      juliet.sends(`<presence to='${romeo.bare}' type='subscribed'/>`);
      await pushed(juliet, romeo, 'from');
      await romeo.gets(`<presence from='${juliet.bare}' type='subscribed'/>`);
      await pushed(romeo, juliet, 'to');
      await romeo.gets(`<presence from='${juliet.jid}'/>`);
      juliet.sends(`<presence to='${romeo.bare}' type='subscribe'/>`);
      await romeo.gets(`<presence from='${juliet.bare}' type='subscribe'/>`);
      romeo.sends(`<presence to='${juliet.bare}' type='subscribed'/>`);
      await pushed(romeo, juliet, 'both');
      await pushed(juliet, romeo, 'both');
      await juliet.gets(`<presence from='${romeo.jid}'/>`);
      // §3.3: Romeo no longer wants Juliet's presence.
      romeo.sends(`<presence to='${juliet.bare}' type='unsubscribe'/>`);
      await pushed(romeo, juliet, 'from');
      await juliet.gets(`<presence from='${romeo.bare}' type='unsubscribe'/>`);
      await pushed(juliet, romeo, 'to');
      if (takesLeave(other)) await romeo.gets(`<presence from='${juliet.jid}' type='unavailable'/>`);
      // §3.2: and no longer gives it.
      romeo.sends(`<presence to='${juliet.bare}' type='unsubscribed'/>`);
      await pushed(romeo, juliet, 'none');
      await juliet.gets(`<presence from='${romeo.bare}' type='unsubscribed'/>`);
      await pushed(juliet, romeo, 'none');
      await juliet.gets(`<presence from='${romeo.jid}' type='unavailable'/>`);
      assert.equal(await subscriptionOf(romeo, juliet), 'none');
      assert.equal(await subscriptionOf(juliet, romeo), 'none');
    },
  },
  {
    title: 'a request that is denied, and one for somebody who is away (RFC 6121 §3.1.3)',
    async play(scene, one, other) {
      const romeo = await scene.someone(one);
      const bare = scene.account(other);
      romeo.sends(`<presence to='${bare}' type='subscribe'/>`);
      // The server of the other keeps it until they come.
      await romeo.can.ping(bare.split('@')[1]!);
      const juliet = await scene.someone(other, { bare });
      await juliet.gets(`<presence from='${romeo.bare}' type='subscribe'/>`);
      juliet.sends(`<presence to='${romeo.bare}' type='unsubscribed'/>`);
      await romeo.gets(`<presence from='${juliet.bare}' type='unsubscribed'/>`);
      assert.equal(await subscriptionOf(romeo, juliet), 'none');
      juliet.hasNone(`<presence from='${romeo.jid}'/>`);
    },
  },
  {
    title: 'a contact that is removed from the roster (RFC 6121 §2.5.2)',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      await romeo.can.removeContact(juliet.bare);
      await juliet.gets(`<presence from='${romeo.bare}' type='unsubscribe'/>`);
      await juliet.gets(`<presence from='${romeo.bare}' type='unsubscribed'/>`);
      await juliet.gets(`<presence from='${romeo.jid}' type='unavailable'/>`);
      if (takesLeave(other)) await romeo.gets(`<presence from='${juliet.jid}' type='unavailable'/>`);
      assert.equal(await subscriptionOf(romeo, juliet), 'no item');
      assert.equal(await subscriptionOf(juliet, romeo), 'none');
    },
  },
  {
    title: 'presence: changes, probes at login, several devices (RFC 6121 §4)',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      romeo.sends(`<presence><show>away</show><status>in the orchard</status><priority>5</priority></presence>`);
      await juliet.gets(
        `<presence from='${romeo.jid}'><show>away</show><status>in the orchard</status><priority>5</priority></presence>`,
      );
      // §4.3: who logs in learns who is there by probes, also of two devices.
      const second = await scene.someone(one, { bare: romeo.bare, resource: 'laptop' });
      await juliet.gets(`<presence from='${second.jid}'/>`);
      await second.gets(`<presence from='${juliet.jid}'/>`);
      await juliet.leaves();
      for (const device of [romeo, second]) await device.gets(`<presence from='${juliet.jid}' type='unavailable'/>`);
      const again = await scene.someone(other, { bare: juliet.bare, resource: 'tablet' });
      await again.gets(`<presence from='${romeo.jid}'><show>away</show></presence>`);
      await again.gets(`<presence from='${second.jid}'/>`);
      for (const device of [romeo, second]) await device.gets(`<presence from='${again.jid}'/>`);
      // §4.5: a connection that breaks.
      second.cut();
      await again.gets(`<presence from='${second.jid}' type='unavailable'/>`);
      again.hasNone(`<presence from='${romeo.jid}' type='unavailable'/>`);
    },
  },
  {
    title: 'directed presence, and its end (RFC 6121 §4.6)',
    async play(scene, one, other) {
      const romeo = await scene.someone(one);
      const juliet = await scene.someone(other);
      romeo.sends(`<presence to='${juliet.jid}'><status>just for you</status></presence>`);
      await juliet.gets(`<presence from='${romeo.jid}'><status>just for you</status></presence>`);
      await romeo.leaves();
      await juliet.gets(`<presence from='${romeo.jid}' type='unavailable'/>`);
    },
  },
  {
    title: 'friends who part and become friends again',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      await romeo.can.removeContact(juliet.bare);
      await juliet.gets(`<presence from='${romeo.bare}' type='unsubscribed'/>`);
      await juliet.gets(`<presence from='${romeo.jid}' type='unavailable'/>`);
      await befriend(romeo, juliet);
      assert.equal(await subscriptionOf(romeo, juliet), 'both');
      assert.equal(await subscriptionOf(juliet, romeo), 'both');
    },
  },
];
