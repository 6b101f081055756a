/**
 * Ports: TCP and TLS for clients, TCP for components, HTTP for WebSocket, BOSH and metrics. Each connection or BOSH
 * session becomes a transport and a stream.
 */
import { type Server as HttpServer, type IncomingMessage, ServerResponse } from 'node:http';
import { type AddressInfo, type BlockList, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import type { TLSSocketOptions } from 'node:tls';
import type { Logger } from 'pino';
import { openBosh } from './bosh.js';
import { monotonic } from './clock.js';
import { isAllowedOrigin, isIn, parseListenAddress } from './config/address.js';
import { type Config, type ListenerKind, listenersOf, optionalListeners } from './config/schema.js';
import { requestPeer } from './forwarded.js';
import { HttpConnections, protocols } from './http/connections.js';
import type { Incoming, Outgoing } from './http/message.js';
import { createProofServer } from './http/proofs.js';
import { pathOf } from './http/target.js';
import type { Membership } from './membership.js';
import { HttpError } from './module/http.js';
import type { NetworkLimit, NetworkLimits } from './network-limits.js';
import { acmeProtocol, type Challenges } from './tls/acme/challenges.js';
import type { Certificates } from './tls/certificates.js';
import type { BoshService } from './transport/bosh/service.js';
import { awaitHello, type Hello } from './transport/client-hello.js';
import { namePeer, peerOf } from './transport/peer.js';
import { takeProxyHeader } from './transport/proxy-protocol.js';
import { TcpTransport } from './transport/tcp.js';
import { secured } from './transport/tls.js';
import type { Transport } from './transport/transport.js';
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
  /** When a connection's TLS handshake may begin (`TcpTransport.inTurn`). */
  handshake(socket: Socket): (answer: () => void) => () => void;
  connected(transport: Transport, at: number): void;
}

export interface ListenersParts {
  config(): Config;
  proxies(): Proxies;
  readonly certificates: Certificates;
  /** Proofs for an authority. */
  readonly challenges: Challenges;
  /** Counts connections by address. */
  readonly network: NetworkLimits;
  readonly log: Logger;
  /** Returns undefined if the server has no such host. */
  host(domain: string): unknown;
  /** A client has connected; `at` is when the connection was accepted (`monotonic`). */
  connected(transport: Transport, at: number): void;
  /** The same for a component. */
  componentConnected(transport: Transport, at: number): void;
  /** Takes the connections of other servers; undefined if nothing does, and then no port is opened for them. */
  readonly servers: Servers | undefined;
  readonly membership: Membership | undefined;
  /** Answers requests other than upgrades. */
  readonly http: {
    answer(request: Incoming, response: Outgoing): unknown;
    refuse(request: Incoming, response: Outgoing, error: HttpError): void;
    cutSlow(): void;
  };
  tlsFailed(): void;
  limitHit(limit: string): void;
}

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
  #http: HttpConnections | undefined;
  readonly #sockets = new Set<Socket>();
  /** Connections without a stream or a served request, by when they were accepted (`monotonic`). */
  readonly #pending = new Map<Socket, number>();

  readonly bosh: BoshService;

  constructor(parts: ListenersParts) {
    this.#parts = parts;
    this.bosh = openBosh({
      ...parts,
      enter: (address) => parts.network.enterNow(address),
      leave: (address) => parts.network.leave(address),
      connected: (transport) => parts.connected(transport, monotonic()),
    });
  }

  /**
   * Opens every configured port. Rejects with ListenError, with all closed again, if one cannot be opened. The ports for
   * other servers may be optional: if one of them cannot be opened, none is, and the error is the result.
   */
  async open(): Promise<ListenError | undefined> {
    const config = this.#parts.config();
    const optional = optionalListeners(config);
    const isNeeded = (kind: ListenerKind) => !optional.includes(kind) && kind !== 'acme';
    const needed = listenersOf(config).filter(isNeeded);
    const failed = await this.#open(needed);
    if (failed !== undefined) {
      await this.close();
      throw failed;
    }
    await this.openForProofs();
    const first = this.#servers.length;
    const missing = await this.#open(listenersOf(config).filter((kind) => optional.includes(kind)));
    // Not awaited: it would wait for connections that were accepted before the failure.
    if (missing !== undefined) void this.#close(first);
    return missing;
  }

  /** Opens the ports for an authority that looks for proofs, unless they are open. A failure is logged. */
  async openForProofs(): Promise<void> {
    if (this.bound.some(({ kind }) => kind === 'acme')) return;
    const kinds = listenersOf(this.#parts.config()).filter((kind) => kind === 'acme');
    const first = this.#servers.length;
    const failed = await this.#open(kinds);
    if (failed === undefined) return;
    void this.#close(first);
    this.#parts.log.error({ err: failed }, 'certificates cannot be ordered: no port for proofs (listen.acme)');
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

  /** Stops accepting connections and BOSH sessions. Open ones stay. */
  close(): Promise<void> {
    this.bosh.stop();
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

  /**
   * Called once a second. Cuts connections whose PROXY header, handshake, request or upgrade did not arrive by the login
   * timeout, and slow HTTP clients; ends the sessions of BOSH clients that are gone.
   */
  sweep(now: number): void {
    this.bosh.sweep();
    this.#parts.http.cutSlow();
    this.#http?.cutDead(now);
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
  /** HTTP requests that are not answered yet. */
  get openRequests(): number {
    return this.#http?.open ?? 0;
  }

  destroyAll(): void {
    this.#http?.destroyAll();
    this.#proofs?.closeAllConnections();
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
        const named = () => this.#count(socket, () => connected(socket));
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
          servers!.connected(new TcpTransport(socket, servers!.tls, servers!.handshake(socket)), this.#arrived(socket));
        });
      case 's2s_tls':
        return tcp((socket) => {
          const { servers } = this.#parts;
          servers!.connected(
            this.#directTls(socket, 'xmpp-server', servers!.tls, servers!.handshake(socket)),
            this.#arrived(socket),
          );
        });
      case 'http': {
        const http = this.#connections();
        return tcp((socket) => http.accept(socket));
      }
      case 'acme': {
        this.#proofs ??= createProofServer(
          this.#parts.challenges,
          this.#parts.config().limits.login_deadline_seconds * 1000,
          (socket) => this.#pending.delete(socket),
        );
        return tcp((socket) => this.#proofs!.emit('connection', socket));
      }
      case 'https': {
        const http = this.#connections();
        const secure = (socket: Socket, hello: Hello) => {
          // Browsers would ask their users for a certificate.
          const tls = secured(
            socket,
            this.#proof(hello) ?? { ...this.#tls(hello), ALPNProtocols: protocols, requestCert: false },
          );
          this.#pending.set(tls, this.#arrived(socket));
          let isSecure = false;
          tls.on('error', () => {});
          tls.once('close', () => {
            this.#pending.delete(tls);
            if (!isSecure) this.#parts.tlsFailed();
          });
          tls.once('secure', () => {
            isSecure = true;
            // RFC 8737 §3: no application data follows.
            if (tls.alpnProtocol === acmeProtocol) tls.end();
            else http.acceptSecure(tls);
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
  #directTls(
    socket: Socket,
    protocol: string,
    options: (hello: Hello) => TLSSocketOptions,
    inTurn?: TcpTransport['inTurn'],
  ): TcpTransport {
    const optionsFor = (hello: Hello) => this.#proof(hello) ?? { ...options(hello), ALPNProtocols: [protocol] };
    const transport = new TcpTransport(socket, optionsFor, inTurn);
    transport.startTls((error) => {
      if (error === undefined) return;
      this.#parts.tlsFailed();
      transport.destroy();
    });
    return transport;
  }

  #connections(): HttpConnections {
    this.#http ??= new HttpConnections({
      headersTimeout: this.#parts.config().limits.login_deadline_seconds * 1000,
      request: (socket, request, response) => {
        this.#pending.delete(socket);
        this.#parts.http.answer(request, response);
      },
      upgrade: (request, socket, head) => this.#upgrade(request, socket, head),
      failed: (error) => this.#parts.log.error({ err: error }, 'could not load HTTP/2'),
      limitHit: (limit) => this.#parts.limitHit(limit),
    });
    return this.#http;
  }

  /** For an authority that looks for proofs over HTTP. */
  #proofs: HttpServer | undefined;

  /** RFC 8737 §3: for the connection of an authority, which ends after the handshake. */
  #proof(hello: Hello): TLSSocketOptions | undefined {
    const secureContext = this.#parts.challenges.contextFor(hello);
    return secureContext && { secureContext, ALPNProtocols: [acmeProtocol], requestCert: false };
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
    const { http } = this.#parts.config();
    socket.on('error', () => {});
    if (!asksForWebSocket(request)) {
      this.#ignoreUpgrade(request, socket);
      return;
    }
    const path = pathOf(request);
    if (!this.#pending.has(socket)) this.#pending.set(socket, monotonic());
    const isAllowed = isAllowedOrigin(request.headers.origin, http.origins);
    if (path !== http.websocket_path || !isAllowed) {
      this.#refuseUpgrade(request, socket, new HttpError(isAllowed ? 404 : 403));
      return;
    }
    const peer = requestPeer(request, this.#parts.proxies().forwarded);
    if (peer === undefined) {
      this.#parts.log.warn({ proxy: peerOf(socket).address }, 'invalid address in X-Forwarded-For');
      this.#refuseUpgrade(request, socket, new HttpError(400, 'The proxy sent no valid address of the client.'));
      return;
    }
    const upgrade = () => this.#openWebSocket(request, socket, head);
    if (peer.address === peerOf(socket).address) upgrade();
    else {
      namePeer(socket, peer);
      this.#count(socket, upgrade);
    }
  }

  #openWebSocket(request: IncomingMessage, socket: Socket, head: Buffer): void {
    // Loaded with the first WebSocket client: many servers have none.
    this.#upgrader ??= import('./transport/websocket.js').then(
      ({ WebSocketUpgrader }) =>
        new WebSocketUpgrader(
          this.#parts.config().limits.stanza_bytes,
          (refused, its, { status, detail, headers = {} }) =>
            this.#refuseUpgrade(refused, its, new HttpError(status, detail, { headers })),
        ),
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
    this.#parts.http.answer(request, lastResponse(request, socket));
  }

  #refuseUpgrade(request: IncomingMessage, socket: Socket, error: HttpError): void {
    const response = lastResponse(request, socket);
    // The client's half is not waited for.
    response.once('finish', () => socket.destroySoon());
    this.#parts.http.refuse(request, response, error);
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

  /** Enforces the limits per address. Calls `accepted` unless one refuses the connection, or it ends meanwhile. */
  #count(socket: Socket, accepted: () => void): void {
    const { network } = this.#parts;
    const { address } = peerOf(socket);
    const entered = (limit: NetworkLimit | undefined): void => {
      if (limit !== undefined) this.#refuse(socket, limit);
      else if (socket.destroyed) network.leave(address);
      else {
        socket.once('close', () => network.leave(address));
        accepted();
      }
    };
    const limit = network.enter(address);
    if (!(limit instanceof Promise)) {
      entered(limit);
      return;
    }
    // An error of the connection needs a handler meanwhile.
    const ignore = (): void => {};
    socket.on('error', ignore);
    limit
      .then((answer) => {
        entered(answer);
        socket.off('error', ignore);
      })
      .catch((error: unknown) => {
        this.#parts.log.error({ err: error }, 'a connection could not be accepted');
        socket.destroy();
      });
  }

  #refuse(socket: Socket, limit: string): void {
    this.#parts.limitHit(limit);
    socket.destroy();
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

/** For a request that Node has passed on with its socket: the connection ends with the answer. */
function lastResponse(request: IncomingMessage, socket: Socket): ServerResponse {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.once('finish', () => socket.end());
  return response;
}
