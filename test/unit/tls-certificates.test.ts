import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket, TLSSocket as TlsSocket } from 'node:tls';
import { loadConfig } from '../../src/server/config/load.js';
import {
  type CertificateChange,
  CertificateError,
  Certificates,
  inspectCertificates,
} from '../../src/server/tls/certificates.js';
import { xmppAddresses } from '../../src/server/tls/names.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { certifiedDomains } from '../../src/server/tls/served.js';
import { awaitHello, type Hello } from '../../src/server/transport/client-hello.js';

const day = 86_400_000;

let folder: string;
let undo: (() => void)[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waxwing-'));
  undo = [];
});
afterEach(() => {
  for (const one of undo) one();
  rmSync(folder, { recursive: true });
});

const configOf = (text = '') => loadConfig({ file: join(folder, 'w.toml'), text, modules: [] });

async function open(text = '', subdomains: string[] = []) {
  const news: CertificateChange[] = [];
  const config = configOf(text);
  const hosts = Object.keys(config.hosts).map((domain) => ({
    domain,
    declared: { services: () => subdomains.map((name) => ({ domain: `${name}.${domain}` })) },
  }));
  const domains = certifiedDomains(hosts, Object.keys(config.components));
  const options = { config, domains, report: (one: CertificateChange) => void news.push(one) };
  const certificates = await Certificates.open(options);
  undo.push(() => certificates.close());
  return { certificates, news, kinds: () => news.map(({ kind }) => kind) };
}

/** Writes NAME.crt and NAME.key for the domains. */
function put(name: string, ...domains: string[]): void {
  const { certificate, key } = makeSelfSigned(domains);
  writeFileSync(join(folder, `${name}.crt`), certificate);
  writeFileSync(join(folder, `${name}.key`), key, { mode: 0o600 });
}

const files = (name: string) => `certificate = "${name}.crt"\nkey = "${name}.key"\n`;

/** A listener that starts TLS on plain sockets, as STARTTLS does; connects to it and resolves once it is encrypted. */
async function handshaker(certificates: Certificates) {
  const server = createServer((socket) => {
    const begin = (hello: Hello) =>
      new TlsSocket(socket, {
        isServer: true,
        secureContext: certificates.contextOf(hello),
        SNICallback: certificates.sniCallback,
      })
        .on('error', () => socket.destroy())
        .once('secure', function (this: TLSSocket) {
          this.write('x');
        });
    awaitHello(socket, begin, () => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  undo.push(() => server.close());
  const { port } = server.address() as AddressInfo;
  return async (options: ConnectionOptions) => {
    const client = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
    let session: Buffer | undefined;
    client.on('session', (one: Buffer) => {
      session = one;
    });
    try {
      await once(client, 'data');
      if (session === undefined && !client.isSessionReused() && options.servername === 'localhost')
        await once(client, 'session');
      // a session resumed in TLS 1.2 shows no certificate
      const raw = client.getPeerX509Certificate()?.raw ?? Buffer.alloc(0);
      return {
        names: xmppAddresses(raw).dns,
        session,
        isReused: client.isSessionReused(),
        protocol: client.getProtocol(),
      };
    } finally {
      client.destroy();
    }
  };
}

describe('certificates', () => {
  test('are generated if missing, for the host and its services, and private', async () => {
    const { kinds } = await open('[hosts.localhost]\n[hosts."exämple.org"]', ['conference']);
    assert.deepEqual(kinds(), ['made', 'made']);
    const file = join(folder, 'data/certs/exämple.org.crt');
    assert.deepEqual(xmppAddresses(new X509Certificate(readFileSync(file)).raw), {
      dns: ['xn--exmple-cua.org', 'conference.xn--exmple-cua.org'],
      xmppAddr: ['exämple.org', 'conference.exämple.org'],
      srv: [],
    });
    assert.equal(statSync(join(folder, 'data/certs/exämple.org.key')).mode & 0o777, 0o600);
    assert.equal(statSync(join(folder, 'data/certs')).mode & 0o777, 0o700);
    assert.deepEqual((await open('[hosts.localhost]\n[hosts."exämple.org"]', ['conference'])).kinds(), []);
  });

  test('generated ones cover the domains of components: of the closest host, else of the default one', async () => {
    const component = (domain: string) => `[components."${domain}"]\nsecret = "a-secret-of-enough-length-for-all"\n`;
    const text =
      '[hosts.localhost]\n[hosts."verona.it"]\n[hosts."chat.verona.it"]\n' +
      ['irc.chat.verona.it', 'sms.verona.it', 'bots.mantua.it', 'xverona.it'].map(component).join('');
    const { certificates, kinds } = await open(text, ['conference']);
    assert.deepEqual(kinds(), ['made', 'made', 'made']);
    const namesOf = (host: string) =>
      xmppAddresses(new X509Certificate(readFileSync(join(folder, `data/certs/${host}.crt`))).raw).dns;
    assert.deepEqual(namesOf('localhost'), ['localhost', 'conference.localhost', 'bots.mantua.it', 'xverona.it']);
    assert.deepEqual(namesOf('verona.it'), ['verona.it', 'conference.verona.it', 'sms.verona.it']);
    assert.deepEqual(namesOf('chat.verona.it'), ['chat.verona.it', 'conference.chat.verona.it', 'irc.chat.verona.it']);
    // Other servers that ask for a component get the certificate that covers it.
    assert.equal(certificates.contextForServers('bots.mantua.it'), certificates.contextForServers('localhost'));
    // A component that is added later is added to the certificate.
    const more = await open(`${text}${component('late.verona.it')}`, ['conference']);
    assert.deepEqual(more.kinds(), ['made']);
    assert.ok(namesOf('verona.it').includes('late.verona.it'));
  });

  test('generated ones cover the name in public_url, unless another host has it', async () => {
    const text = (url: string) => `[hosts."verona.it"]\npublic_url = "${url}"\n[hosts."mantua.it"]`;
    const names = () =>
      xmppAddresses(new X509Certificate(readFileSync(join(folder, 'data/certs/verona.it.crt'))).raw).dns;
    await open(text('https://chat.verona.it:8443'));
    assert.deepEqual(names(), ['verona.it', 'chat.verona.it']);
    const { certificates, kinds } = await open(text('https://chat.verona.it:8443'));
    assert.deepEqual(kinds(), []);
    await certificates.reload(configOf(text('https://web.verona.it')));
    assert.deepEqual(names(), ['verona.it', 'web.verona.it']);
    rmSync(join(folder, 'data/certs'), { recursive: true });
    for (const url of ['https://mantua.it', 'https://192.0.2.1', 'https://[2001:db8::1]', 'http://chat.verona.it']) {
      await open(text(url));
      assert.deepEqual(names(), ['verona.it'], url);
    }
  });

  test('a self-signed one that is due is not written over one that takes its place', async () => {
    const { certificates, kinds } = await open('[hosts."verona.it"]');
    const files = ['crt', 'key'].map((end) => join(folder, `data/certs/verona.it.${end}`));
    put('other', 'verona.it');
    // Without its file a certificate would be made.
    rmSync(files[0]!);
    const replaced = certificates.replace(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      for (const file of files) renameSync(join(folder, `other.${file.slice(-3)}`), file);
    });
    await Promise.all([replaced, certificates.reload(), certificates.reload()]);
    assert.deepEqual(kinds(), ['made', 'reloaded']);
    await assert.rejects(
      certificates.replace(() => Promise.reject(new Error('the disk is full'))),
      /full/,
    );
    await certificates.reload();
  });

  test('generated ones are renewed with the same key before they expire', async () => {
    const certs = join(folder, 'data/certs');
    mkdirSync(certs, { recursive: true });
    const old = makeSelfSigned(['localhost'], undefined, Date.now() - 800 * day);
    writeFileSync(join(certs, 'localhost.crt'), old.certificate);
    writeFileSync(join(certs, 'localhost.key'), old.key);
    assert.deepEqual((await open()).kinds(), ['made']);
    const renewed = new X509Certificate(readFileSync(join(certs, 'localhost.crt')));
    assert.ok(Date.parse(renewed.validTo) > Date.now() + 800 * day);
    assert.deepEqual(
      renewed.publicKey.export({ type: 'spki', format: 'pem' }),
      new X509Certificate(old.certificate).publicKey.export({ type: 'spki', format: 'pem' }),
    );
    assert.deepEqual((await open('', ['upload'])).kinds(), ['made'], 'a service is new');
  });

  test('are selected by SNI', async () => {
    put('a', 'a.example', '*.a.example');
    put('b', 'b.example', 'talk.other.example');
    const { certificates } = await open(`[hosts."a.example"]\n${files('a')}[hosts."b.example"]\n${files('b')}`);
    const shake = await handshaker(certificates);
    const chosen = async (options: ConnectionOptions) => (await shake(options)).names[0];
    assert.equal(await chosen({ servername: 'a.example' }), 'a.example');
    assert.equal(await chosen({ servername: 'B.example' }), 'b.example');
    assert.equal(await chosen({ servername: 'talk.other.example' }), 'b.example', 'covered by the certificate');
    assert.equal(await chosen({ servername: 'conference.a.example' }), 'a.example', 'covered by a wildcard');
    assert.equal(await chosen({ servername: 'pubsub.b.example' }), 'b.example', 'below the host');
    assert.equal(await chosen({ servername: 'unknown.example' }), 'a.example', 'the default host');
    assert.equal(await chosen({ servername: '' }), 'a.example', 'no name at all');
  });

  test('work with TLS 1.2 and 1.3, or 1.3 only', async () => {
    const { certificates } = await open();
    const shake = await handshaker(certificates);
    assert.equal((await shake({ maxVersion: 'TLSv1.2' })).protocol, 'TLSv1.2');
    assert.equal((await shake({})).protocol, 'TLSv1.3');
    await certificates.reload(configOf('[tls]\nminimum_version = "1.3"'));
    await assert.rejects(shake({ maxVersion: 'TLSv1.2' }));
  });

  test('allow resumption by tickets, also after a reload', async () => {
    const { certificates, kinds } = await open();
    const shake = await handshaker(certificates);
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const first = await shake({ maxVersion, servername: 'localhost' });
      assert.equal(first.isReused, false);
      await certificates.reload(configOf());
      const second = await shake({ maxVersion, servername: 'localhost', session: first.session! });
      assert.equal(second.isReused, true, maxVersion);
    }
    assert.deepEqual(kinds(), ['made'], 'nothing new was read');
  });

  test('refuse resumption under another name, or after a change of the settings', async () => {
    put('a', 'a.example', '*.a.example');
    put('b', 'b.example');
    put('authority', 'authority.example');
    const hosts = `[hosts.localhost]\n[hosts."a.example"]\n${files('a')}[hosts."b.example"]\n${files('b')}`;
    const { certificates } = await open(hosts);
    const shake = await handshaker(certificates);
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const begin = async () => (await shake({ maxVersion, servername: 'localhost' })).session!;
      const resumes = async (session: Buffer, servername: string) =>
        (await shake({ maxVersion, servername, session })).isReused;
      const session = await begin();
      assert.equal(await resumes(session, 'localhost'), true);
      for (const name of ['a.example', 'b.example', 'x.a.example', 'conference.localhost', 'unknown.example', ''])
        assert.equal(await resumes(session, name), false, `${maxVersion}: ${name}`);
      const other = `${hosts}[tls]\nclient_certificates = true\nclient_authorities = ["authority.crt"]\n`;
      await certificates.reload(configOf(other));
      assert.equal(await resumes(session, 'localhost'), false, 'other authorities');
      const trusted = await begin();
      assert.equal(await resumes(trusted, 'localhost'), true);
      // The same file with another authority in it.
      put('authority', 'another.example');
      await certificates.reload();
      assert.equal(await resumes(trusted, 'localhost'), false, 'the authorities changed');
      await certificates.reload(configOf(hosts));
    }
  });

  test('are reloaded when their files change, also through a link', async () => {
    mkdirSync(join(folder, 'live'));
    put('live/one', 'one.example');
    put('live/two', 'two.example');
    const link = (name: string) => {
      for (const end of ['crt', 'key']) {
        symlinkSync(join(folder, `live/${name}.${end}`), join(folder, `new.${end}`));
        renameSync(join(folder, `new.${end}`), join(folder, `x.${end}`));
      }
    };
    link('one');
    const { certificates, kinds } = await open(`[hosts.localhost]\n${files('x')}`);
    const shake = await handshaker(certificates);
    await certificates.reload();
    assert.deepEqual(kinds(), []);
    link('two');
    await certificates.reload();
    assert.deepEqual(kinds(), ['reloaded']);
    assert.deepEqual((await shake({})).names, ['two.example']);
  });

  test('that are invalid are refused once, and the previous ones stay', async () => {
    put('x', 'x.example');
    const { certificates, kinds, news } = await open(`[hosts.localhost]\n${files('x')}`);
    const shake = await handshaker(certificates);
    const { certificate } = makeSelfSigned(['y.example']);
    writeFileSync(join(folder, 'x.crt'), certificate);
    await certificates.reload();
    await certificates.reload();
    assert.deepEqual(kinds(), ['refused']);
    assert.match(String((news[0] as { error: Error }).error), /x\.key: does not match .*x\.crt$/);
    assert.deepEqual((await shake({})).names, ['x.example']);
    put('x', 'z.example');
    await certificates.reload();
    assert.deepEqual(kinds(), ['refused', 'reloaded']);
    assert.deepEqual((await shake({})).names, ['z.example']);
  });

  test('that are invalid prevent the start', async () => {
    put('x', 'x.example');
    const start = (text: string) => Certificates.open({ config: configOf(`[hosts.localhost]\n${text}`) });
    await assert.rejects(start(files('missing')), CertificateError);
    await assert.rejects(start(files('missing')), { message: /localhost: .*missing\.crt: no such file$/ });
    await assert.rejects(start('certificate = "x.key"\nkey = "x.key"'), {
      message: /x\.key: contains no certificate in PEM$/,
    });
    await assert.rejects(start('certificate = "x.crt"\nkey = "x.crt"'), {
      message: /x\.crt: contains no private key in PEM/,
    });
  });
});

describe('the inspection', () => {
  const problemsOf = async (text: string, now?: number) =>
    (await inspectCertificates({ config: configOf(text) }, now)).map(({ problems }) => problems);

  test('reports domains and validity', async () => {
    put('x', 'localhost', '*.localhost');
    const [found] = await inspectCertificates({ config: configOf(`[hosts.localhost]\n${files('x')}`) });
    assert.deepEqual(found?.names, ['localhost', '*.localhost']);
    assert.equal(found?.selfSigned, true);
    assert.ok(found!.notAfter!.getTime() > Date.now() + 800 * day);
    assert.deepEqual(found?.problems, []);
  });

  test('reports problems', async () => {
    put('x', 'x.example');
    chmodSync(join(folder, 'x.key'), 0o644);
    const text = `[hosts.localhost]\n${files('x')}`;
    assert.deepEqual(await problemsOf(text), [
      ['is not for localhost', `has a key file that is readable by other users: ${join(folder, 'x.key')}`],
    ]);
    chmodSync(join(folder, 'x.key'), 0o600);
    assert.match((await problemsOf(text, Date.now() + 820 * day))[0]![0]!, /^expires soon, on \d{4}-\d\d-\d\d$/);
    assert.match((await problemsOf(text, Date.now() + 826 * day))[0]![0]!, /^expired on /);
    assert.match((await problemsOf(text, Date.now() - day))[0]![0]!, /^is not valid before /);
    assert.deepEqual(await problemsOf(`[hosts.localhost]\n${files('missing')}`), [['no such file']]);
  });

  test('generates nothing', async () => {
    assert.deepEqual(await problemsOf(''), [[]]);
    assert.throws(() => statSync(join(folder, 'data')), { code: 'ENOENT' });
  });
});
