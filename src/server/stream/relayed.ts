/**
 * A client's connection to a node that is not the home of its account, or a server's or component's to one that is not
 * the home of its domain. The gateway, which has the connection,
 * terminates TLS and WebSocket and relays bytes (`Pipe`); at the home they are the transport of an ordinary stream
 * (`RelayedTransport`). The wire format is in cluster/relay.ts.
 */
import { z } from 'zod';
import { type RelayEnd, type RelayEvents, type RelayPeer, relayWindow } from '../cluster/relay.js';
import { StreamError } from '../stanza/errors.js';
import { randomId } from '../stanza/ids.js';
import { NS } from '../stanza/ns.js';
import type { RelayedPeer, Transport, TransportReader } from '../transport/transport.js';
import { el, serialize } from '../xml/element.js';
import { framingOf } from './framing.js';
import { lateCloseMs } from './handler.js';
import type { ChannelBindings } from './sasl/binding.js';
import type { ClientCertificate } from './sasl/mechanism.js';

/** Ignores everything. */
const silent: TransportReader = { received() {}, ended() {}, drained() {}, closed() {} };

const chunks = z.array(
  z.codec(z.base64(), z.instanceof(Buffer), {
    decode: (text) => Buffer.from(text, 'base64'),
    encode: (chunk) => chunk.toString('base64'),
  }),
);
/** What the old home of an account says to the gateway of a stream. */
const moveSchema = z.object({
  peer: z.object({ id: z.string(), epoch: z.number(), address: z.string() }),
  ticket: z.string(),
  /** Data of the client that was not handled. */
  rest: chunks,
  /** Output that the client has not been sent. */
  unsent: chunks,
});

/** Where a stream goes on. */
export interface NextHome {
  readonly peer: RelayPeer;
  /** Names the session there. */
  readonly ticket: string;
}

/** The connection as described by the gateway. */
export interface ConnectionInfo extends Pick<Transport, 'kind' | 'framing' | 'secure' | 'remoteAddress' | 'loopback'> {
  readonly bindings: ChannelBindings;
  readonly certificate: ClientCertificate | undefined;
  readonly relayedPeer?: RelayedPeer | undefined;
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
  readonly relayedPeer: RelayedPeer | undefined;
  reader: TransportReader = silent;
  readonly #relay: RelayEnd;
  #isPaused = false;
  /** Received while paused; at most the window. */
  #held: Buffer[] = [];
  #hasEnded = false;
  #isClosed = false;
  #whenHeld = (): void => {};

  constructor(relay: RelayEnd, info: ConnectionInfo) {
    this.#relay = relay;
    this.kind = info.kind;
    this.framing = info.framing;
    this.secure = info.secure;
    this.remoteAddress = info.remoteAddress;
    this.loopback = info.loopback;
    this.bindings = info.bindings;
    this.certificate = info.certificate;
    this.relayedPeer = info.relayedPeer;
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
    if (!this.#isPaused && this.#hasEnded) this.#emitEnd();
  }

  end(): void {
    this.#relay.end();
  }

  destroy(): void {
    this.#relay.close();
    // Deferred, as with a socket.
    setImmediate(() => this.#close());
  }

  /**
   * The session has moved: makes the gateway go on there, with all data that the returned reader gets. `lost` is called
   * if the stream ends before; `gone` when the gateway has been told.
   */
  leaveFor({ peer, ticket }: NextHome, lost: (rest: readonly Buffer[]) => void, gone: () => void): TransportReader {
    const rest: Buffer[] = [];
    this.#whenHeld = () => {
      const { id, epoch, address } = peer;
      const unsent = this.#relay.takeQueued();
      this.reader = silent;
      this.#relay.move(JSON.stringify(z.encode(moveSchema, { peer: { id, epoch, address }, ticket, rest, unsent })));
      gone();
    };
    if (!this.#isClosed) this.#relay.hold();
    return { received: (chunk) => void rest.push(chunk), ended() {}, drained() {}, closed: () => lost(rest) };
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
    if (!this.#isPaused) this.#emitEnd();
  }

  closed(): void {
    // A stream handles what was read before its connection closed.
    const held = this.#held;
    this.#held = [];
    if (!this.#isClosed) for (const chunk of held) this.#take(chunk);
    this.#close();
  }

  isHeld(): void {
    this.#whenHeld();
  }

  #take(chunk: Buffer): void {
    this.reader.received(chunk);
    this.#relay.took(chunk.length);
  }

  #emitEnd(): void {
    this.#hasEnded = false;
    this.reader.ended();
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.reader.closed();
  }
}

/** What has happened to a connection while its stream moved. */
export interface ConnectionState {
  readonly hasEnded: boolean;
  readonly isClosed: boolean;
}

/** SASL has succeeded: the peer opens a new stream, and our next text is its header (RFC 6120 §6.4.6). */
const success = serialize(el('success', { xmlns: NS.sasl })).slice(0, -2);

/** Our header, which the gateway sends before an error if the peer waits for one (RFC 6120 §4.9.1.2). */
export interface PipeHeader {
  /** Whether it has been sent already. */
  readonly isSent: boolean;
  /** The content namespace. */
  readonly ns: string;
  readonly from: string | undefined;
  /** Undefined for components (XEP-0114). */
  readonly version: '1.0' | undefined;
}

export interface PipeParts {
  readonly header: PipeHeader;
  /** Either side has ended the stream, or it has moved. */
  over(pipe: Pipe): void;
  /** The stream goes on elsewhere: its connection is paused, and sent these chunks. */
  moved(transport: Transport, to: NextHome, chunks: readonly Buffer[], state: ConnectionState): void;
}

const pausable = (isPaused: () => boolean, reader: Omit<TransportReader, 'hasPaused'>): TransportReader => ({
  ...reader,
  get hasPaused() {
    return isPaused();
  },
});

/** At the gateway: relays bytes between the connection and the home. */
export class Pipe {
  readonly #transport: Transport;
  readonly #relay: RelayEnd;
  readonly #parts: PipeParts;
  /** The home wants nothing more. */
  #isHeld = false;
  /** What the client has sent since. */
  readonly #kept: Buffer[] = [];
  #hasEnded = false;
  #isClosed = false;
  #isPaused = false;
  /** Bytes written to the client and not yet confirmed to the home. */
  #unconfirmed = 0;
  /** The header of the present stream was sent. */
  #headerSent: boolean;
  /** The error was sent. */
  #isEnding = false;
  #isOver = false;

  constructor(transport: Transport, relay: RelayEnd, parts: PipeParts) {
    this.#headerSent = parts.header.isSent;
    this.#transport = transport;
    this.#relay = relay;
    this.#parts = parts;
  }

  /** Events of the connection. */
  readonly reader: TransportReader = pausable(() => this.#isPaused, {
    received: (chunk) => {
      if (this.#isHeld) {
        this.#kept.push(chunk);
        return;
      }
      this.#relay.send(chunk);
      if (this.#isPaused || this.#relay.queued < relayWindow) return;
      this.#isPaused = true;
      this.#transport.pause();
    },
    drained: () => this.#confirm(),
    ended: () => {
      this.#hasEnded = true;
      if (!this.#isHeld) this.#relay.end();
    },
    unreadable: ({ condition, text }) => {
      // Whoever gets the session hears of the end of its connection.
      if (this.#isHeld) {
        this.#transport.end();
        return;
      }
      this.#relay.close(true);
      this.#sendEnd(new StreamError(condition, text));
    },
    closed: () => {
      this.#isClosed = true;
      // The home says where the stream goes on: whoever has the session hears of its end.
      if (this.#isHeld) return;
      this.#relay.close(true);
      this.#end();
    },
  });

  /** Events of the home. */
  readonly events: RelayEvents = {
    // A chunk is one text written by the stream, so no character is split.
    received: (chunk) => {
      const text = chunk.toString();
      if (text.startsWith(success)) this.#headerSent = false;
      else if (!this.#headerSent) this.#headerSent = framingOf(this.#transport).isHeader(text);
      this.#transport.write(text);
      this.#unconfirmed += chunk.length;
      this.#confirm();
    },
    drained: () => {
      if (!this.#isPaused || this.#isHeld || this.#relay.queued >= relayWindow) return;
      this.#isPaused = false;
      this.#transport.resume();
    },
    ended: () => this.#transport.end(),
    holds: () => {
      this.#isHeld = this.#isPaused = true;
      this.#transport.pause();
      // What the window has no room for would follow the confirmation, and nobody would read it.
      this.#kept.push(...this.#relay.takeQueued());
      this.#relay.held();
    },
    moves: (text) => {
      const { peer, ticket, rest, unsent } = moveSchema.parse(JSON.parse(text));
      for (const chunk of unsent) this.#transport.write(chunk.toString());
      this.#end();
      this.#parts.moved(this.#transport, { peer, ticket }, [...rest, ...this.#kept], {
        hasEnded: this.#hasEnded,
        isClosed: this.#isClosed,
      });
    },
    closed: (isCut) => {
      if (isCut)
        this.#sendEnd(new StreamError('remote-connection-failed', 'The node of the account was lost. Connect again.'));
      else {
        this.#transport.destroy();
        this.#end();
      }
    },
  };

  /** This node stops: closes the stream, so that the client connects to another node. */
  stop(): void {
    if (this.#isOver || this.#isEnding) return;
    this.#relay.close();
    this.#sendEnd(new StreamError('system-shutdown'));
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#parts.over(this);
  }

  /** It is over once the peer has closed the connection: one that was destroyed before would lose what was written. */
  #sendEnd(error: StreamError): void {
    this.#isEnding = true;
    if (this.#isClosed) {
      this.#end();
      return;
    }
    this.#transport.reader = { ...silent, closed: () => this.#end() };
    const framing = framingOf(this.#transport);
    const { from, version, ns } = this.#parts.header;
    if (!this.#headerSent) this.#transport.write(framing.open({ from, id: randomId(), version, 'xml:lang': 'en' }, ns));
    for (const text of framing.end(error.toElements())) this.#transport.write(text);
    this.#transport.end();
    setTimeout(() => this.#transport.destroy(), lateCloseMs).unref();
  }

  #confirm(): void {
    if (this.#unconfirmed === 0 || this.#transport.queued >= relayWindow) return;
    this.#relay.took(this.#unconfirmed);
    this.#unconfirmed = 0;
  }
}
