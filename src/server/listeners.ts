/**
 * Ports: TCP and TLS for clients, TCP for components, HTTP for WebSocket and metrics. Each connection becomes a transport
 * and a stream.
 */
import {
  createServer as createHttpServer,
  type Server as HttpServer,
  type IncomingMessage,
  type RequestListener,
  ServerResponse,
} from 'node:http';
import { type AddressInfo, type BlockList, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import type { TLSSocketOptions } from 'node:tls';
import type { Logger } from 'pino';
import { monotonic } from './clock.js';
import { addressBlock, isAllowedOrigin, isIn, parseListenAddress } from './config/address.js';
import { type Config, type ListenerKind, listenersOf, optionalListeners } from './config/schema.js';
import { requestPeer } from './forwarded.js';
import { pathOf } from './http/target.js';
import { Rates } from './limits/rates.js';
import type { Certificates } from './tls/certificates.js';
import { awaitHello, type Hello } from './transport/client-hello.js';
import { namePeer, peerOf } from './transport/peer.js';
import { takeProxyHeader } from './transport/proxy-protocol.js';
import { TcpTransport } from './transport/tcp.js';
import { secured } from './transport/tls.js';
import type { Transport } from './transport/transport.js';
import { refuseUpgrade } from './transport/upgrade.js';
import type { WebSocketUpgrader } from './transport/websocket.js';

export type { ListenerKind } from './config/schema.js';

export interface Bound {
  readonly kind: ListenerKind;
  readonly address: string;
  readonly port: number;
}

/** Proxies whose information about clients is trusted. */
export interface Proxies {
  /** Proxies that send a PROXY header. */
  readonly protocol: BlockList;
  /** Proxies that set X-Forwarded-For. */
  readonly forwarded: BlockList;
}

/** What takes connections of other servers. */
export interface Servers {
  tls(hello: Hello): TLSSocketOptions;
  connected(transport: Transport, at: number): void;
}

export interface ListenersParts {
  config(): Config;
  proxies(): Proxies;
  readonly certificates: Certificates;
  readonly log: Logger;
  /** A client has connected; `at` is when the connection was accepted (`monotonic`). */
  connected(transport: Transport, at: number): void;
  /** The same for a component. */
  componentConnected(transport: Transport, at: number): void;
  /** Takes the connections of other servers; undefined if nothing does, and then no port is opened for them. */
  readonly servers: Servers | undefined;
  /** Requests other than upgrades. */
  readonly http: RequestListener;
  tlsFailed(): void;
  limitHit(limit: string): void;
}

const minute = 60_000;
/** Address blocks whose connections of the last minute are counted. */
const rememberedAddresses = 100_000;
/** A local proxy connects from these, on behalf of all its clients. */
const ownAddresses: readonly string[] = ['127.0.0.1', '::1'];

/** A port cannot be opened. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

export class Listeners {
  readonly #parts: ListenersParts;
  readonly #servers: Server[] = [];
  readonly bound: Bound[] = [];
  /** Open connections by address block (an IPv4 address, an IPv6 /64). */
  readonly #perAddress = new Map<string, number>();
  /** Rate of new connections by address block. */
  #arrivals = new Rates(Number.POSITIVE_INFINITY, minute);
  readonly #httpServers: HttpServer[] = [];
  readonly #sockets = new Set<Socket>();
  /** Connections without a stream or a served request, by when they were accepted (`monotonic`). */
  readonly #pending = new Map<Socket, number>();

  constructor(parts: ListenersParts) {
    this.#parts = parts;
  }

  /**
   * Opens every configured port. Rejects with ListenError, with all closed again, if one cannot be opened. The ports for
   * other servers may be optional: if one of them cannot be opened, none is, and the error is the result.
   */
  async open(): Promise<ListenError | undefined> {
    const config = this.#parts.config();
    const optional = optionalListeners(config);
    const needed = listenersOf(config).filter((kind) => !optional.includes(kind));
    const failed = await this.#open(needed);
    if (failed !== undefined) {
      await this.close();
      throw failed;
    }
    const first = this.#servers.length;
    const missing = await this.#open(listenersOf(config).filter((kind) => optional.includes(kind)));
    // Not awaited: it would wait for connections that were accepted before the failure.
    if (missing !== undefined) void this.#close(first);
    return missing;
  }

  /** Opens ports one after the other, up to the first that cannot be opened. */
  async #open(kinds: readonly ListenerKind[]): Promise<ListenError | undefined> {
    const { listen } = this.#parts.config();
    for (const kind of kinds) {
      for (const address of listen[kind]) {
        const error = await this.#listen(kind, address, listen.backlog);
        if (error !== undefined) return error;
      }
    }
    return undefined;
  }

  /** Stops accepting connections. Open ones stay. */
  close(): Promise<void> {
    return this.#close(0);
  }

  /** Every server but the last, which may have failed, has its entry in `bound`. Never rejects. */
  async #close(first: number): Promise<void> {
    this.bound.length = Math.min(this.bound.length, first);
    await Promise.all(
      this.#servers
        .splice(first)
        .map(
          (server) => new Promise<void>((resolve) => (server.listening ? server.close(() => resolve()) : resolve())),
        ),
    );
  }

  /** Accepted connections, and those without a stream or a served request yet. */
  get inspection(): { readonly connections: number; readonly pending: number } {
    return { connections: this.#sockets.size, pending: this.#pending.size };
  }

  /** Cuts connections whose PROXY header, handshake, request or upgrade did not arrive by the login timeout. */
  cutLate(now: number): void {
    const deadline = this.#parts.config().limits.login_deadline_seconds * 1000;
    for (const [socket, at] of this.#pending) {
      if (now - at < deadline) continue;
      this.#parts.limitHit('login_deadline_seconds');
      this.#pending.delete(socket);
      socket.destroy();
    }
  }

  /** The connection is no longer pending. Returns when it was accepted. */
  #arrived(socket: Socket): number {
    const since = this.#pending.get(socket) ?? monotonic();
    this.#pending.delete(socket);
    return since;
  }

  /** Cuts the remaining connections, so that `close` can resolve. */
  destroyAll(): void {
    for (const server of this.#httpServers) server.closeAllConnections();
    for (const socket of this.#sockets) socket.destroy();
  }

  #listen(kind: ListenerKind, text: string, backlog: number): Promise<ListenError | undefined> {
    const { host, port } = parseListenAddress(text)!;
    const server = this.#make(kind);
    this.#servers.push(server);
    return new Promise((resolve) => {
      server.once('error', (error: NodeJS.ErrnoException) =>
        resolve(new ListenError(`listen.${kind}: ${text}: ${explain(error)}`, { cause: error })),
      );
      server.listen({ port, host, backlog }, () => {
        server.removeAllListeners('error');
        server.on('error', (error) => this.#parts.log.error({ err: error }, `the listener ${kind} ${text} failed`));
        const bound = server.address() as AddressInfo;
        this.bound.push({ kind, address: bound.address, port: bound.port });
        resolve(undefined);
      });
    });
  }

  #make(kind: ListenerKind): Server {
    const tcp = (connected: (socket: Socket) => void) =>
      createTcpServer({ noDelay: true, keepAlive: true, allowHalfOpen: true }, (socket) => {
        if (!this.#admit(socket)) return;
        this.#pending.set(socket, monotonic());
        const named = () => {
          if (this.#count(socket)) connected(socket);
        };
        const proxy = peerOf(socket).address;
        if (!isIn(this.#parts.proxies().protocol, proxy)) named();
        else
          takeProxyHeader(socket, named, (error) =>
            this.#parts.log.warn({ err: error, proxy }, 'invalid PROXY header'),
          );
      });
    switch (kind) {
      case 'c2s':
        return tcp((socket) =>
          this.#parts.connected(new TcpTransport(socket, (hello) => this.#tls(hello)), this.#arrived(socket)),
        );
      case 'c2s_tls':
        return tcp((socket) => {
          const transport = this.#directTls(socket, 'xmpp-client', (hello) => this.#tls(hello));
          this.#parts.connected(transport, this.#arrived(socket));
        });
      case 'component':
        return tcp((socket) =>
          this.#parts.componentConnected(new TcpTransport(socket, (hello) => this.#tls(hello)), this.#arrived(socket)),
        );
      case 's2s':
        return tcp((socket) => {
          const { servers } = this.#parts;
          servers!.connected(new TcpTransport(socket, servers!.tls), this.#arrived(socket));
        });
      case 's2s_tls':
        return tcp((socket) => {
          const { servers } = this.#parts;
          servers!.connected(this.#directTls(socket, 'xmpp-server', servers!.tls), this.#arrived(socket));
        });
      case 'http': {
        const server = this.#http();
        return tcp((socket) => server.emit('connection', socket));
      }
      case 'https': {
        const server = this.#http();
        const secure = (socket: Socket, hello: Hello) => {
          // Browsers would ask their users for a certificate.
          const tls = secured(socket, { ...this.#tls(hello), ALPNProtocols: ['http/1.1'], requestCert: false });
          this.#pending.set(tls, this.#arrived(socket));
          let isSecure = false;
          tls.on('error', () => {});
          tls.once('close', () => {
            this.#pending.delete(tls);
            if (!isSecure) this.#parts.tlsFailed();
          });
          tls.once('secure', () => {
            isSecure = true;
            server.emit('connection', tls);
          });
        };
        return tcp((socket) =>
          awaitHello(
            socket,
            (hello) => secure(socket, hello),
            () => {
              this.#parts.tlsFailed();
              socket.destroy();
            },
          ),
        );
      }
    }
  }

  /** XEP-0368 §3: ALPN, for peers that request it; others are accepted too. */
  #directTls(socket: Socket, protocol: string, options: (hello: Hello) => TLSSocketOptions): TcpTransport {
    const transport = new TcpTransport(socket, (hello) => ({ ...options(hello), ALPNProtocols: [protocol] }));
    transport.startTls((error) => {
      if (error === undefined) return;
      this.#parts.tlsFailed();
      transport.destroy();
    });
    return transport;
  }

  /** An HTTP server without a port: connections are passed to it. */
  #http(): HttpServer {
    const headersTimeout = this.#parts.config().limits.login_deadline_seconds * 1000;
    const server = createHttpServer(
      {
        keepAliveTimeout: 10_000,
        headersTimeout,
        requestTimeout: Math.max(30_000, headersTimeout),
        connectionsCheckingInterval: 1000,
      },
      (request, response) => {
        this.#pending.delete(request.socket);
        this.#parts.http(request, response);
      },
    );
    // Node checks for slow requests only on listening servers.
    server.emit('listening');
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as Socket, head));
    this.#httpServers.push(server);
    return server;
  }

  #tls(hello: Hello): TLSSocketOptions {
    const { certificates } = this.#parts;
    return {
      secureContext: certificates.contextOf(hello),
      SNICallback: certificates.sniCallback,
      requestCert: this.#parts.config().tls.client_certificates,
      // SASL EXTERNAL (XEP-0178) decides whether a client certificate is trusted, not the TLS layer.
      rejectUnauthorized: false,
    };
  }

  /** RFC 7395 §3.1. */
  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const { http, limits } = this.#parts.config();
    socket.on('error', () => {});
    if (!asksForWebSocket(request)) {
      this.#ignoreUpgrade(request, socket);
      return;
    }
    const path = pathOf(request);
    if (!this.#pending.has(socket)) this.#pending.set(socket, monotonic());
    const isAllowed = isAllowedOrigin(request.headers.origin, http.origins);
    if (path !== http.websocket_path || !isAllowed) {
      refuseUpgrade(socket, isAllowed ? '404 Not Found' : '403 Forbidden');
      return;
    }
    const peer = requestPeer(request, this.#parts.proxies().forwarded);
    if (peer === undefined) {
      this.#parts.log.warn({ proxy: peerOf(socket).address }, 'invalid address in X-Forwarded-For');
      socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    if (peer.address !== peerOf(socket).address) {
      namePeer(socket, peer);
      if (!this.#count(socket)) return;
    }
    // Loaded with the first WebSocket client: many servers have none.
    this.#upgrader ??= import('./transport/websocket.js').then(
      ({ WebSocketUpgrader }) => new WebSocketUpgrader(limits.stanza_bytes),
    );
    this.#upgrader
      .then((upgrader) =>
        upgrader.upgrade(request, socket, head, (transport) => this.#parts.connected(transport, this.#arrived(socket))),
      )
      .catch((error: unknown) => {
        this.#parts.log.error({ err: error }, 'could not open a WebSocket');
        socket.destroy();
      });
  }

  /** RFC 9110 §7.8: upgrades to unsupported protocols are ignored. Node reads no more requests from the connection. */
  #ignoreUpgrade(request: IncomingMessage, socket: Socket): void {
    this.#pending.delete(socket);
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => socket.end());
    this.#parts.http(request, response);
  }

  #upgrader: Promise<WebSocketUpgrader> | undefined;

  /** Enforces the limit of all connections (XEP-0205 §3.1). */
  #admit(socket: Socket): boolean {
    if (socket.destroyed) return false;
    if (this.#sockets.size >= this.#parts.config().limits.connections) {
      this.#refuse(socket, 'connections');
      return false;
    }
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#pending.delete(socket);
    });
    return true;
  }

  /** Enforces the limits per address. */
  #count(socket: Socket): boolean {
    const { address } = peerOf(socket);
    const block = addressBlock(address);
    const limit = isSharedAddress(address, this.#parts.proxies()) ? undefined : this.#limitOf(block);
    if (limit !== undefined) {
      this.#refuse(socket, limit);
      return false;
    }
    this.#perAddress.set(block, (this.#perAddress.get(block) ?? 0) + 1);
    socket.once('close', () => {
      const left = (this.#perAddress.get(block) ?? 1) - 1;
      if (left === 0) this.#perAddress.delete(block);
      else this.#perAddress.set(block, left);
    });
    return true;
  }

  #refuse(socket: Socket, limit: string): void {
    this.#parts.limitHit(limit);
    socket.destroy();
  }

  /** The limit that one more connection from the address would exceed. Returns undefined if there is none. */
  #limitOf(block: string): string | undefined {
    const { connections_per_address, connections_per_minute } = this.#parts.config().limits;
    if ((this.#perAddress.get(block) ?? 0) >= connections_per_address) return 'connections_per_address';
    // A full set of connections may arrive at once, as after a restart, but not a full minute's worth.
    const atOnce = Math.min(connections_per_minute, connections_per_address);
    const window = atOnce === Number.POSITIVE_INFINITY ? minute : (minute * atOnce) / connections_per_minute;
    if (this.#arrivals.limit !== atOnce || this.#arrivals.window !== window)
      this.#arrivals = new Rates(atOnce, window, rememberedAddresses);
    return this.#arrivals.take(block) ? undefined : 'connections_per_minute';
  }
}

const asksForWebSocket = ({ headers }: IncomingMessage): boolean =>
  (headers.upgrade ?? '').split(',').some((protocol) => protocol.trim().toLowerCase() === 'websocket');

/** Whether connections of many clients come from the address: a local proxy, or one that names its clients. */
export function isSharedAddress(address: string, { forwarded }: Proxies): boolean {
  return ownAddresses.includes(address) || isIn(forwarded, address);
}

function explain(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return 'another program already uses it; stop that program, or choose another port';
    case 'EACCES':
      return 'permission denied; ports below 1024 need privileges';
    case 'EADDRNOTAVAIL':
      return 'this machine does not have this address';
    default:
      return error.message;
  }
}
