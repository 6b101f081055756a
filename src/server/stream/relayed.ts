/**
 * A client's connection to a node that is not the home of its account. The gateway, which has the connection, ends TLS and
 * WebSocket and passes on bytes (`Pipe`); at the home they are the transport of an ordinary stream (`RelayedTransport`).
 * How they travel is cluster/relay.ts.
 */
import type { RelayEnd, RelayEvents } from '../cluster/relay.js';
import { relayWindow } from '../cluster/relay.js';
import { StreamError } from '../stanza/errors.js';
import type { Transport, TransportReader } from '../transport/transport.js';
import { framingOf } from './framing.js';
import type { ChannelBindings } from './sasl/binding.js';
import type { ClientCertificate } from './sasl/mechanism.js';

/** Reads nothing. */
const silent: TransportReader = { received() {}, ended() {}, drained() {}, closed() {} };

/** What the gateway says of a connection. */
export interface ConnectionInfo extends Pick<Transport, 'kind' | 'framing' | 'secure' | 'remoteAddress' | 'loopback'> {
  readonly bindings: ChannelBindings;
  readonly certificate: ClientCertificate | undefined;
}

export class RelayedTransport implements Transport, RelayEvents {
  readonly kind: Transport['kind'];
  readonly framing: Transport['framing'];
  readonly secure: boolean;
  readonly remoteAddress: string;
  readonly loopback: boolean;
  readonly tls = undefined;
  readonly bindings: ChannelBindings;
  readonly certificate: ClientCertificate | undefined;
  reader: TransportReader = silent;
  readonly #relay: RelayEnd;
  #isPaused = false;
  /** What came while it is paused: at most the window. */
  #held: Buffer[] = [];
  #hasEnded = false;
  #isClosed = false;

  constructor(relay: RelayEnd, info: ConnectionInfo) {
    this.#relay = relay;
    this.kind = info.kind;
    this.framing = info.framing;
    this.secure = info.secure;
    this.remoteAddress = info.remoteAddress;
    this.loopback = info.loopback;
    this.bindings = info.bindings;
    this.certificate = info.certificate;
  }

  // --- Transport --------------------------------------------------------------------------------------------------

  write(text: string): void {
    this.#relay.send(Buffer.from(text));
  }

  get queued(): number {
    return this.#relay.queued;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    while (!this.#isPaused && this.#held.length > 0) this.#take(this.#held.shift()!);
    if (!this.#isPaused && this.#hasEnded) this.#tellEnd();
  }

  end(): void {
    this.#relay.end();
  }

  destroy(): void {
    this.#relay.close();
    // Never within the call, as with a socket.
    setImmediate(() => this.#close());
  }

  // --- RelayEvents ------------------------------------------------------------------------------------------------

  received(chunk: Buffer): void {
    if (this.#isPaused) this.#held.push(chunk);
    else this.#take(chunk);
  }

  drained(): void {
    this.reader.drained();
  }

  ended(): void {
    this.#hasEnded = true;
    if (!this.#isPaused) this.#tellEnd();
  }

  closed(): void {
    this.#close();
  }

  #take(chunk: Buffer): void {
    this.reader.received(chunk);
    this.#relay.took(chunk.length);
  }

  #tellEnd(): void {
    this.#hasEnded = false;
    this.reader.ended();
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.reader.closed();
  }
}

/** ms that a client has to close its half whose home is gone. */
const lateCloseMs = 2000;

/** At the gateway: passes on what comes from the connection to the home, and back. */
export class Pipe {
  readonly #transport: Transport;
  readonly #relay: RelayEnd;
  readonly #over: (pipe: Pipe) => void;
  #isPaused = false;
  /** Bytes that were written to the client and are not confirmed to the home. */
  #unconfirmed = 0;
  #isOver = false;

  /** `over`: the stream is over, by whichever side. */
  constructor(transport: Transport, relay: RelayEnd, over: (pipe: Pipe) => void) {
    this.#transport = transport;
    this.#relay = relay;
    this.#over = over;
  }

  /** What the connection tells. */
  readonly reader: TransportReader = {
    received: (chunk) => {
      this.#relay.send(chunk);
      if (this.#isPaused || this.#relay.queued < relayWindow) return;
      this.#isPaused = true;
      this.#transport.pause();
    },
    drained: () => this.#confirm(),
    ended: () => this.#relay.end(),
    closed: () => {
      this.#relay.close();
      this.#end();
    },
  };

  /** What the home tells. */
  readonly events: RelayEvents = {
    // A chunk is one text that the stream wrote, so that no character is cut.
    received: (chunk) => {
      this.#transport.write(chunk.toString());
      this.#unconfirmed += chunk.length;
      this.#confirm();
    },
    drained: () => {
      if (!this.#isPaused || this.#relay.queued >= relayWindow) return;
      this.#isPaused = false;
      this.#transport.resume();
    },
    ended: () => this.#transport.end(),
    closed: (isCut) => {
      if (isCut) this.#sayEnd(new StreamError('remote-connection-failed', 'Connect again.'));
      else this.#transport.destroy();
      this.#end();
    },
  };

  /** This node stops: the client is told to connect to another. */
  stop(): void {
    if (this.#isOver) return;
    this.#relay.close();
    this.#sayEnd(new StreamError('system-shutdown'));
    this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#over(this);
  }

  #sayEnd(error: StreamError): void {
    this.#transport.reader = silent;
    for (const text of framingOf(this.#transport).end(error.toElements())) this.#transport.write(text);
    this.#transport.end();
    setTimeout(() => this.#transport.destroy(), lateCloseMs).unref();
  }

  #confirm(): void {
    if (this.#unconfirmed === 0 || this.#transport.queued >= relayWindow) return;
    this.#relay.took(this.#unconfirmed);
    this.#unconfirmed = 0;
  }
}
