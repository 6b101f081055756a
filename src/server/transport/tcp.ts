/** TCP and TLS connections. */
import type { Socket } from 'node:net';
import { type ConnectionOptions, connect, TLSSocket, type TLSSocketOptions } from 'node:tls';
import { awaitHello, type Hello } from './client-hello.js';
import { peerOf } from './peer.js';
import { secured } from './tls.js';
import { flushAbove, flushWithin, setFlush, silent, type TransportReader, type Upgradable } from './transport.js';

const key = Symbol('transport');
type Owned = Socket & { [key]?: TcpTransport };

// Handlers are shared by all sockets: a connection allocates nothing but its transport.
function onData(this: Owned, chunk: Buffer): void {
  setFlush();
  this[key]?.reader.received(chunk);
}
function onEnd(this: Owned): void {
  this[key]?.reader.ended();
}
function onDrain(this: Owned): void {
  this[key]?.reader.drained();
}
function onClose(this: Owned): void {
  // A connection reset while paused may have data that was read but not delivered.
  const rest = this.read() as Buffer | null;
  if (rest !== null) this[key]?.reader.received(rest);
  this[key]?.reader.closed();
}
function onError(): void {
  // 'close' follows, which is all that a stream needs.
}

function atOnce(answer: () => void): () => void {
  answer();
  return () => {};
}

export class TcpTransport implements Upgradable {
  reader: TransportReader = silent;
  readonly framing = 'stream';
  isDueSoon = false;
  isDueLater = false;
  #socket: Owned;
  #out = '';
  readonly remoteAddress: string;
  readonly loopback: boolean;
  readonly #isSecureToProxy: boolean;
  /** TLS has started, or will start with the pending ClientHello. */
  #isTls = false;
  #awaitsHello = false;
  /** Nothing can be sent during the TLS handshake, so closing means destroying. */
  #isShakingHands = false;

  constructor(
    socket: Socket,
    /**
     * How to become a TLS connection: a function on the side that accepted it, since the certificate depends on what the
     * other side asks for; options on the side that opened it, which begins the handshake.
     */
    readonly tlsOptions: ((hello: Hello) => TLSSocketOptions) | ConnectionOptions,
    /** When to answer a ClientHello: calls the given function, and returns one that withdraws it. */
    readonly inTurn: (answer: () => void) => () => void = atOnce,
  ) {
    this.#socket = socket;
    const { address, loopback, secure } = peerOf(socket);
    this.remoteAddress = address;
    this.loopback = loopback;
    this.#isSecureToProxy = secure;
    this.#listen(socket);
  }

  get kind(): 'tcp' | 'tls' {
    return this.secure ? 'tls' : 'tcp';
  }

  get secure(): boolean {
    return this.#isSecureToProxy || this.#isTls;
  }

  get tls(): TLSSocket | undefined {
    return this.#socket instanceof TLSSocket ? this.#socket : undefined;
  }

  #listen(socket: Owned): void {
    socket[key] = this;
    socket.on('data', onData).on('end', onEnd).on('drain', onDrain).on('close', onClose).on('error', onError);
  }

  write(text: string, patience = 0): void {
    flushWithin(patience, this);
    this.#out += text;
    if (this.#out.length > flushAbove) this.flush();
  }

  flush(): void {
    if (this.#out === '' || this.#awaitsHello) return;
    const out = this.#out;
    this.#out = '';
    // If the system does not accept it at once, 'drain' follows.
    if (this.#socket.writable && this.#socket.write(out, 'utf8')) this.reader.drained();
  }

  get queued(): number {
    return this.#out.length + this.#socket.writableLength;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.flush();
    if (this.#isShakingHands) this.destroy();
    // A second end() would raise an error in Node.
    else if (this.#socket.writable) this.#socket.end();
  }

  destroy(): void {
    this.#out = '';
    this.#socket.destroy();
  }

  startTls(ready: (error: Error | undefined) => void, servername?: string): void {
    this.flush();
    const plain = this.#socket;
    plain.removeListener('data', onData).removeListener('end', onEnd).removeListener('close', onClose);
    plain.removeListener('drain', onDrain);
    this.#isTls = this.#isShakingHands = true;
    const { tlsOptions } = this;
    if (typeof tlsOptions !== 'function') {
      this.#shakeHands(connect({ ...tlsOptions, socket: plain }), ready);
      return;
    }
    this.#awaitsHello = true;
    const failed = (error: Error) => {
      this.#awaitsHello = this.#isShakingHands = false;
      plain.destroy();
      ready(error);
      this.reader.closed();
    };
    const received = (hello: Hello) => {
      const gone = () => {
        withdraw();
        failed(new Error('the connection ended before its turn for the TLS handshake'));
      };
      plain.once('close', gone);
      const withdraw = this.inTurn(() => {
        plain.removeListener('close', gone);
        this.#awaitsHello = false;
        const isNamed = hello === 'unreadable' || hello.servername !== undefined;
        this.#shakeHands(secured(plain, tlsOptions(isNamed ? hello : { servername })), ready);
      });
    };
    awaitHello(plain, received, failed);
  }

  /**
   * Node's TLSSocket takes over the handle of the plain socket, which must stop reading (RFC 6120 §5.4.3.3: data that follows
   * <starttls/> is not used).
   */
  #shakeHands(socket: Owned & TLSSocket, ready: (error: Error | undefined) => void): void {
    this.#socket = socket;
    const settle = (error?: Error) => {
      this.#isShakingHands = false;
      socket.removeListener('secure', settle).removeListener('error', settle);
      socket.removeListener('end', ended).removeListener('close', ended);
      ready(error);
    };
    const ended = () => settle(new Error('the connection ended during the TLS handshake'));
    socket.once('secure', settle).once('error', settle).once('end', ended).once('close', ended);
    this.#listen(socket);
    this.flush();
  }
}
