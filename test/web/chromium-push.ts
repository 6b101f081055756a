/**
 * A push service for Chromium, in place of Google's: devices check in, get tokens for subscriptions, and hold a connection
 * over which messages come (the protocols of google_apis/gcm in Chromium, as far as they are used). What it gets is encrypted
 * for the browser, and passed on as it is.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import type { Pem } from '../../src/server/tls/self-signed.js';

/** Of the protocol, and of its messages. */
const version = 41;
const [heartbeat, heartbeatAnswer, login, loginAnswer, message] = [0, 1, 2, 3, 8];

// --- protocol buffers ---------------------------------------------------------------------------------------------

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...bytes, left]);
    bytes.push((left % 128) | 128);
  }
}
const number = (field: number, value: number): Buffer => Buffer.concat([varint(field * 8), varint(value)]);
const fixed = (field: number, value: Buffer): Buffer => Buffer.concat([varint(field * 8 + 1), value]);
function text(field: number, value: string | Buffer): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([varint(field * 8 + 2), varint(bytes.length), bytes]);
}

/** One message of the connection. */
const framed = (tag: number, ...parts: readonly Buffer[]): Buffer => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag]), varint(body.length), body]);
};

/** A subscription, as the browser has asked for it. */
interface Subscribed {
  readonly app: string;
  readonly subtype: string;
  readonly sender: string;
}

export class ChromiumPush {
  readonly #http: Server;
  readonly #tls: TlsServer;
  readonly #subscriptions = new Map<string, Subscribed>();
  #connection: TLSSocket | undefined;
  /** Messages for a browser that is not connected. */
  readonly #waiting: Buffer[] = [];
  #count = 0;

  private constructor({ key, certificate }: Pem) {
    this.#http = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request
        .on('data', (chunk: Buffer) => chunks.push(chunk))
        .on('end', () => {
          const body = request.url === '/checkin' ? this.#checkIn() : this.#subscribe(Buffer.concat(chunks).toString());
          response.end(body);
        });
    }).listen(0, '127.0.0.1');
    this.#tls = createTlsServer({ key, cert: certificate }, (socket) => this.#connected(socket)).listen(0, '127.0.0.1');
  }

  static async open(pem: Pem): Promise<ChromiumPush> {
    const service = new ChromiumPush(pem);
    await Promise.all([once(service.#http, 'listening'), once(service.#tls, 'listening')]);
    return service;
  }

  /** With which Chromium uses it. */
  get args(): string[] {
    const [http, tls] = [this.#http, this.#tls].map((server) => (server.address() as AddressInfo).port);
    return [
      `--gcm-checkin-url=http://127.0.0.1:${http}/checkin`,
      `--gcm-registration-url=http://127.0.0.1:${http}/register`,
      `--gcm-mcs-endpoint=https://127.0.0.1:${tls}`,
      '--ignore-certificate-errors',
    ];
  }

  close(): void {
    this.#http.close();
    this.#http.closeAllConnections();
    this.#tls.close();
    this.#connection?.destroy();
  }

  /** Passes a message on, as it has come, to whom the token belongs. */
  deliver(token: string, body: Buffer): void {
    const found = this.#subscriptions.get(token);
    assert.ok(found, `nobody has the token ${token}`);
    const data = (key: string, value: string) => text(7, Buffer.concat([text(1, key), text(2, value)]));
    const sent = framed(
      message,
      text(3, found.sender),
      text(5, found.app),
      data('subtype', found.subtype),
      data('content-encoding', 'aes128gcm'),
      text(9, `message ${++this.#count}`),
      text(21, body),
    );
    if (this.#connection === undefined) this.#waiting.push(sent);
    else this.#connection.write(sent);
  }

  #checkIn(): Buffer {
    return Buffer.concat([number(1, 1), fixed(7, randomBytes(8)), fixed(8, randomBytes(8))]);
  }

  #subscribe(body: string): string {
    const form = new URLSearchParams(body);
    const token = randomBytes(16).toString('base64url');
    if (form.get('delete') === 'true') return `token=${form.get('app')}`;
    this.#subscriptions.set(token, {
      app: form.get('app') ?? '',
      subtype: form.get('X-subtype') ?? '',
      sender: form.get('sender') ?? '',
    });
    return `token=${token}`;
  }

  #connected(socket: TLSSocket): void {
    let buffer = Buffer.alloc(0);
    let isGreeted = false;
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.#connection === socket) this.#connection = undefined;
    });
    socket.on('data', (chunk: Buffer) => {
      buffer = Buffer.concat([buffer, chunk]);
      if (!isGreeted && buffer.length > 0) {
        assert.equal(buffer[0], version);
        isGreeted = true;
        buffer = buffer.subarray(1);
      }
      for (;;) {
        let [size, end, shift] = [0, 1, 1];
        while (end < buffer.length && buffer[end]! >= 128) {
          size += (buffer[end++]! & 127) * shift;
          shift *= 128;
        }
        if (end >= buffer.length) return;
        size += buffer[end++]! * shift;
        if (buffer.length < end + size) return;
        const tag = buffer[0];
        buffer = buffer.subarray(end + size);
        if (tag === login) {
          socket.write(Buffer.concat([Buffer.from([version]), framed(loginAnswer, text(1, 'login'))]));
          this.#connection = socket;
          for (const one of this.#waiting.splice(0)) socket.write(one);
        } else if (tag === heartbeat) socket.write(framed(heartbeatAnswer));
      }
    });
  }
}
