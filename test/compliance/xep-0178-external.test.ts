/** XEP-0178 §3: SASL EXTERNAL between servers, and which certificates count (RFC 6120 §13.7, RFC 9525). */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { refusal } from './phrases.js';
import { Impostor, play, type Servers } from './servers.js';

const capulet = 'capulet.example';
const header = `from='montague.example' to='capulet.example'`;
const auth = (text: string, mechanism = 'EXTERNAL') =>
  `<auth xmlns='${NS.sasl}' mechanism='${mechanism}'>${text}</auth>`;
const base64 = (text: string) => Buffer.from(text).toString('base64');

/** A certificate that the servers trust that are started later. */
const trusted = makeSelfSigned(['montague.example']);
const impostor = (servers: Servers, attributes = header) =>
  Impostor.connect(servers.stage(capulet).port('s2s'), attributes);

/** All servers trust `trusted`. */
function scene(title: string, dialogue: (servers: Servers) => Promise<void>): void {
  play(title, { [capulet]: { trusts: [trusted] } }, dialogue);
}

scene('§3: a server whose certificate matches the header is authenticated for that domain', async (servers) => {
  const juliet = await servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true });
  for (const identity of ['=', '', base64('montague.example')]) {
    const montague = impostor(servers);
    const { features } = await montague.opensWithTls(trusted);
    assert.match(features.content, /<mechanism>EXTERNAL<\/mechanism>/);
    montague.says(auth(identity));
    await montague.hearsElement('success');
    const { features: after } = await montague.opens();
    assert.doesNotMatch(after.content, /<mechanism>/);
    montague.says(
      `<message from='romeo@montague.example' to='juliet@capulet.example' type='chat'><body>${identity}</body></message>`,
    );
    await juliet.receives(
      `<message from='romeo@montague.example' to='juliet@capulet.example' type='chat'><body>${identity}</body></message>`,
    );
  }
});

scene('RFC 6120 §5.3.1: nothing is offered or accepted without TLS', async (servers) => {
  for (const xml of [
    auth('='),
    `<db:result from='montague.example' to='capulet.example'>0</db:result>`,
    `<message from='romeo@montague.example' to='juliet@capulet.example'/>`,
  ]) {
    const montague = impostor(servers);
    const { features } = await montague.opens();
    // XEP-0288: bidirectional streams are offered after TLS.
    assert.equal(features.content, `<starttls xmlns="${NS.tls}"><required/></starttls>`);
    montague.says(xml);
    await montague.hearsError('policy-violation');
  }
});

scene('§3, 10: EXTERNAL is not offered for another certificate, and fails with it', async (servers) => {
  const now = Date.now();
  const year = 365 * 86_400_000;
  const certificates = {
    'none at all': undefined,
    'of another domain': makeSelfSigned(['mantua.example']),
    'from an untrusted authority': makeSelfSigned(['montague.example']),
    'that has expired': makeSelfSigned(['montague.example'], undefined, now - 3 * year),
  };
  for (const [name, pem] of Object.entries(certificates)) {
    const montague = impostor(servers);
    const { features } = await montague.opensWithTls(pem);
    assert.doesNotMatch(features.content, /EXTERNAL/, name);
    montague.says(auth('='));
    assert.match((await montague.hearsElement('failure')).content, /<not-authorized/, name);
    montague.says(`<message from='romeo@montague.example' to='juliet@capulet.example'/>`);
    await montague.hearsError('not-authorized');
  }
});

scene('§3, 11: the identity has to be that of the header', async (servers) => {
  const montague = impostor(servers);
  await montague.opensWithTls(trusted);
  for (const [xml, condition] of [
    [auth(base64('mantua.example')), 'invalid-authzid'],
    [auth(base64('romeo@montague.example')), 'invalid-authzid'],
    [auth('='.repeat(3)), 'incorrect-encoding'],
    [auth('=', 'PLAIN'), 'invalid-mechanism'],
  ] as const) {
    montague.says(xml);
    assert.match((await montague.hearsElement('failure')).content, new RegExp(`<${condition}`));
  }
  const mantua = impostor(servers, `from='mantua.example' to='capulet.example'`);
  const { features } = await mantua.opensWithTls(trusted);
  assert.doesNotMatch(features.content, /EXTERNAL/);
});

scene(
  'RFC 6120 §4.9.3: an authenticated domain can send only from itself, and only to the authenticated domain',
  async (servers) => {
    for (const [from, to, condition] of [
      ['romeo@mantua.example', 'juliet@capulet.example', 'invalid-from'],
      ['juliet@capulet.example', 'juliet@capulet.example', 'invalid-from'],
      ['romeo@x.montague.example', 'juliet@capulet.example', 'invalid-from'],
      ['romeo@montague.example', 'friar@mantua.example', 'not-authorized'],
      ['romeo@montague.example', 'room@conference.capulet.example', 'not-authorized'],
      [undefined, 'juliet@capulet.example', 'improper-addressing'],
      ['romeo@montague.example', undefined, 'improper-addressing'],
      ['@', 'juliet@capulet.example', 'improper-addressing'],
      ['romeo@montague.example', '@', 'improper-addressing'],
    ] as const) {
      const montague = impostor(servers);
      await montague.opensWithTls(trusted);
      montague.says(auth('='));
      await montague.hearsElement('success');
      await montague.opens();
      const attributes = [from === undefined ? '' : `from='${from}'`, to === undefined ? '' : `to='${to}'`].join(' ');
      montague.says(`<message ${attributes}><body>false</body></message>`);
      await montague.hearsError(condition);
    }
  },
);

scene('RFC 6120 §4.7: refused headers', async (servers) => {
  for (const [attributes, condition] of [
    [`from='montague.example' to='mantua.example'`, 'host-unknown'],
    [`from='montague.example'`, 'host-unknown'],
    [`from='@' to='capulet.example'`, 'improper-addressing'],
    [`from='romeo@montague.example' to='capulet.example'`, 'improper-addressing'],
    [`from='capulet.example' to='capulet.example'`, 'invalid-from'],
    [`from='conference.capulet.example' to='capulet.example'`, 'invalid-from'],
  ] as const) {
    const montague = impostor(servers, attributes);
    montague.sendsHeader();
    assert.equal((await montague.hears()).kind, 'open');
    await montague.hearsError(condition);
  }
});

scene('RFC 6120 §6.4.6: a restart keeps the authenticated pair', async (servers) => {
  for (const attributes of [
    `from='mantua.example' to='capulet.example'`,
    `from='montague.example' to='conference.capulet.example'`,
  ]) {
    const montague = impostor(servers);
    await montague.opensWithTls(trusted);
    montague.says(auth('='));
    await montague.hearsElement('success');
    montague.sendsHeader(attributes);
    assert.equal((await montague.hears()).kind, 'open');
    assert.equal((await montague.hears()).kind, 'element');
    assert.equal((await montague.hears()).kind, 'close');
  }
});

const invalidCertificates = {
  'of another domain': makeSelfSigned(['mantua.example']),
  'from an untrusted authority': makeSelfSigned([capulet]),
  'that has expired': makeSelfSigned([capulet], undefined, Date.now() - 3 * 365 * 86_400_000),
};
for (const [name, certificate] of Object.entries(invalidCertificates))
  play(
    `RFC 6120 §13.7.2: nothing is sent to a server with a certificate ${name}`,
    { 'montague.example': {}, [capulet]: { certificate } },
    async (servers) => {
      const romeo = await servers.stage('montague.example').actor('romeo@montague.example/orchard', { presence: true });
      const juliet = await servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true });
      await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>secret</body></message>`);
      await romeo.receives(
        `<message type='error' id='1' from='juliet@capulet.example'>${refusal('wait', 'remote-server-timeout')}</message>`,
      );
      await juliet.receivesNothing();
    },
  );
