/** Each way that streams between servers can be opened: see `ways`. */
import assert from 'node:assert/strict';
import { NS } from '../../../src/server/stanza/ns.js';
import { patience } from '../server.js';
import { type Client, ofOneAttempt } from './client.js';
import { domainOf, type Way } from './peer.js';
import { until } from './program.js';
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

/** Resolves once requests and answers cross again. */
export const reaches = (one: Client, other: Client): Promise<unknown> =>
  until(`an answer from ${other.jid} to ${one.jid}`, 2 * patience, async () => {
    await one.asks('get', `<ping xmlns='${NS.ping}'/>`, other.jid, ofOneAttempt);
    return true;
  });

/** The first conversations begin at both ends at once. */
const route = (way: Way, title: string): Play => ({
  title,
  suits: ({ us, them }) => us.ways.has(way) && them.ways.has(way),
  async play(scene, one, other) {
    const attempt = async (): Promise<void> => {
      const [romeo, mercutio] = [await scene.someone(one, { way }), await scene.someone(one, { way })];
      const [juliet, nurse] = [await scene.someone(other, { way }), await scene.someone(other, { way })];
      await Promise.all([converse(romeo, juliet), converse(nurse, mercutio)]);
    };
    const isPatient = way === 'direct' && scene.them.name === 'ejabberd';
    await attempt().catch((error: unknown) => {
      // It rarely loses the first bytes of direct TLS ("Unexpected info"), and gives up only later.
      if (!isPatient || !scene.them.log.some((line) => /Unexpected info|\{tcp,/.test(line))) throw error;
      return attempt();
    });
  },
});

export const routes: readonly Play[] = [
  route('dialback', 'dialback (XEP-0220), since no certificate proves who connects'),
  route('direct', 'direct TLS (XEP-0368)'),
  route('idn', 'internationalized domains and names (RFC 7622)'),
  route('six', 'IPv6'),
  {
    title: 'one connection for both directions (XEP-0288)',
    suits: ({ us, them }) => us.ways.has('bidi') && them.ways.has('bidi'),
    async play(scene, one, other) {
      // Nobody can connect to the domain of the one: what comes back must use the connection from there.
      scene.forgets(domainOf(one.name, 'bidi'));
      // Another pair of domains in each direction, since a connection serves both.
      const romeo = await scene.someone(one, { way: 'bidi' });
      const juliet = await scene.someone(other, { way: one === scene.us ? 'bidi' : 'external' });
      await converse(romeo, juliet);
      await converse(juliet, romeo);
    },
  },
  {
    title: 'a connection that breaks and loses what was on its way: stream management (XEP-0198)',
    suits: ({ us, them }) => us.ways.has('managed') && them.ways.has('managed'),
    async play(scene, one, other) {
      const way = 'managed';
      const relay = await scene.relay(domainOf(other.name, way), other.s2s);
      const [romeo, juliet] = await scene.friends(one, other, { way });
      const [rounds, each] = [3, 40];
      const ids: string[] = [];
      const arrived: string[] = [];
      const returned: string[] = [];
      const message = (type: string, from: string): string => `<message type='${type}' from='${from}' id='*'/>`;
      const says = (id: string): void => {
        ids.push(id);
        romeo.sends(`<message to='${juliet.jid}' type='chat' id='${id}'><body>${id}</body></message>`);
      };
      for (let round = 0; round < rounds; round++) {
        await reaches(romeo, juliet);
        for (let n = 0; n < each; n++) says(`${round}-${n}`);
        await until('the messages of a round', patience, async () => {
          for (const { attrs } of juliet.takes(message('chat', romeo.jid))) arrived.push(attrs.id!);
          return arrived.includes(`${round}-${each - 1}`);
        });
        // What is sent now reaches the relay and nobody else.
        relay.swallow();
        for (let n = each; n < 2 * each; n++) says(`${round}-${n}`);
        await romeo.syncs();
        relay.cut();
      }
      await reaches(romeo, juliet);
      says('last');
      // XEP-0198 §4: what was not acknowledged is sent again, or returned.
      await until('the end of all messages', patience, async () => {
        await juliet.syncs();
        for (const { attrs } of juliet.takes(message('chat', romeo.jid))) arrived.push(attrs.id!);
        await romeo.syncs();
        for (const { attrs } of romeo.takes(message('error', juliet.jid))) returned.push(attrs.id!);
        return arrived.includes('last') && ids.every((id) => arrived.includes(id) || returned.includes(id));
      });
      const order = ids.filter((id) => arrived.includes(id));
      assert.deepEqual(arrived, order, 'messages were doubled, or overtook others');
    },
  },
];
