/**
 * Links between processes: TLS 1.3 over TCP, with a proof of both sides (proof.ts). Whoever has no proof reaches no code
 * but TLS: such connections are bounded in number and time, and when there are too many, the oldest is closed, so that
 * they cannot keep members away.
 */
import { type AddressInfo, connect as connectTcp, type Socket } from 'node:net';
import { connect, createServer, type Server, type TLSSocket } from 'node:tls';
import { monotonic } from '../clock.js';
import { type Proof, type ProofOptions, tlsOf } from './proof.js';
import type { Network, Purpose, Wire, WireEvents } from './wire.js';

const { setImmediate, setTimeout } = globalThis;

/** Ms until a connection must have been proved by both sides. */
const longestHandshake = 3000;
/** Connections that have not been proved. */
const mostUnproved = 128;
/** Ms that closing waits for written bytes to be sent. */
const longestFarewell = 1000;
/** Ms between two warnings about the same problem, and how many problems are known. */
const quiet = 60_000;
const mostProblems = 100;

const purposes: readonly Purpose[] = ['frames', 'streams', 'probe'];
const protocolOf = (purpose: Purpose): string => `waxwing-${purpose}`;

export interface TlsNetworkOptions {
  /** An IP address, or undefined for all of this machine; port 0 for any free one. */
  readonly host: string | undefined;
  readonly port: number;
  /** The host, or "host:port", at which other nodes reach this one. Default: the address it listens on. */
  readonly advertised?: string | undefined;
  readonly proof: Proof;
  warn(message: string): void;
}

export class TlsNetwork implements Network {
  readonly #options: TlsNetworkOptions;
  readonly #tls: ProofOptions;
  readonly #server: Server;
  readonly #listeners = new Map<Purpose, (wire: Wire) => WireEvents>();
  readonly #wires = new Set<TlsWire>();
  /** By remote address and port, oldest first. */
  readonly #unproved = new Map<string, Socket>();
  /** When a problem was last reported. */
  readonly #reported = new Map<string, number>();
  #address = '';
  /** Connections closed because too many had not been proved. */
  displaced = 0;

  private constructor(options: TlsNetworkOptions) {
    this.#options = options;
    this.#tls = tlsOf(options.proof);
    this.#server = createServer({
      ...this.#tls.accepting,
      handshakeTimeout: longestHandshake,
      ALPNProtocols: purposes.map(protocolOf),
    });
    this.#server.on('connection', (socket: Socket) => this.#arrived(socket));
    this.#server.on('secureConnection', (socket) => this.#proved(socket));
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      this.#forget(socket.remoteAddress, socket.remotePort);
      socket.destroy();
      if (error.code !== 'ECONNRESET')
        this.#problem(`from ${socket.remoteAddress}`, `a connection ${whatIs(error)} was refused`);
    });
  }

  /** Opens the port. Rejects with the error of the system, or RangeError if a secret is too short. */
  static async open(options: TlsNetworkOptions): Promise<TlsNetwork> {
    const network = new TlsNetwork(options);
    await new Promise<void>((resolve, reject) => {
      network.#server.once('error', reject);
      network.#server.listen({ host: options.host, port: options.port }, () => {
        network.#server.off('error', reject);
        network.#server.on('error', (error) => options.warn(`accepting a link failed: ${error.message}`));
        resolve();
      });
    });
    const { address, port } = network.#server.address() as AddressInfo;
    const host = options.advertised ?? (address.includes(':') ? `[${address}]` : address);
    network.#address = targetOf(host) === undefined ? `${host}:${port}` : host;
    return network;
  }

  /** Where other nodes reach this one. */
  get address(): string {
    return this.#address;
  }

  /** The port it listens on. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Connections that have not been proved, and wires. */
  get inspection(): { readonly unproved: number; readonly wires: number } {
    return { unproved: this.#unproved.size, wires: this.#wires.size };
  }

  listen(address: string, accept: (wire: Wire) => WireEvents, purpose: Purpose = 'frames'): () => void {
    if (address !== this.#address) throw new Error(`this network is at ${this.#address}, not at ${address}`);
    if (this.#listeners.has(purpose)) throw new Error(`two nodes have the address ${address}`);
    this.#listeners.set(purpose, accept);
    return () => this.#listeners.delete(purpose);
  }

  dial(address: string, events: WireEvents, purpose: Purpose = 'frames'): Wire {
    const target = targetOf(address);
    if (target === undefined) {
      this.#problem(address, `the node at "${address}" cannot be reached: that is not "host:port"`);
      setImmediate(() => events.ended(false));
      return { write: () => {}, close: () => {} };
    }
    const { host, port } = target;
    const tcp = connectTcp({ host, port, noDelay: true });
    const socket = connect({
      ...this.#tls.dialling,
      socket: tcp,
      servername: /[a-z]/i.test(host) && !host.includes(':') ? host : '',
      host,
      ALPNProtocols: [protocolOf(purpose)],
    });
    const wire = this.#wire(socket, events, () => {
      this.#problem(address, `the node at ${address} closes links at once: it may not accept this node's proof`);
    });
    const slow = setTimeout(() => socket.destroy(new Error('timeout')), longestHandshake);
    const settled = (): void => clearTimeout(slow);
    socket.once('secureConnect', settled).once('close', settled);
    const failed = (error: NodeJS.ErrnoException): void => {
      wire.isRefused ||= error.code === 'ECONNREFUSED';
      // The proof of this side is refused after the handshake (RFC 8446 §4.4.2.4). Other connections are lost now and then.
      if (!wire.isProved || error.code?.startsWith('ERR_SSL'))
        this.#problem(address, `the node at ${address} ${whyNot(error)}`);
      socket.destroy();
    };
    tcp.on('error', failed);
    socket.on('error', failed);
    return wire;
  }

  /** Ends all wires, or those to or from an address, as a failure of the network does. */
  cut(): void {
    for (const wire of [...this.#wires]) wire.cut();
  }

  /** Ends all wires and stops listening. */
  async close(): Promise<void> {
    this.#listeners.clear();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#unproved.values()) socket.destroy();
    for (const wire of [...this.#wires]) wire.close();
    await closed;
  }

  #wire(socket: TLSSocket, events?: WireEvents, rejected = () => {}): TlsWire {
    const over = (isRejected: boolean): void => {
      this.#wires.delete(wire);
      if (isRejected) rejected();
    };
    const wire = new TlsWire(socket, over, events);
    this.#wires.add(wire);
    return wire;
  }

  #arrived(socket: Socket): void {
    socket.on('error', () => {});
    socket.setNoDelay(true);
    const { remoteAddress, remotePort } = socket;
    const key = `${remoteAddress} ${remotePort}`;
    this.#unproved.set(key, socket);
    socket.once('close', () => {
      if (this.#unproved.get(key) === socket) this.#unproved.delete(key);
    });
    if (this.#unproved.size <= mostUnproved) return;
    const [oldest] = this.#unproved.values();
    this.#forget(oldest!.remoteAddress, oldest!.remotePort);
    oldest!.destroy();
    this.displaced++;
    this.#problem('displaced', 'many connections to the port for links prove nothing: the oldest are closed');
  }

  #proved(socket: TLSSocket): void {
    const { remoteAddress, remotePort } = socket;
    this.#forget(remoteAddress, remotePort);
    const refusal = this.#tls.refusal(socket);
    if (refusal !== undefined) {
      this.#problem(`from ${remoteAddress}`, `a connection ${refusal} was refused`);
      socket.destroy();
      return;
    }
    const purpose = purposes.find((one) => protocolOf(one) === socket.alpnProtocol);
    const accept = purpose && this.#listeners.get(purpose);
    if (accept === undefined) {
      socket.destroy();
      return;
    }
    socket.on('error', () => socket.destroy());
    const wire = this.#wire(socket);
    wire.events = accept(wire);
  }

  #forget(address: string | undefined, port: number | undefined): void {
    this.#unproved.delete(`${address} ${port}`);
  }

  /** Reports a problem, unless the same one was reported a short time ago. */
  #problem(about: string, message: string): void {
    const key = `${about} ${message}`;
    const now = monotonic();
    if (now - (this.#reported.get(key) ?? Number.NEGATIVE_INFINITY) < quiet) return;
    this.#reported.delete(key);
    this.#reported.set(key, now);
    const [oldest] = this.#reported.keys();
    if (this.#reported.size > mostProblems) this.#reported.delete(oldest!);
    this.#options.warn(message);
  }
}

class TlsWire implements Wire {
  readonly #socket: TLSSocket;
  #isOver = false;
  /** The other side has proved what it is. */
  isProved = false;
  #hasHeard = false;
  isRefused = false;

  constructor(
    socket: TLSSocket,
    /** `isRejected`: the other side has closed it without a word. */
    over: (isRejected: boolean) => void,
    public events?: WireEvents,
  ) {
    this.#socket = socket;
    socket.on('data', (bytes) => {
      this.#hasHeard = true;
      if (!this.#isOver) this.events?.bytes(bytes);
    });
    socket.once('end', () => socket.end());
    socket.once('secureConnect', () => {
      this.isProved = true;
    });
    socket.once('close', () => {
      over(this.isProved && !this.#hasHeard && !this.#isOver);
      this.#end();
    });
  }

  write(bytes: Buffer): void {
    if (!this.#isOver) this.#socket.write(bytes);
  }

  close(): void {
    if (this.#isOver) return;
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), longestFarewell).unref();
    this.#end();
  }

  cut(): void {
    this.#socket.destroy();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    setImmediate(() => this.events?.ended(this.isRefused));
  }
}

/** Parses "host:port" and "[IPv6]:port". Returns undefined for anything else. */
export function targetOf(address: string): { readonly host: string; readonly port: number } | undefined {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(address);
  const port = Number(parts?.[3]);
  if (parts === null || port === 0 || port > 65_535) return undefined;
  return { host: parts[1] ?? parts[2]!, port };
}

/** What is known of a connection that TLS refused. */
function whatIs({ code = '', message }: NodeJS.ErrnoException): string {
  if (code === 'ERR_SSL_BINDER_DOES_NOT_VERIFY') return 'with another secret';
  if (code === 'ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM') return 'without the secret of the cluster';
  if (code === 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE') return 'without a certificate of the cluster';
  if (code === 'ERR_SSL_NO_APPLICATION_PROTOCOL') return 'of another program or version';
  if (code === 'ERR_TLS_HANDSHAKE_TIMEOUT') return 'that sent nothing for too long';
  return `that proves nothing (${code === '' ? message : code})`;
}

function whyNot({ code = '', message }: NodeJS.ErrnoException): string {
  if (code === 'ECONNREFUSED') return 'is not running';
  if (code === 'ERR_SSL_SSLV3_ALERT_ILLEGAL_PARAMETER' || code === 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE')
    return 'has another secret';
  if (code === 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL') return 'is of another version';
  return `cannot be reached (${code === '' ? message : code})`;
}
