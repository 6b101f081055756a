/** TCP and TLS connections. */
import type { Socket } from 'node:net';
import { TLSSocket, type TLSSocketOptions } from 'node:tls';
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
     * Returns the TLS options of the connection; called per connection, because the certificate depends on the address.
     */
    readonly tlsOptions: (hello: Hello) => TLSSocketOptions,
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

  startTls(ready: (error: Error | undefined) => void): void {
    this.flush();
    const plain = this.#socket;
    plain.removeListener('data', onData).removeListener('end', onEnd).removeListener('close', onClose);
    plain.removeListener('drain', onDrain);
    this.#isTls = this.#isShakingHands = this.#awaitsHello = true;
    const failed = (error: Error) => {
      this.#awaitsHello = this.#isShakingHands = false;
      plain.destroy();
      ready(error);
      this.reader.closed();
    };
    awaitHello(plain, (hello) => this.#shakeHands(plain, hello, ready), failed);
  }

  #shakeHands(plain: Owned, hello: Hello, ready: (error: Error | undefined) => void): void {
    // Node's TLSSocket takes over the handle, so the plain socket must stop reading (RFC 6120 §5.4.3.3: anything that
    // the client sent after <starttls/> is discarded).
    const socket: Owned & TLSSocket = secured(plain, this.tlsOptions(hello));
    this.#socket = socket;
    this.#awaitsHello = false;
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
