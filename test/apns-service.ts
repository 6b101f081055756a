/**
 * A stand-in for the Apple Push Notification service: HTTP/2 over TLS, with the published requests and answers. It checks
 * tokens of providers by itself.
 */
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import { once } from 'node:events';
import {
  createSecureServer,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type Settings,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Pem } from '../src/server/tls/self-signed.js';

export interface Notification {
  readonly headers: IncomingHttpHeaders;
  readonly token: string;
  readonly payload: Record<string, unknown>;
  /** As the service sees it: a number for each connection. */
  readonly connection: number;
  readonly keyId: string;
}

interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timestamp?: number;
}

/** Answers a request itself, instead of the service. */
type Reply = (stream: ServerHttp2Stream) => void;

const hour = 3_600_000;
const pushTypes = ['alert', 'background', 'voip'];

export class ApnsService {
  readonly team = 'DEF123GHIJ';
  readonly topic = 'org.example.chat';
  /** The keys of the team, by their ids. */
  readonly keys = new Map<string, KeyObject>();
  /** Tokens of devices that the service does not know, or no longer since a time. */
  readonly unknown = new Set<string>();
  readonly inactive = new Map<string, number>();
  /** How the next requests are answered, in order, once they are found correct. */
  readonly replies: (Refusal | Reply)[] = [];
  connections = 0;
  readonly sessions = new Set<ServerHttp2Session>();
  /** The token of the provider on each connection, and when it was first used. */
  readonly #tokens = new Map<number, { readonly token: string; readonly at: number }>();
  readonly #inbox: Notification[] = [];
  readonly #waiting: ((received: Notification) => void)[] = [];

  private constructor(
    readonly server: Http2SecureServer,
    readonly name: string,
  ) {
    server.on('session', (session) => {
      const connection = this.connections++;
      this.sessions.add(session);
      session.on('close', () => this.sessions.delete(session));
      session.on('error', () => {});
      session.on('stream', (stream, headers) => void this.#take(stream, headers, connection));
    });
  }

  static async open(name: string, { key, certificate }: Pem, settings: Settings = {}): Promise<ApnsService> {
    const server = createSecureServer({ key, cert: certificate, settings }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new ApnsService(server, name);
  }

  get origin(): string {
    return `https://${this.name}:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.server.close();
    for (const session of this.sessions) session.destroy();
  }

  /** A key of the team, as the file that Apple gives. */
  newKey(id: string): string {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    this.keys.set(id, createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })));
    return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  }

  /** The next notification that a device gets. */
  receives(): Promise<Notification> {
    const received = this.#inbox.shift();
    if (received !== undefined) return Promise.resolve(received);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async #take(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: number): Promise<void> {
    stream.on('error', () => {});
    const chunks: Buffer[] = [];
    for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const wrong = this.#refusal(headers, body, connection);
    if (wrong !== undefined) return answer(stream, wrong);
    const keyId = this.#keyIdOf(headers.authorization!);
    const token = headers[':path']!.slice('/3/device/'.length);
    const payload = JSON.parse(body.toString()) as Record<string, unknown>;
    const received = { headers, token, payload, connection, keyId };
    const reply = this.replies.shift();
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#inbox.push(received);
    else waiting(received);
    if (typeof reply === 'function') reply(stream);
    else answer(stream, reply ?? { status: 200, reason: '' });
  }

  #refusal(headers: IncomingHttpHeaders, body: Buffer, connection: number): Refusal | undefined {
    const refuses = (status: number, reason: string): Refusal => ({ status, reason });
    if (headers[':method'] !== 'POST') return refuses(405, 'MethodNotAllowed');
    const [, token] = /^\/3\/device\/([0-9a-f]+)$/.exec(headers[':path']!) ?? [];
    if (token === undefined) return refuses(404, 'BadPath');
    const provider = this.#providerRefusal(headers.authorization, connection);
    if (provider !== undefined) return provider;
    const type = headers['apns-push-type'] as string;
    if (!pushTypes.includes(type)) return refuses(400, 'InvalidPushType');
    if (headers['apns-topic'] !== (type === 'voip' ? `${this.topic}.voip` : this.topic))
      return refuses(400, 'TopicDisallowed');
    const priority = headers['apns-priority'] as string;
    if (!(type === 'background' ? ['5'] : ['5', '10']).includes(priority)) return refuses(400, 'BadPriority');
    if (!/^\d{10}$/.test(headers['apns-expiration'] as string)) return refuses(400, 'BadExpirationDate');
    if (Buffer.byteLength(headers['apns-collapse-id'] as string) > 64) return refuses(400, 'BadCollapseId');
    if (body.length === 0) return refuses(400, 'PayloadEmpty');
    if (body.length > 4096) return refuses(413, 'PayloadTooLarge');
    const timestamp = this.inactive.get(token);
    if (timestamp !== undefined) return { status: 410, reason: 'Unregistered', timestamp };
    if (this.unknown.has(token)) return refuses(400, 'BadDeviceToken');
    return undefined;
  }

  #providerRefusal(authorization: string | undefined, connection: number): Refusal | undefined {
    const [, token] = /^bearer ([\w-]+\.[\w-]+\.[\w-]+)$/.exec(authorization ?? '') ?? [];
    if (token === undefined) return { status: 403, reason: 'MissingProviderToken' };
    const [head, claims, signature] = token.split('.').map((part) => Buffer.from(part, 'base64url'));
    const { alg, kid } = JSON.parse(head!.toString()) as Record<string, string>;
    const { iss, iat } = JSON.parse(claims!.toString()) as { iss: string; iat: number };
    const key = this.keys.get(kid!);
    const signed = Buffer.from(token.slice(0, token.lastIndexOf('.')));
    const isRight =
      alg === 'ES256' &&
      iss === this.team &&
      key !== undefined &&
      verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature!);
    if (!isRight) return { status: 403, reason: 'InvalidProviderToken' };
    if (Math.abs(Date.now() - iat * 1000) > hour) return { status: 403, reason: 'ExpiredProviderToken' };
    const before = this.#tokens.get(connection);
    if (before?.token === token) return undefined;
    if (before !== undefined && Date.now() - before.at < hour / 3)
      return { status: 429, reason: 'TooManyProviderTokenUpdates' };
    this.#tokens.set(connection, { token, at: Date.now() });
    return undefined;
  }

  #keyIdOf(authorization: string): string {
    const [, head] = /^bearer ([\w-]+)/.exec(authorization)!;
    return (JSON.parse(Buffer.from(head!, 'base64url').toString()) as { kid: string }).kid;
  }

  /** A notification of an app that shows it. */
  static alert({ payload }: Notification): Record<string, unknown> {
    const { aps } = payload as { aps: { alert: Record<string, unknown>; sound: string; 'mutable-content': number } };
    assert.equal(aps['mutable-content'], 1);
    return aps.alert;
  }
}

function answer(stream: ServerHttp2Stream, { status, reason, headers, timestamp }: Refusal): void {
  if (stream.destroyed) return;
  stream.respond({ ':status': status, 'apns-id': 'eabeae54-14a8-11e5-b60b-1697f925ec7b', ...headers });
  stream.end(status === 200 ? '' : JSON.stringify({ reason, ...(timestamp !== undefined && { timestamp }) }));
}
