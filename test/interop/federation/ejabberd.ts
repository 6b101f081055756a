/** ejabberd, as Debian packages it. */
import assert from 'node:assert/strict';
import { freePorts } from '../ports.js';
import { domainOf, type Peer, type PeerOptions, roomsOf, type Way, ways } from './peer.js';
import { outputOf, Program } from './program.js';

/** Runs Erlang with ERL_LIBS as ejabberd's own script has it. */
const script = `
ctl=$(command -v ejabberdctl)
ERL_LIBS=$(sed -n "s/^ *\\(export \\)\\{0,1\\}ERL_LIBS='\\{0,1\\}\\([^']*\\)'\\{0,1\\}$/\\2/p" "$ctl" | head -n 1)
export ERL_LIBS
exec erl "$@"
`;
const usualAddress = '127.0.1.3';

export async function ejabberd(options: PeerOptions): Promise<Peer> {
  const { dns, authority, accounts, name: server = 'ejabberd', address = usualAddress, isLean = false } = options;
  const run = await Program.create('ejabberd');
  const [c2s, s2s, directTls, api] = (await freePorts(4, address)) as [number, number, number, number];
  const [six] = (await freePorts(1, '::1')) as [number];
  const domains = Object.fromEntries(ways.map((way) => [way, domainOf(server, way)])) as Record<Way, string>;
  const certificates: string[] = [];
  for (const way of ways) {
    const names = [domains[way], roomsOf(domains[way])];
    const { certificate, key } = authority.issue(names, way === 'dialback' ? 'servers' : 'both');
    certificates.push(await run.writes(`${way}.pem`, certificate + key));
  }
  const authorities = await run.writes('authority.crt', authority.certificate);
  const [dnsHost, dnsPort] = dns.split(':') as [string, string];
  const inetrc = await run.writes(
    'inetrc',
    `{resolv_conf, ""}.\n{hosts_file, ""}.\n{lookup, [dns]}.\n{nameserver, {${dnsHost.replaceAll('.', ',')}}, ${dnsPort}}.\n`,
  );
  const config = {
    hosts: Object.values(domains),
    loglevel: isLean ? 'warning' : 'info',
    certfiles: certificates,
    ca_file: authorities,
    listen: [
      { ip: address, port: c2s, module: 'ejabberd_c2s' },
      { ip: address, port: s2s, module: 'ejabberd_s2s_in' },
      { ip: '::1', port: six, module: 'ejabberd_s2s_in' },
      { ip: address, port: directTls, module: 'ejabberd_s2s_in', tls: true },
      { ip: address, port: api, module: 'ejabberd_http', request_handlers: { '/api': 'mod_http_api' } },
    ],
    s2s_use_starttls: 'required',
    negotiation_timeout: '30 seconds',
    s2s_max_retry_delay: '1 second',
    s2s_dns_timeout: '20 seconds',
    auth_password_format: 'scram',
    api_permissions: {
      registration: { from: ['mod_http_api'], who: 'all', what: ['register'] },
    },
    modules: {
      mod_adhoc: {},
      mod_blocking: {},
      mod_caps: {},
      mod_carboncopy: {},
      mod_disco: {},
      mod_http_api: {},
      mod_last: {},
      ...(!isLean && { mod_mam: { default: 'always' } }),
      mod_muc: { access_create: 'all', default_room_options: { mam: !isLean } },
      mod_offline: {},
      mod_ping: {},
      mod_privacy: {},
      mod_private: {},
      mod_pubsub: { plugins: ['flat', 'pep'] },
      mod_register: {},
      mod_roster: {},
      mod_stream_mgmt: {},
      mod_vcard: {},
      mod_version: {},
    },
    append_host_config: { [domains.dialback]: { modules: { mod_s2s_dialback: {} } } } as Record<string, unknown>,
  };
  // Of other programs there may be folders that may not be read.
  const find = 'find /usr/lib -name mod_s2s_bidi.beam 2>/dev/null || true';
  const hasBidi = (await outputOf({ program: 'sh', args: ['-c', find] })) !== '';
  if (hasBidi) config.append_host_config[domains.bidi] = { modules: { mod_s2s_bidi: {} } };
  // What is JSON is YAML too.
  const file = await run.writes('ejabberd.yml', JSON.stringify(config, null, 2));
  await run.writes('database/.keep', '');
  await run.writes('start', script);
  // It opens one after the other.
  const places = [...[c2s, s2s, directTls, api].map((port) => ({ host: address, port })), { host: '::1', port: six }];
  let isRegistered = false;
  return {
    name: server,
    ways: new Set(ways.filter((way) => way !== 'managed' && (way !== 'bidi' || hasBidi))),
    looksNamesUp: false,
    c2s: { host: address, port: c2s },
    s2s: { host: address, port: s2s },
    directTls: { host: address, port: directTls },
    six: { host: '::1', port: six },
    log: run.log,
    start: async () => {
      const flags = ['-noinput', '+K', 'true', '-mnesia', 'dir', `"${run.folder}/database"`, '-s', 'ejabberd'];
      const env = { EJABBERD_CONFIG_PATH: file, EJABBERD_LOG_PATH: `${run.folder}/ejabberd.log`, ERL_INETRC: inetrc };
      await run.start({ program: 'sh', args: [`${run.folder}/start`, ...flags], env }, places);
      if (isRegistered) return;
      for (const [bare, password] of Object.entries(accounts)) {
        const [user, host] = bare.split('@');
        const body = JSON.stringify({ user, host, password });
        const answer = await fetch(`http://${address}:${api}/api/register`, { method: 'POST', body });
        assert.ok(answer.ok, `ejabberd does not register ${bare}: ${await answer.text()}`);
      }
      isRegistered = true;
    },
    stop: () => run.end('SIGTERM'),
    kill: () => run.end('SIGKILL'),
    close: () => run.close(),
    get pid() {
      return run.pid;
    },
    complaints: () => run.log.filter((line) => /\[(error|critical)\]/.test(line)),
  };
}
