/** Calls a command in the running server (protocol.ts). */
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
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
  output: (text: string) => Promise<void> = () => Promise.resolve(),
): Promise<unknown> {
  const response = await send(socketPath, name, values);
  try {
    for await (const text of linesOf(response)) {
      const line = JSON.parse(text) as Line;
      if ('progress' in line) progress(line.progress);
      else if ('output' in line) await output(line.output);
      else if ('result' in line) return line.result;
      else throw asError(line.error, name);
    }
  } catch (error) {
    if (error instanceof CommandError || (error as { syscall?: string }).syscall === 'write') throw error;
  }
  throw new CommandError('failed', 'the server exited before it replied');
}

/** The lines of a response, read no faster than they are used. */
async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  response.setEncoding('utf8');
  let rest = '';
  for await (const text of response as AsyncIterable<string>) {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== '') yield rest;
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
