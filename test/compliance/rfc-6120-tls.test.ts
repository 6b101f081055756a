/** RFC 6120 §5, RFC 7590, XEP-0368: TLS, by STARTTLS and at once. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { NS } from '../../src/server/stanza/ns.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { eachNode, oneProcess, overTcp, type Peer, scenarioWith } from './dialogue.js';
import { attempts, outcome } from './sasl.js';

const scenario = scenarioWith(overTcp);

const required = { c2s: { allow_plain_tcp_on_loopback: false } };
const optional = { c2s: { require_encryption: false } };

const starttls = `<starttls xmlns='${NS.tls}'/>`;
const proceed = `<proceed xmlns='${NS.tls}'/>`;

/** Up to `<proceed/>`. */
async function asks(peer: Peer): Promise<void> {
  await peer.opens();
  await peer.receivesFeatures();
  await peer.sends(starttls);
  await peer.receives(proceed);
}

function names(socket: TLSSocket | undefined): string {
  return new X509Certificate(socket!.getPeerCertificate().raw).subjectAltName ?? '';
}

scenario('§5.3.1: if TLS is required, nothing else is offered', { config: required }, async ({ connect }) => {
  const romeo = await connect();
  await romeo.opens();
  await romeo.receivesOpen();
  await romeo.receives(`<features xmlns='${NS.stream}'><starttls xmlns='${NS.tls}'><required/></starttls></features>`, {
    exactly: true,
  });
});

scenario('§5.3.1, §6.5.4: a login without TLS is refused', { config: required }, async ({ connect }) => {
  const romeo = await connect();
  await romeo.opens();
  await romeo.receivesFeatures();
  for (const [xml, ns] of [
    [`<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>biws</auth>`, NS.sasl],
    [`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>AHJvbWVvAHBlbmNpbA==</auth>`, NS.sasl],
    [`<authenticate xmlns='${NS.sasl2}' mechanism='SCRAM-SHA-1'/>`, NS.sasl2],
  ] as const) {
    await romeo.sends(xml);
    await romeo.receives(`<failure xmlns='${ns}'><encryption-required xmlns='${NS.sasl}'/></failure>`);
  }
  await romeo.sends(`<iq type='get' id='1'><query xmlns='${NS.register}'/></iq>`);
  await romeo.receivesStreamError('not-authorized');
});

scenario('§5.4: the handshake is followed by a new stream', { config: required }, async ({ connect, actor }) => {
  const romeo = await connect();
  await romeo.opens();
  const { id } = await romeo.receivesOpen();
  await romeo.receives(`<features xmlns='${NS.stream}'/>`);
  await romeo.sends(starttls);
  await romeo.receives(proceed);
  await romeo.startsTls();
  await romeo.opens();
  assert.notEqual((await romeo.receivesOpen()).id, id);
  const features = await romeo.receives(`<features xmlns='${NS.stream}'><mechanisms xmlns='${NS.sasl}'/></features>`);
  assert.equal(features.getChild('starttls', NS.tls), undefined);
  const juliet = await actor('juliet@localhost/balcony', { transport: 'starttls' });
  await juliet.receivesNothing();
});

scenario('§5.3.2: TLS is offered even if it is not required', { config: optional }, async ({ connect, actor }) => {
  const romeo = await connect();
  await romeo.opens();
  const features = await romeo.receivesFeatures();
  assert.equal(features.getChild('starttls', NS.tls)?.children.length, 0);
  assert.ok(features.getChild('mechanisms', NS.sasl));
  await (await actor('romeo@localhost/orchard', { transport: 'starttls' })).receivesNothing();
  await (await actor('juliet@localhost/balcony')).receivesNothing();
});

scenario(
  '§5.4.3.3: data that follows <starttls/> in the clear is discarded',
  { config: optional },
  async ({ connect }) => {
    const injected = `<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}' to='localhost' version='1.0'>`;
    // In one segment with <starttls/>: discarded, and the handshake continues.
    const romeo = await connect();
    await romeo.opens();
    await romeo.receivesFeatures();
    await romeo.sends(`${starttls}${injected}<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>biws</auth><message`);
    await romeo.receives(proceed);
    await romeo.startsTls();
    await romeo.opens();
    await romeo.receivesFeatures();
    await romeo.sends(`<abort xmlns='${NS.sasl}'/>`);
    await romeo.receives(`<failure xmlns='${NS.sasl}'><aborted/></failure>`);
    // In one of its own: no TLS.
    const tybalt = await connect();
    await asks(tybalt);
    await tybalt.sends(injected);
    await tybalt.ends();
  },
);

scenario('§5.4.3.3: the host may change after the handshake', { config: required }, async ({ connect }) => {
  const romeo = await connect({ tls: { servername: 'elsewhere.example' } });
  await asks(romeo);
  await romeo.startsTls();
  await romeo.opens({ to: 'elsewhere.example' });
  assert.equal((await romeo.receivesOpen()).from, 'elsewhere.example');
  await romeo.receives(`<features xmlns='${NS.stream}'><mechanisms xmlns='${NS.sasl}'/></features>`);
});

scenario(
  '§5.4.2.2: no STARTTLS inside TLS, nor during authentication',
  { config: optional },
  async ({ connect, stage }) => {
    await stage.account('romeo@localhost');
    const inside = await connect({ transport: 'tls' });
    await inside.opens();
    await inside.receivesFeatures();
    await inside.sends(starttls);
    await inside.receives(`<failure xmlns='${NS.tls}'/>`);
    await inside.isClosed();
    const late = await connect();
    await late.opens();
    await late.receivesFeatures();
    await late.sends(`<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'/>`);
    await late.receives(`<challenge xmlns='${NS.sasl}'/>`);
    await late.sends(starttls);
    await late.receives(`<failure xmlns='${NS.tls}'/>`);
    await late.isClosed();
  },
);

scenario('§5.4.3.2: a handshake that fails ends the connection', { config: required }, async ({ connect, server }) => {
  const romeo = await connect();
  await asks(romeo);
  await romeo.sends('this is no handshake, whatever else it may be');
  await romeo.ends();
  assert.equal(server.connections.tls, 0);
});

for (const [title, tls, outcome] of [
  [
    'RFC 7590 §3.1: TLS 1.1 is refused',
    { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' },
    'refused',
  ],
  [
    'RFC 9325 §4.1: ciphers without forward secrecy are refused',
    { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' },
    'refused',
  ],
  ['RFC 9325 §3.1: TLS 1.2 is accepted', { maxVersion: 'TLSv1.2' }, 'TLSv1.2'],
  ['RFC 9325 §3.1: TLS 1.3 is accepted', {}, 'TLSv1.3'],
] as const satisfies readonly (readonly [string, ConnectionOptions, string])[]) {
  scenario(title, async ({ connect, actor }) => {
    for (const transport of ['tls', 'starttls', 'wss'] as const) {
      if (outcome === 'refused') {
        await assert.rejects(connect({ transport, tls }));
        continue;
      }
      const romeo = await actor('romeo@localhost/orchard', { transport, tls });
      if (transport !== 'wss') assert.equal(romeo.tls?.getProtocol(), outcome);
      await romeo.receivesNothing();
    }
  });
}

scenario('§5.4.3.1: without a server name the header chooses the certificate', async ({ connect, stage }) => {
  for (const host of ['localhost', 'elsewhere.example']) {
    await stage.account(`romeo@${host}`);
    const romeo = await connect({ host, tls: { servername: '' } });
    await asks(romeo);
    await romeo.startsTls();
    assert.match(names(romeo.tls), new RegExp(`DNS:${host}(,|$)`));
    await romeo.opens();
    await romeo.receivesFeatures();
    // RFC 5929 §4: the binding is to that certificate.
    const end = await attempts(romeo, { mechanism: 'SCRAM-SHA-256-PLUS', binding: 'tls-server-end-point' });
    assert.equal(outcome(end), 'success');
  }
});

scenario(
  'RFC 9325 §3.1: TLS 1.2 is refused if 1.3 is required',
  { config: { tls: { minimum_version: '1.3' } } },
  async ({ connect }) => {
    await assert.rejects(connect({ transport: 'tls', tls: { maxVersion: 'TLSv1.2' } }));
    await (await connect({ transport: 'tls' })).opens();
  },
);

scenario('XEP-0368 §4: direct TLS with and without ALPN, but not for another protocol', async ({ connect }) => {
  const named = await connect({ transport: 'tls' });
  assert.equal(named.tls?.alpnProtocol, 'xmpp-client');
  const silent = await connect({ transport: 'tls', tls: { ALPNProtocols: [] } });
  assert.equal(silent.tls?.alpnProtocol, false);
  for (const peer of [named, silent]) {
    await peer.opens();
    await peer.receivesFeatures();
  }
  await assert.rejects(connect({ transport: 'tls', tls: { ALPNProtocols: ['http/1.1'] } }));
});

scenario('XEP-0368 §3, RFC 6066 §3: each host has its own certificate', async ({ connect }) => {
  for (const transport of ['tls', 'starttls'] as const) {
    for (const host of ['localhost', 'elsewhere.example']) {
      const peer = await connect({ transport, host });
      assert.match(names(peer.tls), new RegExp(`DNS:${host}(,|$)`));
      await peer.opens();
      await peer.receivesFeatures();
    }
    const other = await connect({ transport, tls: { servername: 'nowhere.example' } });
    assert.match(names(other.tls), /DNS:localhost(,|$)/);
  }
  const nameless = await connect({ transport: 'tls', tls: { servername: '' } });
  assert.match(names(nameless.tls), /DNS:localhost(,|$)/);
});

scenario(
  '§13.7.2: a new certificate applies to new connections; existing ones stay open',
  oneProcess,
  async ({ actor, server, stage, connect }) => {
    const romeo = await actor('romeo@localhost/orchard', { transport: 'tls' });
    const before = romeo.tls!.getPeerCertificate().fingerprint256;
    const { certificate, key } = makeSelfSigned(['localhost']);
    writeFileSync(join(stage.folder, 'certs', 'localhost.crt'), certificate);
    writeFileSync(join(stage.folder, 'certs', 'localhost.key'), key);
    await server.certificates.reload();
    const juliet = await connect({ transport: 'tls' });
    const shown = juliet.tls!.getPeerCertificate();
    assert.notEqual(shown.fingerprint256, before);
    assert.ok(new X509Certificate(shown.raw).publicKey.equals(new X509Certificate(certificate).publicKey));
    await romeo.receivesNothing();
  },
);

scenario('§13.12: renegotiation is refused', async ({ connect }) => {
  const peer = await connect({ transport: 'tls', tls: { maxVersion: 'TLSv1.2' } });
  await peer.opens();
  await peer.receivesFeatures();
  const outcome = await new Promise((resolve) => {
    peer.tls!.once('close', () => resolve('closed'));
    peer.tls!.renegotiate({}, (error) => resolve(error === null ? 'renegotiated' : 'refused'));
  });
  assert.notEqual(outcome, 'renegotiated');
});

scenario('a TLS session is resumed by its ticket', eachNode, async ({ connect }) => {
  const first = await connect({ transport: 'tls', tls: { maxVersion: 'TLSv1.2' } });
  const session = first.tls!.getSession()!;
  const second = await connect({ transport: 'tls', tls: { maxVersion: 'TLSv1.2', session } });
  assert.equal(second.tls!.isSessionReused(), true);
});
