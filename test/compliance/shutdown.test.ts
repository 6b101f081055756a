/** An orderly shutdown (RFC 6120 §4.9.3.19): all clients are notified, nothing is lost, and no client delays it. */
import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import { Jid } from '../../src/server/address/jid.js';
import { defineModule, iq } from '../../src/server/module/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { el } from '../../src/server/xml/element.js';
import { oneProcess, overTcp, type Peer, type Scene, scenario } from './dialogue.js';

const never = defineModule({
  name: 'never',
  summary: 'Never answers.',
  implements: {},
  start: () => [iq.set('account', 'urn:example:never', 'query', () => new Promise<void>(() => {}))],
});

/** Much more than the buffers of the system take. */
function fills({ server }: Scene, reader: Peer): void {
  reader.stopsReading();
  const to = Jid.parse(reader.jid);
  const stanza = Stanza.build(
    'message',
    { to, from: to.toBare(), type: 'headline' },
    el('body', null, 'x'.repeat(200_000)),
  );
  for (let n = 0; n < 40; n++) server.sessions.find(to)!.send(stanza);
}

scenario(
  'clients that do not read, answer or close do not delay it',
  {
    ...oneProcess,
    ...overTcp,
    modules: [never],
    config: { admin: { shutdown_grace_seconds: 3 }, limits: { write_queue_bytes: 2 ** 24 } },
  },
  async (scene) => {
    const { stage, actor, connect } = scene;
    const readers = [
      await actor('romeo@localhost/tcp', { transport: 'tcp' }),
      await actor('juliet@localhost/tls', { transport: 'tls' }),
      await actor('nurse@localhost/websocket', { transport: 'websocket' }),
    ];
    const romeo = await actor('romeo@localhost/busy');
    await romeo.managesStream();
    await romeo.sends(`<iq type='set' id='1'><query xmlns='urn:example:never'/></iq>`);
    const stubborn = await actor('romeo@localhost/stubborn', { halfOpen: true });
    const upgrading = await connect();
    await upgrading.opens();
    await upgrading.receivesFeatures();
    await upgrading.sends(`<starttls xmlns='${NS.tls}'/>`);
    await upgrading.receives(`<proceed xmlns='${NS.tls}'/>`);
    const silent = (['c2s_tls', 'https', 'http'] as const).map((kind) =>
      connectTcp({ port: stage.port(kind), host: '127.0.0.1' }).on('error', () => {}),
    );
    while (scene.server.inspect().connections < 9) await new Promise((resolve) => setImmediate(resolve));
    for (const reader of readers) fills(scene, reader);
    let isLate = false;
    const patience = setTimeout(() => {
      isLate = true;
      for (const peer of [...readers, stubborn]) peer.cut();
    }, 5000);
    await stage.restart();
    clearTimeout(patience);
    assert.equal(isLate, false);
    await stubborn.receivesStreamError('system-shutdown');
    for (const socket of silent) socket.destroy();
  },
);
