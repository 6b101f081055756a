/** A background server, and its messages to the starting process until it is ready. */
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

/** Set for a process that is a background server. */
const variable = 'WAXWING_BACKGROUND';

interface Instructions {
  readonly logFile: string;
  /** Whether the output on readiness is shown to a user. */
  readonly showsSecrets: boolean;
}

type Report = { readonly ready: Started } | { readonly failed: { readonly code: Failure; readonly message: string } };

/** Undefined if this process is not a background server. */
export const background = instructionsOf(process.env[variable]);

function instructionsOf(text: string | undefined) {
  if (text === undefined || process.send === undefined) return undefined;
  delete process.env[variable];
  const send = (report: Report) => {
    // the starting process may have ended
    if (process.connected) process.send!(report, () => process.connected && process.disconnect());
  };
  return {
    ...(JSON.parse(text) as Instructions),
    ready: (started: Started) => send({ ready: started }),
    failed(error: unknown) {
      const known = asCommandError(error);
      const code = known instanceof CommandError ? known.failure : 'failed';
      send({ failed: { code, message: error instanceof Error ? error.message : String(error) } });
    },
  };
}

interface From {
  readonly file: string | undefined;
  readonly data: string | undefined;
  /** Base of relative paths if there is no configuration file. */
  readonly folder: string;
}

/** Resolves once the server is ready. Rejects with CommandError. */
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
  const instructions: Instructions = { logFile, showsSecrets: showsSecrets() };
  const child = spawn(process.execPath, args, {
    cwd: folder,
    detached: true,
    env: { ...process.env, [variable]: JSON.stringify(instructions) },
    stdio: ['ignore', log, log, 'ipc'],
  });
  closeSync(log);
  const reply = await new Promise<Report | undefined>((resolve, reject) => {
    child.once('message', (message) => resolve(message as Report));
    child.once('exit', () => resolve(undefined));
    child.once('error', reject);
  });
  if (child.connected) child.disconnect();
  child.unref();
  if (reply === undefined) throw new CommandError('failed', `the server exited before it was ready; see ${logFile}`);
  if ('failed' in reply) throw new CommandError(reply.failed.code, reply.failed.message);
  return reply.ready;
}

/**
 * Stops the running server, if any, and starts one with the same options. Rejects with CommandError and ConfigError.
 */
export async function restart(terminal: Terminal): Promise<Started> {
  const { socket } = await terminal.places();
  const before = await statusOf(socket);
  if (before === undefined) return startInBackground(terminal);
  if (before.supervised)
    throw new CommandError(
      'failed',
      'systemd or a container runs the server: restart it there (systemctl restart waxwing)',
    );
  const from = {
    file: before.configFile ?? undefined,
    data: before.launch.data ?? undefined,
    folder: before.launch.folder,
  };
  // Checks the configuration before stopping.
  await loadConfiguration(from.file, from.data);
  terminal.progress('stopping the server');
  // After the reply, the server has released everything, and its process exits.
  await call(socket, 'stop', {}, terminal.progress);
  terminal.progress('starting the server');
  return startInBackground(terminal, from);
}

/** The status of the running server. Returns undefined if none runs. */
export async function statusOf(socket: string): Promise<StatusData | undefined> {
  try {
    return (await call(socket, 'status', {}, () => {})) as StatusData;
  } catch (error) {
    if (error instanceof CommandError && error.failure === 'not-running') return undefined;
    throw error;
  }
}
