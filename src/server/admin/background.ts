/** A server in the background: the process that starts it, and what it says to that process until it is ready. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { makePrivate, privateMode } from '../private-file.js';
import { call } from './client.js';
import { CommandError, type Failure, type Terminal } from './command.js';
import { loadConfiguration } from './configuration.js';
import { asCommandError } from './run.js';
import type { StatusData } from './running.js';
import type { Started } from './started.js';
import { showsSecrets } from './terminal.js';

/** Tells a process that it is a server in the background. */
const variable = 'WAXWING_BACKGROUND';

interface Errand {
  readonly logFile: string;
  /** Whether what is told on being ready is shown to somebody. */
  readonly showsSecrets: boolean;
}

type News = { readonly ready: Started } | { readonly failed: { readonly code: Failure; readonly message: string } };

/** undefined: this process is no server in the background. */
export const background = errandOf(process.env[variable]);

function errandOf(text: string | undefined) {
  if (text === undefined || process.send === undefined) return undefined;
  delete process.env[variable];
  const tell = (news: News) => {
    // whoever started it may be gone
    if (process.connected) process.send!(news, () => process.connected && process.disconnect());
  };
  return {
    ...(JSON.parse(text) as Errand),
    ready: (started: Started) => tell({ ready: started }),
    failed(error: unknown) {
      const known = asCommandError(error);
      const code = known instanceof CommandError ? known.failure : 'failed';
      tell({ failed: { code, message: error instanceof Error ? error.message : String(error) } });
    },
  };
}

interface From {
  readonly file: string | undefined;
  readonly data: string | undefined;
  /** Where paths begin if there is no configuration file. */
  readonly folder: string;
}

/** Resolves when the server is ready. Rejects with CommandError. */
export async function startInBackground(terminal: Terminal, from?: From): Promise<Started> {
  const { logFile, file, data } = await terminal.places();
  const { file: config, data: otherData, folder } = from ?? { file, data: terminal.given.data, folder: process.cwd() };
  mkdirSync(data, { recursive: true, mode: 0o700 });
  makePrivate(logFile);
  const log = openSync(logFile, 'a', privateMode);
  const args = [
    ...process.execArgv,
    process.argv[1]!,
    'start',
    ...(config === undefined ? [] : ['--config', config]),
    ...(otherData === undefined ? [] : ['--data', otherData]),
  ];
  const errand: Errand = { logFile, showsSecrets: showsSecrets() };
  const child = spawn(process.execPath, args, {
    cwd: folder,
    detached: true,
    env: { ...process.env, [variable]: JSON.stringify(errand) },
    stdio: ['ignore', log, log, 'ipc'],
  });
  closeSync(log);
  const news = await new Promise<News | undefined>((resolve, reject) => {
    child.once('message', (message) => resolve(message as News));
    child.once('exit', () => resolve(undefined));
    child.once('error', reject);
  });
  if (child.connected) child.disconnect();
  child.unref();
  if (news === undefined) throw new CommandError('failed', `the server ended before it was ready; see ${logFile}`);
  if ('failed' in news) throw new CommandError(news.failed.code, news.failed.message);
  return news.ready;
}

/** Stops the server, where one runs, and starts one as it was started. Rejects with CommandError and ConfigError. */
export async function restart(terminal: Terminal): Promise<Started> {
  const { socket } = await terminal.places();
  const before = await statusOf(socket);
  if (before === undefined) return startInBackground(terminal);
  if (before.supervised)
    throw new CommandError(
      'failed',
      'the server was started by systemd or as a container: restart it there (systemctl restart waxwing)',
    );
  const from = {
    file: before.configFile ?? undefined,
    data: before.launch.data ?? undefined,
    folder: before.launch.folder,
  };
  // What could not start is not stopped for.
  await loadConfiguration(from.file, from.data);
  terminal.progress('stopping the server');
  // When this is answered, the server has let go of everything; its process ends without more ado.
  await call(socket, 'stop', {}, terminal.progress);
  terminal.progress('starting it again');
  return startInBackground(terminal, from);
}

/** undefined: no server runs. */
export async function statusOf(socket: string): Promise<StatusData | undefined> {
  try {
    return (await call(socket, 'status', {}, () => {})) as StatusData;
  } catch (error) {
    if (error instanceof CommandError && error.failure === 'not-running') return undefined;
    throw error;
  }
}
