/** RFC 7395: XMPP over WebSocket. The ws package does the framing; each message is one element. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { type RawData, type WebSocket, WebSocketServer } from 'ws';
import { peerOf } from './peer.js';
import { flushAbove, flushWithin, setFlush, silent, type Transport, type TransportReader } from './transport.js';

const key = Symbol('transport');
type Owned = WebSocket & { [key]?: WebSocketTransport };

function onMessage(this: Owned, data: RawData, isBinary: boolean): void {
  const transport = this[key]!;
  // RFC 7395 §3.2: text only.
  if (isBinary) transport.refuse(1003, 'text messages only');
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
  readonly #server: WebSocketServer;
  readonly #refuse: RefuseUpgrade;

  constructor(maxMessageBytes: number, refuse: RefuseUpgrade) {
    this.#refuse = refuse;
    this.#server = new WebSocketServer({
      noServer: true,
      // Decompression could expand small messages past all limits.
      perMessageDeflate: false,
      clientTracking: false,
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

  constructor(ws: WebSocket, socket: Socket) {
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

  refuse(code: number, reason: string): void {
    this.flush();
    this.#ws.close(code, reason);
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
    this.#ws.close(1000);
  }

  destroy(): void {
    this.#out = [];
    this.#waiting = 0;
    this.#ws.terminate();
  }
}
