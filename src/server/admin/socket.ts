/** The admin socket of the running server (protocol.ts). */

import { once } from 'node:events';
import { chmodSync, lstatSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { isAnswering } from './client.js';
import { type Command, CommandError, type RawValues, type ServerContext } from './command.js';
import { type Answer, type Line, linesType, pathOf, type Refusal, statusCodes } from './protocol.js';
import { run } from './run.js';
import { behindLocal, demandCommands, servedCommands } from './served.js';

/** Largest request body, in bytes. */
const largestBody = 65_536;
const mostConnections = 64;

export interface AdminSocket {
  /** Accepts no more commands and removes the socket; running commands continue. */
  close(): void;
}

/**
 * Opens the admin socket. Rejects with CommandError: 'configuration' for invalid commands of modules, 'conflict' if
 * another server replies there, 'failed' if it cannot be opened.
 */
export async function openAdminSocket(
  path: string,
  context: Omit<ServerContext, 'progress' | 'output'>,
  log: Logger,
): Promise<AdminSocket> {
  demandCommands(context.server.modules);
  const served = [...servedCommands(context.server.modules), ...behindLocal].filter(({ where }) => where !== 'local');
  const byPath = new Map(served.map((one) => [pathOf(one.name), one]));
  const server = createServer({ requestTimeout: 10_000, keepAlive: false }, (request, response) => {
    answer(request, response, byPath, context, log).catch((error: unknown) => {
      log.error({ err: error }, 'an administration request failed');
      response.destroy();
    });
  });
  server.maxConnections = mostConnections;
  const listen = () =>
    new Promise<void>((resolve, reject) => {
      // The socket is created in this turn, so the mask also holds for its file.
      const mask = process.umask(0o177);
      try {
        server.once('error', reject).listen({ path }, () => {
          server.removeListener('error', reject);
          resolve();
        });
      } finally {
        process.umask(mask);
      }
    });
  try {
    await listen();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EADDRINUSE') throw new CommandError('failed', `admin.socket ${path} cannot be opened (${code})`);
    if (await isAnswering(path)) throw new CommandError('conflict', `another server is running: it replies at ${path}`);
    if (!lstatSync(path).isSocket())
      throw new CommandError('failed', `${path} exists and is not a socket; remove it or change admin.socket`);
    rmSync(path); // of a server that was killed
    await listen();
  }
  chmodSync(path, 0o600);
  server.on('error', (error) => log.error({ err: error }, 'the admin socket failed'));
  return { close: () => void server.close() };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  byPath: ReadonlyMap<string, Command>,
  context: Omit<ServerContext, 'progress' | 'output'>,
  log: Logger,
): Promise<void> {
  const inLines = request.headers.accept === linesType;
  const say = (line: Line) => {
    if (!response.headersSent) response.writeHead(200, { 'content-type': linesType });
    response.write(`${JSON.stringify(line)}\n`);
  };
  const output = async (text: string): Promise<void> => {
    if (!inLines) throw new CommandError('usage', `the answer of ${request.url} needs the type ${linesType}`);
    say({ output: text });
    if (response.writableNeedDrain) await Promise.race([once(response, 'drain'), once(response, 'close')]);
    if (response.destroyed) throw new CommandError('failed', 'the caller has gone');
  };
  const finish = (status: number, reply: Answer) => {
    if (inLines) {
      say(reply);
      response.end();
    } else response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(reply)}\n`);
  };
  const refuse = (code: Refusal['code'], message: string, status: number = statusCodes[code]) =>
    finish(status, { error: { code, message } });

  const command = byPath.get(request.url ?? '');
  if (command === undefined) return refuse('unknown-command', 'unknown command');
  if (request.method !== 'POST') return refuse('usage', 'use POST', 405);
  const raw = await readBody(request);
  if (raw === undefined) return refuse('usage', 'the body must be a JSON object of at most 64 KiB');
  if (command.reads !== true) log.info({ command: command.name, ...shown(command, raw) }, 'administration');
  const progress = (text: string) => {
    if (inLines) say({ progress: text });
  };
  try {
    const result = await run(command, { ...context, progress, output } as ServerContext, raw);
    finish(200, { result: result ?? null });
  } catch (error) {
    if (error instanceof CommandError) return refuse(error.failure, error.message);
    log.error({ err: error, command: command.name }, 'a command failed');
    refuse('internal', 'internal error; see the log of the server');
  }
}

/** Values for the log: all except secrets. */
function shown({ parameters }: Command, raw: RawValues): RawValues {
  return Object.fromEntries(
    Object.entries(raw).filter(
      ([name, value]) =>
        Object.hasOwn(parameters, name) && parameters[name]!.type !== 'secret' && typeof value !== 'object',
    ),
  );
}

/** Returns undefined if the body is not a JSON object, or too large. */
async function readBody(request: IncomingMessage): Promise<RawValues | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > largestBody) return undefined;
    chunks.push(chunk);
  }
  try {
    const value: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8') || '{}');
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as RawValues) : undefined;
  } catch {
    return undefined;
  }
}
