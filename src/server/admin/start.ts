/** `waxwing start`: runs the server in this process. */

import { Jid } from '../address/jid.js';
import { isFederated } from '../config/schema.js';
import { createServer, type Server, type ServerOptions } from '../index.js';
import { count } from '../words.js';
import { background, startInBackground } from './background.js';
import { exitCodes, type Launch, type Terminal } from './command.js';
import { loadConfiguration } from './configuration.js';
import { newPassword } from './password.js';
import { programName } from './program.js';
import { isSupervised, webClientsOf } from './running.js';
import { openAdminSocket } from './socket.js';
import type { Started } from './started.js';
import { showsSecrets } from './terminal.js';

/**
 * Runs the server until it is stopped. Rejects with CommandError and the errors of createServer if it cannot start.
 * `text` formats the output on readiness.
 */
export async function runServer(terminal: Terminal, text: (started: Started) => string): Promise<undefined> {
  try {
    await runUntilStopped(terminal, text);
  } catch (error) {
    background?.failed(error);
    throw error;
  }
}

async function runUntilStopped(terminal: Terminal, text: (started: Started) => string): Promise<void> {
  const places = await terminal.places();
  const { data } = terminal.given;
  let isRestarting = false;
  const halt = async (how: 'stop' | 'restart'): Promise<void> => {
    if (how === 'restart') {
      await loadConfiguration(places.file, data); // check the configuration before stopping
      isRestarting = true;
    }
    await shutdown(() => {});
  };
  const server = await createServer({ ...optionsFor(places.file, data), halt });
  const log = server.logs.area('admin');
  process.on('uncaughtExceptionMonitor', (error) => {
    log.fatal({ err: error }, 'the server exits after an internal error');
    server.logs.flush();
  });
  // A last resort: an unhandled rejection affects only what waits for it, so the server continues.
  process.on('unhandledRejection', (error) => {
    log.error({ err: error }, 'unhandled internal error');
  });

  let ended!: () => void;
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const launch: Launch = { file: places.file, data, folder: process.cwd() };
  let stopping: Promise<void> | undefined;
  const shutdown = (progress: (text: string) => void) => {
    stopping ??= stop(server, progress).finally(() => {
      socket.close();
      ended();
    });
    return stopping;
  };
  const socket = await openAdminSocket(
    server.config.admin.socket,
    {
      server,
      launch,
      get config() {
        return server.config;
      },
      modules: server.modules,
      accounts: async () => server.accounts,
      opened: async () => server,
      shutdown,
    },
    log,
  ).catch(async (error: unknown) => {
    await server.stop();
    throw error;
  });
  try {
    await server.start();
    obeySignals(server, shutdown, terminal);
    const { admin, advice } = await firstAccount(server);
    const started: Started = {
      version: server.version,
      pid: process.pid,
      background: background?.logFile ?? null,
      hosts: Object.keys(server.config.hosts),
      listening: [...server.listening, ...server.modulesListening],
      webClients: webClientsOf(server),
      admin,
      advice: [
        ...advice,
        ...withoutFederation(server),
        `Check for problems with ${programName()} check; list the commands with ${programName()} help.`,
      ],
    };
    log.info({ pid: process.pid, version: server.version }, 'started');
    if (background === undefined) terminal.print(started, text(started));
    else background.ready(started);
  } catch (error) {
    await shutdown(() => {});
    throw error;
  }
  await end;
  await stopping;
  if (isRestarting) await startAgain(terminal, launch);
  // In case a module left something open.
  setTimeout(() => process.exit(), 2000).unref();
}

/** A supervisor restarts a server that exits with this code; without one, starts a background server. */
async function startAgain(terminal: Terminal, launch: Launch): Promise<void> {
  if (isSupervised()) process.exitCode = exitCodes.restart;
  else await startInBackground(terminal, launch);
}

/** Options for reading the configuration as the commands do. */
function optionsFor(file: string | undefined, data: string | undefined): ServerOptions {
  return { file, ...(data !== undefined && { overrides: { data } }) };
}

async function stop(server: Server, progress: (text: string) => void): Promise<void> {
  const report = () => {
    const open = Object.values(server.connections).reduce((sum, count) => sum + count, 0);
    progress(open === 0 ? 'flushing to disk' : `waiting for ${count(open, 'connection')} to close`);
  };
  const timer = setInterval(report, 1000);
  try {
    await server.stop();
  } finally {
    clearInterval(timer);
  }
}

function obeySignals(
  server: Server,
  shutdown: (progress: (text: string) => void) => Promise<void>,
  terminal: Terminal,
) {
  const log = server.logs.area('admin');
  let isStopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (isStopping && signal === 'SIGINT') process.exit(130);
      if (isStopping) return;
      isStopping = true;
      if (process.stderr.isTTY) terminal.progress('stopping (press Ctrl-C again to exit at once)');
      shutdown(process.stderr.isTTY ? terminal.progress : () => {}).catch((error: unknown) => {
        log.error({ err: error }, 'the server did not stop cleanly');
        process.exitCode = 1;
      });
    });
  }
  process.on('SIGHUP', () => {
    server.reload().then(
      ({ applied, restart }) => log.info({ applied, restart }, 'the configuration was reloaded'),
      (error: unknown) => log.error({ err: error }, 'could not reload the configuration'),
    );
  });
}

/** A public domain should be reachable for other servers. */
function withoutFederation({ config, federation }: Server): string[] {
  return typeof federation === 'string' && isFederated(config)
    ? [`Its users cannot talk to users of other servers: ${federation}.`]
    : [];
}

/** The page on which the administrator can make an account of their own. Null if there is none. */
async function ownInvitation(server: Server, host: string): Promise<string | null> {
  const wanted = { role: 'admin', registers: true, connects: false, uses: 1, seconds: 86_400 } as const;
  const made = await server.host(host)?.provided('invites')?.make(wanted);
  return made?.url ?? null;
}

/** Creates the administrator's account if there are no accounts. */
async function firstAccount(server: Server): Promise<Pick<Started, 'admin' | 'advice'>> {
  const { config, accounts } = server;
  const hosts = Object.entries(config.hosts);
  const [first] = hosts[0]!;
  const invitation = `Create accounts with ${programName()} user add NAME@${first}, and log in with any XMPP client.`;
  for (const [host] of hosts)
    if ((await accounts.list(host, { limit: 1 })).accounts.length > 0) return { admin: null, advice: [] };
  // An administrator named in the configuration gets the account.
  const named = hosts.flatMap(([host, { admins }]) => admins.filter((address) => address.endsWith(`@${host}`)))[0];
  const jid = Jid.parse(named ?? `admin@${first}`);
  if (!(background?.showsSecrets ?? showsSecrets())) {
    return {
      admin: null,
      advice: [`There are no accounts yet. Create yours with: ${programName()} user add ${jid.bare} --admin`],
    };
  }
  const password = newPassword(config.auth.password_min_length);
  await accounts.create(jid, password, { role: named === undefined ? 'admin' : 'user' });
  return { admin: { jid: jid.bare, password, invitation: await ownInvitation(server, first) }, advice: [invitation] };
}
