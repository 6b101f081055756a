/** Each way that streams between servers can be opened: see `ways`. */
import { NS } from '../../../src/server/stanza/ns.js';
import type { Client } from './client.js';
import type { Way } from './peer.js';
import type { Play } from './scene.js';

/** A message and its receipt, and a request and its answer. */
export async function converse(one: Client, other: Client): Promise<void> {
  const id = crypto.randomUUID();
  one.sends(
    `<message to='${other.jid}' type='chat' id='${id}'><body>Hark!</body><request xmlns='${NS.receipts}'/></message>`,
  );
  await other.gets(`<message from='${one.jid}' type='chat' id='${id}'><body>Hark!</body></message>`);
  other.sends(`<message to='${one.jid}' type='chat'><received xmlns='${NS.receipts}' id='${id}'/></message>`);
  await one.gets(`<message from='${other.jid}' type='chat'><received xmlns='${NS.receipts}' id='${id}'/></message>`);
  await one.can.ping(other.bare.split('@')[1]!);
}

const route = (way: Way, title: string): Play => ({
  title,
  suits: ({ us, them }) => us.ways.has(way) && them.ways.has(way),
  async play(scene, one, other) {
    await converse(await scene.someone(one, { way }), await scene.someone(other, { way }));
  },
});

export const routes: readonly Play[] = [
  route('dialback', 'dialback (XEP-0220), since no certificate proves who connects'),
  route('direct', 'direct TLS (XEP-0368)'),
  route('six', 'IPv6'),
];
