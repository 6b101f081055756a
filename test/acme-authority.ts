/**
 * An authority for tests of ACME (RFC 8555), in this process: it takes orders, looks for proofs at the ports that it is
 * told, and signs. test/interop/pebble.ts is one of others.
 */
import assert from 'node:assert/strict';
import { createHash, createPublicKey, type JsonWebKey, type KeyObject, verify, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect } from 'node:tls';
import { derTag, readDer, readOne, writeDer } from '../src/server/tls/der.js';
import { extensions } from '../src/server/tls/names.js';
import { makeSelfSigned } from '../src/server/tls/self-signed.js';
import { CertificateAuthority } from './certificate-authority.js';

interface Account {
  readonly key: KeyObject;
  /** RFC 7638. */
  readonly thumbprint: string;
}

interface Order {
  readonly domains: readonly string[];
  readonly by: Account;
  /** Proved domains; undefined once one of them could not be. */
  proved: Set<string> | undefined;
  certificate?: string;
}

interface Signed {
  readonly header: { readonly jwk?: JsonWebKey; readonly kid?: string; readonly url: string };
  readonly payload: Buffer;
  readonly account: Account;
}

export class AcmeAuthority {
  /** Ports of 127.0.0.1 at which it looks for proofs. */
  http = 0;
  tls = 0;
  /** What happens before it looks for the proof of a domain, and before it signs a certificate. */
  beforeLook: (domain: string) => unknown = () => {};
  beforeSigning: () => unknown = () => {};
  readonly #signer = new CertificateAuthority('authority of tests');
  readonly #accounts: Account[] = [];
  readonly #orders: Order[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#answer(request, response).catch((error: Error) => {
        const problem = { type: 'urn:ietf:params:acme:error:malformed', detail: error.message };
        response.writeHead(400, { 'replay-nonce': 'n' }).end(JSON.stringify(problem));
      });
    });
  }

  /** Its own certificate is written to `file`, for those that have to trust it. */
  static async start(file: string): Promise<AcmeAuthority> {
    const own = makeSelfSigned(['localhost']);
    writeFileSync(file, own.certificate);
    const server = createServer({ cert: own.certificate, key: own.key }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new AcmeAuthority(server);
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  get directory(): string {
    return `${this.#base}/directory`;
  }

  get accounts(): number {
    return this.#accounts.length;
  }

  /** The domains of each order that it has got. */
  get ordered(): readonly (readonly string[])[] {
    return this.#orders.map(({ domains }) => domains);
  }

  /** How many certificates it has signed. */
  get signed(): number {
    return this.#orders.filter(({ certificate }) => certificate !== undefined).length;
  }

  get #base(): string {
    return `https://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, what = '', number = ''] = (request.url ?? '').split('/');
    const send = (body: unknown, headers: Record<string, string> = {}, status = 200) =>
      void response
        .writeHead(status, { 'replay-nonce': 'n', ...headers })
        .end(typeof body === 'string' ? body : JSON.stringify(body));
    if (request.method !== 'POST') {
      const [newNonce, newAccount, newOrder] = ['nonce', 'account', 'order'].map((path) => `${this.#base}/${path}`);
      send(what === 'directory' ? { newNonce, newAccount, newOrder } : '');
      return;
    }
    const { payload, account } = this.#read(await text(request));
    const [id = '', at = ''] = number.split('-');
    const order = this.#orders[Number(id)];
    if (what === 'account') send({}, { location: `${this.#base}/account/${this.#accounts.indexOf(account)}` }, 201);
    else if (what === 'order' && number === '') {
      const { identifiers } = JSON.parse(`${payload}`) as { identifiers: { value: string }[] };
      const made: Order = { domains: identifiers.map(({ value }) => value), by: account, proved: new Set() };
      const placed = this.#orders.push(made) - 1;
      send(this.#described(made), { location: `${this.#base}/order/${placed}` }, 201);
    } else {
      assert.equal(order?.by, account, 'another account has placed the order');
      if (what === 'order') send(this.#described(order));
      else if (what === 'authorization') send(this.#authorization(order, at));
      else if (what === 'certificate') send(order.certificate!);
      else if (what === 'finalize') {
        const { csr } = JSON.parse(`${payload}`) as { csr: string };
        await this.beforeSigning();
        assert.equal(order.proved?.size, order.domains.length, 'not every domain is proved');
        order.certificate = this.#sign(order.domains, Buffer.from(csr, 'base64url'));
        send(this.#described(order));
      } else {
        send({});
        await this.#look(order, at, what);
      }
    }
  }

  /** The account is that of the key, or of the address (RFC 8555 §6.2). */
  #read(body: string): Signed {
    const { protected: head, payload, signature } = JSON.parse(body) as Record<string, string>;
    const header = JSON.parse(`${Buffer.from(head!, 'base64url')}`) as Signed['header'];
    const { jwk, kid } = header;
    const account = jwk === undefined ? this.#accounts[Number(kid!.split('/').at(-1))] : this.#accountOf(jwk);
    assert.ok(account !== undefined, 'no such account');
    const key = { key: account.key, dsaEncoding: 'ieee-p1363' } as const;
    const isGood = verify('sha256', Buffer.from(`${head}.${payload}`), key, Buffer.from(signature!, 'base64url'));
    assert.ok(isGood, 'the signature is wrong');
    return { header, payload: Buffer.from(payload!, 'base64url'), account };
  }

  #accountOf(jwk: JsonWebKey): Account {
    const { crv, kty, x, y } = jwk;
    const thumbprint = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
    const known = this.#accounts.find((one) => one.thumbprint === thumbprint);
    if (known !== undefined) return known;
    const account = { key: createPublicKey({ key: jwk, format: 'jwk' }), thumbprint };
    this.#accounts.push(account);
    return account;
  }

  #described(order: Order): object {
    const id = this.#orders.indexOf(order);
    const isReady = order.proved?.size === order.domains.length;
    const status =
      order.certificate !== undefined ? 'valid' : !order.proved ? 'invalid' : isReady ? 'ready' : 'pending';
    return {
      status,
      authorizations: order.domains.map((_, at) => `${this.#base}/authorization/${Math.max(id, 0)}-${at}`),
      finalize: `${this.#base}/finalize/${id}`,
      ...(order.certificate !== undefined && { certificate: `${this.#base}/certificate/${id}` }),
    };
  }

  #authorization(order: Order, at: string): object {
    const domain = order.domains[Number(at)]!;
    const id = this.#orders.indexOf(order);
    const token = this.#token(order, at);
    const challenges = ['http-01', 'tls-alpn-01'].map((type) => ({
      type,
      token,
      url: `${this.#base}/${type}/${id}-${at}`,
    }));
    const status = order.proved === undefined ? 'invalid' : order.proved.has(domain) ? 'valid' : 'pending';
    return { status, identifier: { type: 'dns', value: domain }, challenges };
  }

  #token(order: Order, at: string): string {
    return `token-of-the-order-${this.#orders.indexOf(order)}-${at}`;
  }

  async #look(order: Order, at: string, type: string): Promise<void> {
    const domain = order.domains[Number(at)]!;
    await this.beforeLook(domain);
    const token = this.#token(order, at);
    const expected = `${token}.${order.by.thumbprint}`;
    try {
      assert.ok(
        type === 'http-01' ? await this.#seesText(domain, token, expected) : await this.#sees(domain, expected),
      );
      order.proved?.add(domain);
    } catch {
      order.proved = undefined;
    }
  }

  /** RFC 8555 §8.3. */
  async #seesText(domain: string, token: string, expected: string): Promise<boolean> {
    const url = `http://127.0.0.1:${this.http}/.well-known/acme-challenge/${token}`;
    const answer = await fetch(url, { headers: { host: domain } });
    return answer.ok && (await answer.text()) === expected;
  }

  /** RFC 8737 §3. */
  async #sees(servername: string, expected: string): Promise<boolean> {
    const options = { port: this.tls, host: '127.0.0.1', servername, ALPNProtocols: ['acme-tls/1'] };
    const socket = connect({ ...options, rejectUnauthorized: false });
    try {
      await once(socket, 'secureConnect');
      const { raw, subjectAltName } = socket.getPeerX509Certificate()!;
      const digest = createHash('sha256').update(expected).digest();
      const identifier = extensions(raw).find(({ oid }) => oid === '1.3.6.1.5.5.7.1.31');
      const isGood = identifier?.value.equals(writeDer(derTag.octetString, digest)) === true;
      return isGood && socket.alpnProtocol === 'acme-tls/1' && subjectAltName === `DNS:${servername}`;
    } finally {
      socket.destroy();
    }
  }

  #sign(domains: readonly string[], csr: Buffer): string {
    const [info] = readDer(readOne(csr, derTag.sequence));
    const [, , spki] = readDer(info!.content);
    const key = createPublicKey({ key: writeDer(derTag.sequence, spki!.content), format: 'der', type: 'spki' });
    return new X509Certificate(this.#signer.certifies(domains, key)).toString();
  }
}
