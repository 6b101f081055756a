/**
 * HTTP requests other than upgrades: each goes to the module that serves its path on the requested host. An unclaimed
 * path is answered with 404.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { HttpAnswer, HttpMethod } from '../module/index.js';
import type { Peer } from '../transport/peer.js';
import { findRoute, type Routes } from './routes.js';
import { authorityOf, pathOf, queryOf } from './target.js';

export interface HttpRouterParts {
  /** Returns the routes of the host with this name or service name, or of the first host for an unknown name. */
  routes(name: string): Routes;
  /** Returns the sender, or undefined if the address given by a trusted proxy cannot be parsed. */
  peer(request: IncomingMessage): Peer | undefined;
  failed(error: unknown, path: string): void;
  limitHit(limit: string): void;
}

export class HttpRouter {
  readonly #parts: HttpRouterParts;
  #stopped = false;

  constructor(parts: HttpRouterParts) {
    this.#parts = parts;
  }

  /** Stops calling modules: their storage is about to be closed. */
  stop(): void {
    this.#stopped = true;
  }

  /** Never rejects. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#answer(request, response);
    } catch (error) {
      if (request.destroyed && !request.complete) return; // the client went away
      this.#parts.failed(error, pathOf(request));
      if (response.headersSent) response.destroy();
      else plain(response, 500, 'Internal error');
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = pathOf(request);
    const found = findRoute(this.#parts.routes(authorityOf(request)), path);
    if (found === undefined) return plain(response, 404, 'Not found');
    const method = request.method as HttpMethod;
    const route = found.byMethod.get(method) ?? (method === 'HEAD' ? found.byMethod.get('GET') : undefined);
    if (route === undefined) return plain(response, 405, 'Not allowed', { allow: allowed(found.byMethod.keys()) });
    const peer = this.#parts.peer(request);
    if (peer === undefined) return plain(response, 400, 'Bad request');
    const { 'content-length': length, 'transfer-encoding': encoding, upgrade } = request.headers;
    const hasBody = length !== undefined || encoding !== undefined;
    // After an ignored upgrade the rest of the connection is not read.
    if (hasBody && upgrade !== undefined) return plain(response, 400, 'Bad request', { connection: 'close' });
    const body = !hasBody
      ? Buffer.alloc(0)
      : Number(length) > route.body
        ? undefined
        : await bodyOf(request, route.body);
    if (body === undefined) {
      this.#parts.limitHit('http_body');
      return plain(response, 413, 'Too large', { connection: 'close' });
    }
    if (this.#stopped) return plain(response, 503, 'The server is shutting down', { connection: 'close' });
    const rest = found.path === '/' ? path.slice(path === '/' ? 1 : 0) : path.slice(found.path.length);
    const { address, secure } = peer;
    const { headers } = request;
    const query = queryOf(request);
    send(response, await route.handler({ method, path, rest, query, headers, body, address, secure }));
  }
}

/** Resolves with undefined if the body is too long; the rest is not read. Rejects if the client disconnects. */
function bodyOf(request: IncomingMessage, limit: number): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= limit) chunks.push(chunk);
      else {
        chunks.length = 0;
        request.pause();
        resolve(undefined);
      }
    });
    request.once('end', () => resolve(Buffer.concat(chunks, bytes)));
    request.once('error', reject);
    request.once('close', () => reject(new Error('the client disconnected')));
  });
}

const allowed = (methods: Iterable<HttpMethod>): string => {
  const all = new Set(methods);
  if (all.has('GET')) all.add('HEAD');
  return [...all].sort().join(', ');
};

function plain(response: ServerResponse, status: number, text: string, headers: OutgoingHttpHeaders = {}): void {
  send(response, { status, headers, body: `${text}\n` });
}

function send(response: ServerResponse, { status, headers = {}, body }: HttpAnswer): void {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) response.setHeader(name, value);
  if (bytes !== undefined) {
    if (!response.hasHeader('content-type')) response.setHeader('content-type', 'text/plain; charset=utf-8');
    response.setHeader('content-length', bytes.length);
    response.setHeader('x-content-type-options', 'nosniff');
  }
  response.writeHead(status ?? (bytes === undefined ? 204 : 200)).end(bytes);
}
