import { createServer } from 'node:net';
import { parseListenAddress } from '../../config/address.js';
import type { Finding, Subject } from './finding.js';

const kinds = ['c2s', 'c2s_tls', 'https', 'http'] as const;

/** Whether each port can be had, or is the running server's. */
export async function checkPorts({ config, running }: Pick<Subject, 'config' | 'running'>): Promise<Finding[]> {
  const wanted = kinds.flatMap((kind) => config.listen[kind].map((text) => ({ kind, text })));
  if (wanted.length === 0) {
    return [
      {
        area: 'ports',
        level: 'warning',
        what: 'the server listens nowhere',
        why: 'Nobody can connect.',
        advice: 'Set listen.c2s, listen.c2s_tls or listen.https.',
      },
    ];
  }
  return Promise.all(
    wanted.map(async ({ kind, text }): Promise<Finding> => {
      const { host, port } = parseListenAddress(text)!;
      const ok = (what: string): Finding => ({ area: 'ports', level: 'ok', what: `listen.${kind} ${text}: ${what}` });
      if (port === 0) return ok('any free port');
      if (running?.listening.some((bound) => bound.kind === kind && bound.port === port))
        return ok('the running server has it');
      const code = await tryPort(port, host);
      return code === undefined ? ok('is free') : refused(`listen.${kind} ${text}`, code);
    }),
  );
}

/** The system's error code; undefined: it can be had. */
function tryPort(port: number, host: string | undefined): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

function refused(what: string, code: string): Finding {
  const base = { area: 'ports', level: 'error', why: 'The server does not start.' } as const;
  switch (code) {
    case 'EADDRINUSE':
      return {
        ...base,
        what: `${what}: another program listens there`,
        advice: 'Find it by ss -ltnp and stop it, or choose another port.',
      };
    case 'EACCES':
      return {
        ...base,
        what: `${what}: this user may not listen there`,
        advice: 'Ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= of systemd), or choose another port.',
      };
    case 'EADDRNOTAVAIL':
      return {
        ...base,
        what: `${what}: this machine has no such address`,
        advice: 'Write one of its addresses (ip address), or "*" for all.',
      };
    default:
      return { ...base, what: `${what}: ${code}` };
  }
}
