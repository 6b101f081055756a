/** RFC 7395: XMPP over WebSocket. The ws package does the framing; each message is one element. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { type RawData, WebSocket, WebSocketServer, type Server as WsServer } from 'ws';
import { XmlError, type XmlErrorCondition } from '../xml/errors.js';
import { peerOf } from './peer.js';
import { flushAbove, flushWithin, setFlush, silent, type Transport, type TransportReader } from './transport.js';

const key = Symbol('transport');

/** RFC 6455 §7.4.1. */
const protocolError = 1002;
const unsupportedData = 1003;

/** The stream errors (RFC 6120 §4.9.3) of connections that are closed with these codes: the same as over TCP. */
const reasons: Readonly<Record<number, readonly [condition: XmlErrorCondition, text: string]>> = {
  [protocolError]: ['bad-format', 'not the WebSocket protocol'],
  [unsupportedData]: ['bad-format', 'text messages only'],
  1007: ['not-well-formed', 'invalid UTF-8'],
  1008: ['policy-violation', 'too many fragments'],
  1009: ['policy-violation', 'the message is too long'],
};

class Owned extends WebSocket {
  [key]?: WebSocketTransport;

  /** The package calls it with nothing but a code when the peer breaks the protocol: the stream is told first. */
  override close(code?: number, reason?: string | Buffer): void {
    const transport = this[key];
    if (code !== undefined && reason === undefined && transport !== undefined) transport.fail(code);
    else super.close(code, reason);
  }
}

function onMessage(this: Owned, data: RawData, isBinary: boolean): void {
  const transport = this[key]!;
  if (transport.hasFailed) return;
  // RFC 7395 §3.2: text only.
  if (isBinary) transport.fail(unsupportedData);
  else {
    setFlush();
    transport.reader.received(data as Buffer);
  }
}
function onDrain(this: Socket & { [key]?: WebSocketTransport }): void {
  this[key]!.reader.drained();
}
function onClose(this: Owned): void {
  this[key]!.reader.closed();
}
function onError(): void {
  // 'close' follows.
}

export interface UpgradeRefusal {
  readonly status: number;
  readonly detail?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Answers an upgrade with an error, and ends the connection. */
export type RefuseUpgrade = (request: IncomingMessage, socket: Socket, refusal: UpgradeRefusal) => void;

/** Accepts HTTP upgrades. */
export class WebSocketUpgrader {
  readonly #server: WsServer<typeof Owned>;
  readonly #refuse: RefuseUpgrade;

  constructor(maxMessageBytes: number, refuse: RefuseUpgrade) {
    this.#refuse = refuse;
    this.#server = new WebSocketServer({
      noServer: true,
      // Decompression could expand small messages past all limits.
      perMessageDeflate: false,
      clientTracking: false,
      WebSocket: Owned,
      maxPayload: maxMessageBytes,
      handleProtocols: (protocols) => (protocols.has('xmpp') ? 'xmpp' : false),
    });
    // RFC 6455 §4.2.2, §4.4.
    this.#server.on('wsClientError', (error, socket, request) => {
      const isKnown = ['8', '13'].includes(request.headers['sec-websocket-version'] ?? '');
      if (isKnown) refuse(request, socket as Socket, { status: 400, detail: error.message });
      else refuse(request, socket as Socket, { status: 426, headers: { 'sec-websocket-version': '13' } });
    });
  }

  /** Answers the upgrade. Calls `opened` with the transport unless the client does not offer `xmpp` (RFC 7395 §3.1). */
  upgrade(
    request: IncomingMessage,
    socket: Socket,
    head: Buffer,
    opened: (transport: WebSocketTransport) => void,
  ): void {
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
    if (!offered.includes('xmpp'))
      this.#refuse(request, socket, { status: 400, detail: 'The subprotocol has to be xmpp.' });
    else this.#server.handleUpgrade(request, socket, head, (ws) => opened(new WebSocketTransport(ws, socket)));
  }
}

export class WebSocketTransport implements Transport {
  reader: TransportReader = silent;
  readonly kind = 'websocket';
  readonly framing = 'websocket';
  isDueSoon = false;
  isDueLater = false;
  readonly remoteAddress: string;
  readonly loopback: boolean;
  readonly secure: boolean;
  readonly #ws: Owned;
  readonly #socket: Socket & { [key]?: WebSocketTransport };
  #out: string[] = [];
  /** Characters in #out. */
  #waiting = 0;
  /** What the connection is to be closed with. */
  #code: number | undefined;

  constructor(ws: Owned, socket: Socket) {
    this.#ws = ws;
    this.#socket = socket;
    const { address, loopback, secure } = peerOf(socket);
    this.remoteAddress = address;
    this.loopback = loopback;
    this.secure = secure;
    this.#ws[key] = this;
    ws.on('message', onMessage).on('close', onClose).on('error', onError);
    this.#socket[key] = this;
    this.#socket.on('drain', onDrain);
  }

  get tls(): TLSSocket | undefined {
    return this.#socket instanceof TLSSocket ? this.#socket : undefined;
  }

  /** Whether nothing more is read. */
  get hasFailed(): boolean {
    return this.#code !== undefined;
  }

  /** Reads nothing more. The stream ends with an error, and then the connection with this code. */
  fail(code: number): void {
    if (this.hasFailed) return;
    this.#code = code;
    setFlush();
    const [condition, text] = reasons[code] ?? reasons[protocolError]!;
    // Another reader has no say in the stream.
    if (this.reader.unreadable === undefined) this.end();
    else this.reader.unreadable(new XmlError(condition, text));
  }

  write(text: string, patience = 0): void {
    flushWithin(patience, this);
    this.#waiting += text.length;
    this.#out.push(text);
    if (this.#waiting > flushAbove) this.flush();
  }

  flush(): void {
    if (this.#out.length === 0) return;
    const out = this.#out;
    this.#out = [];
    this.#waiting = 0;
    if (this.#ws.readyState !== this.#ws.OPEN) return;
    if (out.length === 1) this.#ws.send(out[0]!);
    else {
      this.#socket.cork();
      for (const text of out) this.#ws.send(text);
      this.#socket.uncork();
    }
    // If the system does not accept it at once, 'drain' follows.
    if (!this.#socket.writableNeedDrain) this.reader.drained();
  }

  get queued(): number {
    return this.#waiting + this.#ws.bufferedAmount;
  }

  pause(): void {
    this.#ws.pause();
  }

  resume(): void {
    this.#ws.resume();
  }

  end(): void {
    this.flush();
    this.#ws.close(this.#code ?? 1000, '');
  }

  destroy(): void {
    this.#out = [];
    this.#waiting = 0;
    this.#ws.terminate();
  }
}
