/**
 * The last stanzas of a client are handled in order however its connection ends (RFC 6120 §4.4, §4.6), also with a slow
 * storage.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { late as lateStorage } from '../../src/storage/late.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Peer, type ScenarioOptions, type Scene, scenario, type TransportName } from './dialogue.js';

const late: ScenarioOptions = { storage: () => lateStorage(new MemoryStorage(), 7) };
const chat = (to: string, body: string) => `<message to='${to}' type='chat'><body>${body}</body></message>`;
const sent = (body: string) => `<message type='chat'><body>${body}</body></message>`;

const endings = {
  'the stream is closed': (peer: Peer) => peer.closes(),
  'the connection is closed': async (peer: Peer) => peer.halfCloses(),
  'the connection is reset': async (peer: Peer) => peer.cut(),
} as const;

/** The messages that she receives before the other session ends. */
async function untilGone(juliet: Peer, romeo: Peer): Promise<string[]> {
  const bodies: string[] = [];
  for (;;) {
    const element = await juliet.receivesAny();
    if (element.name === 'message') bodies.push(element.getChildText('body', NS.client)!);
    else if (element.attrs.from === romeo.jid && element.attrs.type === 'unavailable') return bodies;
  }
}

/** More than one turn takes over WebSocket. */
const count = 40;

for (const transport of ['tcp', 'tls', 'websocket', 'wss'] satisfies TransportName[])
  for (const [ending, ends] of Object.entries(endings))
    for (const managed of [false, true])
      scenario(
        `${ending} (${transport}${managed ? ', with stream management' : ''})`,
        late,
        async ({ actor, server }: Scene) => {
          const juliet = await actor('juliet@localhost/balcony', { presence: true });
          const romeo = await actor('romeo@localhost/orchard', { transport });
          await romeo.sends(`<presence to='${juliet.jid}'/>`);
          await juliet.receives(`<presence from='${romeo.jid}'/>`);
          if (managed) await romeo.managesStream("resume='false'");
          for (let n = 1; n <= count; n++) await romeo.sends(chat(juliet.jid, String(n)));
          await ends(romeo);
          // The system may discard unread data of a reset connection. The rest is a prefix.
          const mayBeLess = ending === 'the connection is reset' && transport === 'tcp';
          const received = await untilGone(juliet, romeo);
          const wanted = Array.from({ length: mayBeLess ? received.length : count }, (_, n) => String(n + 1));
          assert.deepEqual(received, wanted);
          while (server.inspect().streams > 1) await new Promise((resolve) => setImmediate(resolve));
          assert.equal(server.sessions.size, 1);
        },
      );

scenario(
  "messages that arrive while a client's last stanzas are handled wait for its next session",
  late,
  async (scene) => {
    const { actor, server } = scene;
    const romeo = await actor('romeo@localhost/orchard', { transport: 'websocket', presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await romeo.sends(`<presence to='${juliet.jid}'/>`);
    await juliet.receives(`<presence from='${romeo.jid}'/>`);
    for (let n = 1; n <= count; n++) await romeo.sends(chat(juliet.jid, String(n)));
    romeo.cut();
    const received: string[] = [];
    for (let n = 1; n <= count; n++) {
      await juliet.receives(sent(String(n)));
      // Some go to the session that is about to end.
      await juliet.sends(chat('romeo@localhost', `re ${n}`));
    }
    await juliet.receives(`<presence from='${romeo.jid}' type='unavailable'/>`);
    await juliet.syncs();
    while (server.inspect().sessions > 1) await new Promise((resolve) => setImmediate(resolve));
    const again = await actor('romeo@localhost/garden');
    await again.sends('<presence/>');
    while (received.length < count) {
      const element = await again.receivesAny();
      if (element.name === 'message') received.push(element.getChildText('body', NS.client)!);
    }
    const wanted = Array.from({ length: count }, (_, n) => `re ${n + 1}`);
    assert.deepEqual(new Set(received), new Set(wanted));
  },
);
