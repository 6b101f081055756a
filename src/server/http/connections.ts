/**
 * HTTP servers without a port: connections are passed to them. HTTP/1.1 (RFC 9112), and over TLS also HTTP/2 (RFC 9113).
 * WebSocket over HTTP/2 (RFC 8441) is not offered, so browsers open an HTTP/1.1 connection for it.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Http2Server, ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { monotonic } from '../clock.js';
import { carriedBy, type Incoming, type Outgoing, socketOf } from './message.js';

export interface HttpConnectionsParts {
  /** Time for the headers of a request, in ms. */
  readonly headersTimeout: number;
  request(socket: Socket, request: Incoming, response: Outgoing): void;
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void;
  /** HTTP/2 cannot be loaded. */
  failed(error: unknown): void;
  limitHit(limit: string): void;
}

/** Requests of one connection that are not answered yet. */
const mostOpen = 100;
/** How long a connection without open requests is kept, in ms. */
const keepAlive = 10_000;
/** How long one on which nothing moves is kept, in ms: longer than a long poll (XEP-0124). */
const idle = 300_000;
/** How often a session of HTTP/2 is asked for a sign of life, and how long it has to answer, in ms. */
const pingAfter = 20_000;
const headerBytes = 16_384;

const open = Symbol('open requests');
type Counted = Socket & { [open]?: number };

function onAnswered(this: ServerResponse): void {
  const socket: Counted = this.req.socket;
  socket[open]!--;
}

export class HttpConnections {
  readonly #parts: HttpConnectionsParts;
  readonly #server: Server;
  #http2: Promise<Http2Server> | undefined;
  #open = 0;
  /** By session: when it was last heard of, or asked for a sign of life. */
  readonly #sessions = new Map<ServerHttp2Session, { at: number; isAsked: boolean }>();

  constructor(parts: HttpConnectionsParts) {
    this.#parts = parts;
    const server = createServer({
      keepAliveTimeout: keepAlive,
      headersTimeout: parts.headersTimeout,
      // Bodies have a minimum rate instead.
      requestTimeout: 0,
      connectionsCheckingInterval: 1000,
      maxHeaderSize: headerBytes,
    });
    // Node would ignore further headers. The router limits their number.
    server.maxHeadersCount = 0;
    server.timeout = idle;
    const request = (incoming: IncomingMessage, response: ServerResponse) => this.#request(incoming, response);
    server.on('request', request);
    // The router tells the client to continue if it wants the body.
    server.on('checkContinue', request);
    server.on('upgrade', (incoming, socket, head) => parts.upgrade(incoming, socket as Socket, head));
    server.on('clientError', (error, socket) => this.#refuse(error, socket as Counted));
    // Node checks for slow requests only on listening servers.
    server.emit('listening');
    this.#server = server;
  }

  /** Requests that are not answered yet. */
  get open(): number {
    return this.#open;
  }

  accept(socket: Socket): void {
    this.#server.emit('connection', socket);
  }

  /** Passes on a connection by the protocol that ALPN has chosen (`protocols`). */
  acceptSecure(socket: TLSSocket): void {
    if (socket.alpnProtocol !== 'h2') {
      this.accept(socket);
      return;
    }
    // A session of HTTP/2 ignores that the client has ended the connection.
    socket.allowHalfOpen = false;
    this.#loadHttp2().then(
      (server) => {
        if (!socket.writable) {
          socket.destroy();
          return;
        }
        this.#carrier = socket;
        // Only sockets of a tls.Server reset it; otherwise the session would wait for the handshake.
        (socket as { secureConnecting?: boolean }).secureConnecting = false;
        server.emit('connection', socket);
      },
      (error: unknown) => {
        this.#parts.failed(error);
        socket.destroy();
      },
    );
  }

  destroyAll(): void {
    this.#server.closeAllConnections();
    for (const session of this.#sessions.keys()) session.destroy();
  }

  /**
   * Ends sessions that do not answer a ping: the client is gone, or has broken the protocol. Node then stops reading the
   * connection, but does not close it. Call it every second or so.
   */
  cutDead(now: number): void {
    for (const [session, seen] of this.#sessions) {
      if (session.destroyed || now - seen.at < pingAfter) continue;
      if (seen.isAsked) {
        session.destroy();
        continue;
      }
      seen.at = now;
      seen.isAsked = true;
      session.ping((error) => {
        if (error === null) Object.assign(seen, { at: monotonic(), isAsked: false });
      });
    }
  }

  /** Of the HTTP/2 session that is being made. */
  #carrier: TLSSocket | undefined;

  /** Loaded with the first connection: many servers have none. */
  #loadHttp2(): Promise<Http2Server> {
    this.#http2 ??= import('node:http2').then(({ createServer: create }) => {
      const server = create({
        settings: { maxConcurrentStreams: mostOpen, maxHeaderListSize: headerBytes, enablePush: false },
        maxHeaderListPairs: 100,
        // Of one connection, in megabytes.
        maxSessionMemory: 2,
        maxSessionInvalidFrames: 100,
        maxSessionRejectedStreams: 50,
      });
      // Node limits the open streams of a session.
      const request = (incoming: Incoming, response: Outgoing) => this.#pass(socketOf(incoming), incoming, response);
      server.on('request', request);
      server.on('checkContinue', request);
      server.on('session', (session) => this.#opened(session));
      return server;
    });
    return this.#http2;
  }

  #opened(session: ServerHttp2Session): void {
    carriedBy(session, this.#carrier!);
    this.#sessions.set(session, { at: monotonic(), isAsked: false });
    session.setTimeout(idle, () => session.destroy());
    // 'close' follows.
    session.on('error', () => {});
    session.once('close', () => this.#sessions.delete(session));
  }

  #request(request: IncomingMessage, response: ServerResponse): void {
    const socket: Counted = request.socket;
    const count = (socket[open] ?? 0) + 1;
    if (count > mostOpen) {
      // HTTP/1.1 allows any number of requests before the first answer (pipelining).
      this.#parts.limitHit('http_requests');
      socket.destroy();
      return;
    }
    socket[open] = count;
    response.on('close', onAnswered);
    this.#pass(socket, request, response);
  }

  #pass(socket: Socket, request: Incoming, response: Outgoing): void {
    this.#open++;
    response.once('close', () => {
      this.#open--;
    });
    this.#parts.request(socket, request, response);
  }

  /** What cannot be read as a request. */
  #refuse(error: NodeJS.ErrnoException, socket: Counted): void {
    const status = statuses[error.code ?? ''] ?? '400 Bad Request';
    if (status.startsWith('431')) this.#parts.limitHit('http_headers');
    // An answer to an earlier request may be on its way.
    if (socket.writable && (socket[open] ?? 0) === 0 && error.code !== 'ECONNRESET') refuse(socket, status);
    else socket.destroy();
  }
}

/** Answers with an error and closes without waiting for the client's half. */
function refuse(socket: Socket, status: string): void {
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

const statuses: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Payload Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

/** For ALPN (RFC 7301), the preferred first. */
export const protocols = ['h2', 'http/1.1'];
