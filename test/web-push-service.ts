/** A stand-in for a Web Push service (RFC 8030) over HTTPS, and for the devices that it wakes. */
import assert from 'node:assert/strict';
import { createDecipheriv, createECDH, createPublicKey, type ECDH, hkdfSync, randomBytes, verify } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Pem } from '../src/server/tls/self-signed.js';

export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

type Reply = (response: ServerResponse, received: Received) => void;

const takes: Reply = (response) => response.writeHead(201, { location: '/message/1' }).end();

export class WebPushService {
  /** Answers the next requests, in order; then all are taken. */
  readonly replies: Reply[] = [];
  /** How all are answered, once there are no replies. */
  usual: Reply = takes;
  /** Requests so far. */
  count = 0;
  readonly #inbox: Received[] = [];
  readonly #waiting: ((received: Received) => void)[] = [];

  private constructor(
    readonly server: Server,
    readonly name: string,
  ) {
    server.on('request', (request, response) => void this.#take(request, response));
  }

  static async open(name: string, { key, certificate }: Pem): Promise<WebPushService> {
    const server = createServer({ key, cert: certificate }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new WebPushService(server, name);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get origin(): string {
    return `https://${this.name}:${this.port}`;
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const received = { path: request.url!, headers: request.headers, body: Buffer.concat(chunks) };
    this.count++;
    (this.replies.shift() ?? this.usual)(response, received);
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#inbox.push(received);
    else waiting(received);
  }

  /** The next request. */
  receives(): Promise<Received> {
    const received = this.#inbox.shift();
    if (received !== undefined) return Promise.resolve(received);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** RFC 8292 §2, §3: the request proves that it is from the gateway with this key. Returns the claims. */
  proves({ headers }: Received, key: string): Readonly<Record<string, unknown>> {
    const [, token, k] = /^vapid t=([\w.-]+), k=([\w-]+)$/.exec(headers.authorization ?? '') ?? [];
    assert.equal(k, key);
    const [header, claims, signature] = token!.split('.');
    const point = Buffer.from(key, 'base64url');
    const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((part) => part.toString('base64url'));
    const publicKey = createPublicKey({ format: 'jwk', key: { kty: 'EC', crv: 'P-256', x: x!, y: y! } });
    const proof = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const;
    assert.ok(verify('sha256', Buffer.from(`${header}.${claims}`), proof, Buffer.from(signature!, 'base64url')));
    const read = (text: string) => JSON.parse(Buffer.from(text, 'base64url').toString()) as Record<string, unknown>;
    assert.deepEqual(read(header!), { typ: 'JWT', alg: 'ES256' });
    assert.equal(read(claims!).aud, this.origin);
    return read(claims!);
  }
}

/** What a browser knows of its subscription. */
export class Subscription {
  readonly #ecdh: ECDH = createECDH('prime256v1');
  readonly #auth = randomBytes(16);

  constructor(readonly endpoint: string) {
    this.#ecdh.generateKeys();
  }

  get p256dh(): string {
    return this.#ecdh.getPublicKey('base64url');
  }
  get auth(): string {
    return this.#auth.toString('base64url');
  }

  /** Reads a message by RFC 8291 and RFC 8188, of one record. */
  reads({ headers, body }: Received): Record<string, unknown> {
    assert.equal(headers['content-encoding'], 'aes128gcm');
    assert.ok(body.length <= 4096);
    const salt = body.subarray(0, 16);
    const length = body[20]!;
    const sender = body.subarray(21, 21 + length);
    const record = body.subarray(21 + length);
    const derive = (from: Uint8Array, by: Uint8Array, info: Uint8Array, size: number) =>
      Buffer.from(hkdfSync('sha256', from, by, info, size));
    const info = Buffer.concat([Buffer.from('WebPush: info\0'), this.#ecdh.getPublicKey(), sender]);
    const ikm = derive(this.#ecdh.computeSecret(sender), this.#auth, info, 32);
    const key = derive(ikm, salt, Buffer.from('Content-Encoding: aes128gcm\0'), 16);
    const nonce = derive(ikm, salt, Buffer.from('Content-Encoding: nonce\0'), 12);
    const decipher = createDecipheriv('aes-128-gcm', key, nonce).setAuthTag(record.subarray(-16));
    const padded = Buffer.concat([decipher.update(record.subarray(0, -16)), decipher.final()]);
    const end = padded.findLastIndex((byte) => byte !== 0);
    assert.equal(padded[end], 2);
    return JSON.parse(padded.subarray(0, end).toString()) as Record<string, unknown>;
  }
}
