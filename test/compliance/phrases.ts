/** Phrases that several dialogues use. */
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { Peer, Scene } from './dialogue.js';

/** The `<error/>` of RFC 6120 §8.3.2, of a condition and its type. */
export const refusal = (type: string, condition: string): string =>
  `<error type='${type}'><${condition} xmlns='${NS.stanzas}'/></error>`;

/** For `limits.rate` and the like: no client is slowed down for its input. */
export const unlimitedRate = {
  stanzas_per_second: 'unlimited',
  stanza_burst: 'unlimited',
  bytes_per_second: 'unlimited',
  byte_burst: 'unlimited',
} as const;

export const bareOf = (peer: Peer): string => Jid.parse(peer.jid).bare;

/** XEP-0175: a client with an anonymous account. */
export async function logsInAnonymously(connect: Scene['connect']): Promise<Peer> {
  const peer = await connect();
  await peer.opens();
  await peer.receivesFeatures();
  await peer.sends(`<auth xmlns='${NS.sasl}' mechanism='ANONYMOUS'/>`);
  await peer.receives(`<success xmlns='${NS.sasl}'/>`);
  await peer.opens();
  await peer.receivesFeatures();
  await peer.binds('anonymous');
  return peer;
}

/** RFC 6121 §3.1, §3.4: the first user subscribes to the second. Both ignore the resulting stanzas. */
export async function subscribes(one: Peer, other: Peer): Promise<void> {
  await other.sends(`<presence to='${bareOf(one)}' type='subscribed'/>`);
  await other.syncs();
  await one.sends(`<presence to='${bareOf(other)}' type='subscribe'/>`);
  await one.syncs();
  await other.syncs();
  one.forgets();
  other.forgets();
}

/** Each gets to see the other's presence. */
export async function befriends(one: Peer, other: Peer): Promise<void> {
  await subscribes(one, other);
  await subscribes(other, one);
  await one.syncs();
  one.forgets();
}
