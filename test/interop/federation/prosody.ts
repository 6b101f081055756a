/** Prosody, as Debian packages it. */
import type { Pem } from '../../../src/server/tls/self-signed.js';
import { freePorts } from '../ports.js';
import { domainOf, type Peer, type PeerOptions, roomsOf, type Way, ways } from './peer.js';
import { Program } from './program.js';

const program = process.env.WAXWING_INTEROP_PROSODY ?? 'prosody';
const usualAddress = '127.0.1.2';

/** What a domain of a way has besides. */
const modulesOf: Partial<Record<Way, string>> = {
  dialback: '"dialback"',
  bidi: '"s2s_bidi"',
  managed: '"smacks"',
};

export async function prosody(options: PeerOptions): Promise<Peer> {
  const { dns, authority, accounts, name: server = 'prosody', address = usualAddress, isLean = false } = options;
  const run = await Program.create('prosody');
  const [c2s, s2s, directTls] = (await freePorts(3, address)) as [number, number, number];
  const [six] = (await freePorts(1, '::1')) as [number];
  const write = async (name: string, { certificate, key }: Pem): Promise<void> => {
    await run.writes(`certificates/${name}.crt`, certificate);
    await run.writes(`certificates/${name}.key`, key);
  };
  for (const way of ways) {
    const domain = domainOf(server, way);
    await write(domain, authority.issue([domain, roomsOf(domain)], way === 'dialback' ? 'servers' : 'both'));
  }
  const rooms = roomsOf(domainOf(server, 'external'));
  await write(rooms, authority.issue([rooms]));
  const ca = await run.writes('authority.crt', authority.certificate);
  await run.writes('data/.keep', '');
  const [dnsHost, dnsPort] = dns.split(':');
  const config = await run.writes(
    'prosody.cfg.lua',
    `
pidfile = "${run.folder}/prosody.pid"
data_path = "${run.folder}/data"
certificates = "${run.folder}/certificates"
log = { { levels = { min = "${isLean ? 'warn' : 'debug'}" }, to = "file", filename = "${run.folder}/prosody.log" }, { levels = { min = "info" }, to = "console" } }
plugin_paths = {}
interfaces = { "${address}" }
c2s_ports = { ${c2s} }
c2s_require_encryption = false
s2s_ports = { ${s2s}, ${six} }
s2s_interfaces = { "${address}", "::1" }
s2s_direct_tls_ports = { ${directTls} }
s2s_direct_tls_interfaces = { "${address}" }
s2s_require_encryption = true
s2s_secure_auth = true
s2s_insecure_domains = { "${domainOf('waxwing', 'dialback')}" }
s2s_timeout = 30
ssl = { cafile = "${ca}" }
unbound = {
  resolvconf = false, hoststxt = false, forward = { "${dnsHost}@${dnsPort}" },
  options = { ["do-not-query-localhost:"] = "no", ["module-config:"] = "iterator", ["cache-max-ttl:"] = "0", ["cache-max-negative-ttl:"] = "0" };
}
bounce_blocked_messages = true
authentication = "internal_plain"
allow_unencrypted_plain_auth = false
storage = "internal"
smacks_hibernation_time = 60
modules_enabled = {
  "disco", "roster", "saslauth", "tls", "blocklist", "bookmarks", "carbons", "pep", "private", "vcard4", "vcard_legacy",
  "ping", "time", "uptime", "version", ${isLean ? '' : '"mam", '}"posix",
}
archive_expires_after = "never"
${ways.map((way) => `VirtualHost "${domainOf(server, way)}"\n  modules_enabled = { ${modulesOf[way] ?? ''} }`).join('\n')}
Component "${rooms}" "muc"
  modules_enabled = { ${isLean ? '' : '"muc_mam"'} }
  restrict_room_creation = false
`,
  );
  const at = (...ports: number[]) => ports.map((port) => ({ host: address, port }));
  const encoded = (text: string): string =>
    Buffer.from(text)
      .toString('latin1')
      .replace(/[^A-Za-z0-9]/g, (one) => `%${one.charCodeAt(0).toString(16).padStart(2, '0')}`);
  for (const [bare, password] of Object.entries(accounts)) {
    const [user, domain] = bare.split('@') as [string, string];
    const file = `data/${encoded(domain)}/accounts/${encoded(user)}.dat`;
    await run.writes(file, `return { ["password"] = "${password}" };\n`);
  }
  return {
    name: server,
    ways: new Set(ways),
    looksNamesUp: true,
    c2s: { host: address, port: c2s },
    s2s: { host: address, port: s2s },
    directTls: { host: address, port: directTls },
    six: { host: '::1', port: six },
    log: run.log,
    start: () =>
      run.start({ program, args: ['-F', '--config', config] }, [
        ...at(c2s, s2s, directTls),
        { host: '::1', port: six },
      ]),
    stop: () => run.end('SIGTERM'),
    kill: () => run.end('SIGKILL'),
    close: () => run.close(),
    get pid() {
      return run.pid;
    },
    complaints: () => run.log.filter((line) => /\berror\b/.test(line)),
  };
}
