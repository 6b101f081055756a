import { createServer } from 'node:net';
import { parseListenAddress } from '../../config/address.js';
import { type Config, type ListenerKind, listenersOf, optionalListeners, orderedHosts } from '../../config/schema.js';
import type { Finding, Subject } from './finding.js';

/** Checks that each port is free, or used by the running server. */
export async function checkPorts({ config, running }: Pick<Subject, 'config' | 'running'>): Promise<Finding[]> {
  const kinds = listenersOf(config);
  const optional = optionalListeners(config);
  const wanted = kinds.flatMap((kind) =>
    config.listen[kind].map((text): Wanted => ({ option: `listen.${kind}`, kind, text })),
  );
  const findings = [...wanted, ...proxyPorts(config)].map((one) => checkPort(one, running, kinds, optional));
  const found = [...proofPort(config), ...(await Promise.all(findings))];
  if (wanted.some(({ kind }) => kind !== 'component' && kind !== 'acme')) return found;
  const nowhere: Finding = {
    area: 'ports',
    level: 'warning',
    what: 'the server has no port for clients',
    why: 'Clients cannot connect.',
    advice: 'Set listen.c2s, listen.c2s_tls or listen.https.',
  };
  return [nowhere, ...found];
}

/** Where an authority looks for proofs (RFC 8555 §8.3, RFC 8737 §3), if it is another port than ours. */
function proofPort(config: Config): Finding[] {
  const { challenge } = config.tls.acme;
  if (orderedHosts(config).length === 0 || challenge === 'dns-01') return [];
  const [port, kinds] =
    challenge === 'http-01' ? ([80, ['acme']] as const) : ([443, ['https', 'c2s_tls', 's2s_tls']] as const);
  const ours = kinds.flatMap((kind) => config.listen[kind]).map((text) => parseListenAddress(text)!.port);
  if (ours.includes(port)) return [];
  const forward =
    challenge === 'http-01'
      ? 'pass /.well-known/acme-challenge/ from there to listen.http, or that port to listen.acme'
      : 'pass connections from there on without ending TLS';
  return [
    {
      area: 'ports',
      level: 'note',
      what: `authorities look for proofs (${challenge}) at port ${port}, where this server does not listen`,
      why: 'Without a proof there is no certificate.',
      advice: `Set listen.${kinds[0]} = ["*:${port}"]; or, if a proxy or router has that port, ${forward}.`,
    },
  ];
}

interface Wanted {
  readonly option: string;
  /** Undefined for a module's port, which the server can run without. */
  readonly kind: ListenerKind | undefined;
  readonly text: string;
}

/** Ports of the file transfer proxy (XEP-0065). */
function proxyPorts({ modules }: Config): Wanted[] {
  const { listen = [] } = (modules.proxy65 ?? {}) as { readonly listen?: readonly string[] };
  if (modules.disabled.includes('proxy65')) return [];
  return listen.map((text) => ({ option: 'modules.proxy65.listen', kind: undefined, text }));
}

async function checkPort(
  { option, kind, text }: Wanted,
  running: Subject['running'],
  kinds: readonly ListenerKind[],
  optional: readonly ListenerKind[],
): Promise<Finding> {
  const { host, port } = parseListenAddress(text)!;
  const ok = (what: string): Finding => ({ area: 'ports', level: 'ok', what: `${option} ${text}: ${what}` });
  if (port === 0) return ok('any free port');
  const isIt = (bound: string) => (kind === undefined ? !kinds.includes(bound as ListenerKind) : bound === kind);
  if (running?.listening.some((bound) => isIt(bound.kind) && bound.port === port))
    return ok('used by the running server');
  const code = await tryPort(port, host);
  if (code === undefined) return ok('free');
  const finding = refused(`${option} ${text}`, code);
  if (kind === 'acme') {
    const why =
      'The server starts, but cannot order certificates, unless a proxy has this port (then: listen.acme = []).';
    return { ...finding, why };
  }
  if (kind !== undefined && optional.includes(kind)) {
    const why = 'The server starts, but its users cannot talk to users of other servers.';
    return { ...finding, why, advice: `${finding.advice ?? ''} Without other servers: s2s.enabled = false.`.trim() };
  }
  if (kind !== undefined) return finding;
  return {
    ...finding,
    level: 'warning',
    why: 'The server runs without the proxy that clients behind NAT use to send files.',
    advice: `${finding.advice ?? ''} To disable the proxy: ${option} = [].`.trim(),
  };
}

/** Returns the system's error code, or undefined if the port is free. */
function tryPort(port: number, host: string | undefined): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

function refused(what: string, code: string): Finding {
  const base = { area: 'ports', level: 'error', why: 'The server will not start.' } as const;
  switch (code) {
    case 'EADDRINUSE':
      return {
        ...base,
        what: `${what}: another program already uses it`,
        advice: 'Find it with ss -ltnp and stop it, or choose another port.',
      };
    case 'EACCES':
      return {
        ...base,
        what: `${what}: permission denied`,
        advice: 'Ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= of systemd), or choose another port.',
      };
    case 'EADDRNOTAVAIL':
      return {
        ...base,
        what: `${what}: this machine does not have this address`,
        advice: 'Use one of its addresses (see ip address), or "*" for all.',
      };
    default:
      return { ...base, what: `${what}: ${code}` };
  }
}
