/** HTTP clients for dialogues: the same request over HTTP/1.1, over TLS, and over HTTP/2. */
import type { EventEmitter } from 'node:events';
import { type IncomingMessage, request as plainRequest } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { request as tlsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import type { Scene } from './dialogue.js';

/** How a request is sent. */
export type Way = 'http' | 'https' | 'h2';
export const ways: readonly Way[] = ['http', 'https', 'h2'];

export interface Asked {
  readonly method?: string;
  /** The requested host. */
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string | number>>;
  /** All of the body, or its beginning if the request does not end. */
  readonly body?: string | Buffer | undefined;
  /** The body goes on after that, and its rest never comes. */
  readonly isUnfinished?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly bytes: Buffer;
}

/** A request whose answer is still to come. */
export interface Pending {
  /** Rejects if the connection ends before the answer. */
  readonly answer: Promise<{ readonly status: number; readonly headers: Answer['headers']; readonly body: Readable }>;
  /** Resolves once the server asks for the body (RFC 9110 §10.1.1). */
  readonly continued: Promise<void>;
  write(data: string | Buffer): void;
  end(data?: string | Buffer): void;
  /** Ends the connection. */
  cut(): void;
}

/** The first value of an event. Rejects if the stream closes before, which may be without an error. */
function firstOf<T>(stream: EventEmitter, name: string): Promise<T> {
  return new Promise((resolve, reject) => {
    stream.once(name, resolve);
    stream.once('error', reject);
    stream.once('close', () => reject(new Error(`closed before ${name}`)));
  });
}

/** Not everybody waits for them. */
function unattended(pending: Pending): Pending {
  for (const promise of [pending.answer, pending.continued]) promise.catch(() => {});
  return pending;
}

export function begin({ stage }: Scene, way: Way, path: string, asked: Asked = {}): Pending {
  const { method = 'GET', host = 'localhost', headers = {} } = asked;
  if (way === 'h2') {
    const session = connectHttp2(`https://127.0.0.1:${stage.port('https')}`, { rejectUnauthorized: false });
    session.on('error', () => {});
    const pseudo = { ':method': method, ':path': path, ':authority': host, ':scheme': 'https' };
    const stream = session.request(
      { ...pseudo, ...headers },
      { endStream: asked.body === undefined && !asked.isUnfinished },
    );
    stream.on('error', () => {});
    stream.once('close', () => session.destroy());
    const answer = firstOf<Record<string, never>>(stream, 'response').then((got) => {
      const { ':status': status, ...rest } = got;
      return { status: Number(status), headers: rest, body: stream };
    });
    return unattended({
      answer,
      continued: firstOf(stream, 'continue'),
      write: (data) => void stream.write(data),
      end: (data) => void stream.end(data),
      cut: () => session.destroy(),
    });
  }
  const port = stage.port(way);
  const request = (way === 'https' ? tlsRequest : plainRequest)({
    host: '127.0.0.1',
    port,
    path,
    method,
    agent: false,
    rejectUnauthorized: false,
    headers: { host, ...headers },
  } as object);
  request.flushHeaders();
  const answer = firstOf<IncomingMessage>(request, 'response').then((response) => {
    response.on('error', () => {});
    return { status: response.statusCode!, headers: response.headers, body: response };
  });
  return unattended({
    answer,
    continued: firstOf(request, 'continue'),
    write: (data) => void request.write(data),
    end: (data) => void request.end(data),
    cut: () => request.destroy(),
  });
}

/** Rejects if the answer ends too early. */
export async function ask(scene: Scene, way: Way, path: string, asked: Asked = {}): Promise<Answer> {
  const pending = begin(scene, way, path, asked);
  if (asked.isUnfinished) pending.write(asked.body ?? '');
  else if (way !== 'h2' || asked.body !== undefined) pending.end(asked.body);
  const { status, headers, body } = await pending.answer;
  const bytes = Buffer.concat(await body.toArray());
  pending.cut();
  return { status, headers, text: `${bytes}`, bytes };
}
