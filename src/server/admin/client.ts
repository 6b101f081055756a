/** Calls a command in the running server (protocol.ts). */
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { CommandError, type RawValues } from './command.js';
import { type Line, linesType, pathOf, type Refusal } from './protocol.js';

/** Timeout of a call without any progress, in ms. */
const patience = 120_000;

/** Whether a server listens on the socket. Rejects with CommandError if permission is denied. */
export function isAnswering(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      const refused = unreachable(path, error);
      if (refused.failure === 'not-running') resolve(false);
      else reject(refused);
    });
  });
}

/** Resolves with the command's data. Rejects with CommandError, with `not-running` if no server listens. */
export async function call(
  socketPath: string,
  name: string,
  values: RawValues,
  progress: (text: string) => void,
): Promise<unknown> {
  const response = await send(socketPath, name, values);
  try {
    for await (const text of createInterface({ input: response })) {
      const line = JSON.parse(text) as Line;
      if ('progress' in line) progress(line.progress);
      else if ('result' in line) return line.result;
      else throw asError(line.error, name);
    }
  } catch (error) {
    if (error instanceof CommandError) throw error;
  }
  throw new CommandError('failed', 'the server exited before it replied');
}

function send(socketPath: string, name: string, values: RawValues): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        socketPath,
        path: pathOf(name),
        method: 'POST',
        headers: { accept: linesType, 'content-type': 'application/json' },
        agent: false,
        timeout: patience,
      },
      resolve,
    );
    call.once('timeout', () => call.destroy(new CommandError('failed', 'the server does not reply')));
    call.once('error', (error) => reject(error instanceof CommandError ? error : unreachable(socketPath, error)));
    call.end(JSON.stringify(values));
  });
}

function unreachable(path: string, error: NodeJS.ErrnoException): CommandError {
  switch (error.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
    case 'ENOTDIR':
      return new CommandError('not-running', `no server is running: no reply at ${path}`);
    case 'EACCES':
    case 'EPERM':
      return new CommandError('failed', `${path} permission denied; run the command as the server's user`);
    default:
      return new CommandError('failed', `admin.socket ${path} cannot be reached (${error.code})`);
  }
}

function asError({ code, message }: Refusal, name: string): CommandError {
  switch (code) {
    case 'unknown-command':
      return new CommandError(
        'failed',
        `the running server is another version without the command ${name}; restart it`,
      );
    case 'internal':
      return new CommandError('failed', message);
    default:
      return new CommandError(code, message);
  }
}
