/** Waxwing among other servers. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeSelfSigned } from '../../../src/server/tls/self-signed.js';
import { ServerProcess } from '../server.js';
import { domainOf, type Peer, type PeerOptions, roomsOf, uploadsOf, ways } from './peer.js';

const usualAddress = '127.0.1.1';

/** A burst that no measurement reaches. */
const unlimited = {
  stanzas_per_second: 'unlimited',
  stanza_burst: 'unlimited',
  bytes_per_second: 'unlimited',
  byte_burst: 'unlimited',
};
const withoutCpu = { ...unlimited, cpu_ms_per_second: 'unlimited', cpu_ms_burst: 'unlimited' };
/** Without archive, which rooms and offline storage need, and without limits on rates. */
const lean = {
  limits: { rate: unlimited, rate_account: withoutCpu, rate_server: withoutCpu },
  modules: {
    disabled: ['mam', 'mam_prefs', 'retraction', 'inbox', 'mam_trim', 'muc', 'offline'],
    strangers: { messages: 'allow', new_contacts: 'unlimited' },
  },
};

export async function waxwing(options: PeerOptions): Promise<Peer> {
  const { dns, authority, accounts, name = 'waxwing', address = usualAddress } = options;
  const { isLean = false, isBidirectional = true } = options;
  const folder = await mkdtemp(join(tmpdir(), 'waxwing-federation-'));
  const certificates = join(folder, 'certificates');
  await mkdir(certificates);
  const hosts: Record<string, unknown> = {};
  for (const way of ways) {
    const domain = domainOf(name, way);
    const names = [domain, roomsOf(domain), uploadsOf(domain)];
    // A certificate that nobody trusts: the other servers have to dial back.
    const pem = way === 'dialback' ? makeSelfSigned(names) : authority.issue(names);
    const [certificate, key] = [join(certificates, `${domain}.crt`), join(certificates, `${domain}.key`)];
    await writeFile(certificate, pem.certificate);
    await writeFile(key, pem.key, { mode: 0o600 });
    hosts[domain] = { certificate, key };
  }
  const trusted = join(certificates, 'authority.crt');
  await writeFile(trusted, authority.certificate);
  const anywhere = [`${address}:0`];
  const server = await ServerProcess.start({
    data: join(folder, 'data'),
    accounts,
    // As bin/waxwing.js has them.
    ...(isLean && { node: ['--max-semi-space-size=32', '--expose-gc'] }),
    config: {
      ...(isLean && lean),
      hosts,
      listen: {
        c2s: anywhere,
        c2s_tls: [],
        https: anywhere,
        http: anywhere,
        s2s: ['[::1]:0', ...anywhere],
        s2s_tls: anywhere,
      },
      tls: { server_authorities: [trusted] },
      c2s: { allow_plain_tcp_on_loopback: true },
      s2s: {
        enabled: true,
        dns_servers: [dns],
        allow_networks: ['127.0.0.0/8', '::1/128'],
        bidirectional: isBidirectional,
        ...(isLean && { streams: 10_000 }),
      },
    },
  });
  const place = (kind: 'c2s' | 's2s' | 's2s_tls' | 'https', host = address) => ({
    host,
    port: server.port(kind, host),
  });
  let log: string[] = [];
  const remember = () => {
    log = [...log, ...server.takeLog()];
    return log;
  };
  return {
    name,
    ways: new Set(ways),
    looksNamesUp: true,
    c2s: place('c2s'),
    s2s: place('s2s'),
    directTls: place('s2s_tls'),
    six: place('s2s', '::1'),
    web: place('https'),
    get log() {
      return remember();
    },
    start: async () => {
      if (!server.running) await server.start();
    },
    stop: () => server.stop(),
    kill: () => server.kill(),
    close: async () => {
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
    get pid() {
      return server.pid;
    },
    collect: () => server.collect(),
    complaints: () => remember(),
  };
}
