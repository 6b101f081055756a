/**
 * HTTPS requests to addresses that others have named. Private addresses and those of this machine are refused when the
 * connection is opened, whatever DNS has said before. Redirections are not followed; late and long answers are cut.
 */
import { Resolver } from 'node:dns';
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { Agent, request } from 'node:https';
import { type BlockList, isIP, type LookupFunction } from 'node:net';
import { isReachable } from '../config/reachable.js';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The first `mostBytes` of it. */
  readonly body: string;
}

export interface PosterParts {
  /** Private addresses that are allowed nevertheless. */
  allowed(): BlockList;
  /** DNS servers; those of the system if there are none. */
  readonly dns: readonly string[];
  /** Trusted authorities in PEM. Those of Node if undefined. */
  readonly ca?: readonly string[] | undefined;
}

/** The address may not be used: it never will be. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

/** From the connection to the last byte, in ms. */
const timeoutMs = 10_000;
/** Answers only say what was wrong. */
const mostBytes = 16_384;
/** Connections of one server, and in all. Idle ones are closed. */
const connectionsOfOne = 8;
const connections = 256;
const idleMs = 30_000;
const dnsMs = 2000;
const dnsTries = 2;

export class Poster {
  readonly #parts: PosterParts;
  readonly #agent: Agent;
  readonly #resolver = new Resolver({ timeout: dnsMs, tries: dnsTries });

  constructor(parts: PosterParts) {
    this.#parts = parts;
    if (parts.dns.length > 0) this.#resolver.setServers(parts.dns);
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: connectionsOfOne,
      maxTotalSockets: connections,
      maxFreeSockets: connectionsOfOne,
      timeout: idleMs,
      lookup: this.#lookup,
      ...(parts.ca && { ca: [...parts.ca] }),
    });
  }

  /** Throws UnreachableError unless something may be sent to the address. */
  check(text: string): URL {
    if (!URL.canParse(text)) throw new UnreachableError('it is not an address');
    const url = new URL(text);
    if (url.protocol !== 'https:' || url.username !== '' || url.password !== '')
      throw new UnreachableError('it is not an https address');
    const literal = url.hostname.replace(/^\[(.*)\]$/, '$1');
    if (isIP(literal) !== 0 && !this.#isAllowed(literal)) throw new UnreachableError('it is a private address');
    return url;
  }

  /** Rejects with UnreachableError, or another error if there is no complete answer in time. */
  async post(text: string, headers: OutgoingHttpHeaders, body: Buffer | string): Promise<Answer> {
    const url = this.check(text);
    const signal = AbortSignal.timeout(timeoutMs);
    return new Promise((resolve, reject) => {
      const sent = request(
        url,
        {
          method: 'POST',
          agent: this.#agent,
          signal,
          headers: { ...headers, 'content-length': Buffer.byteLength(body) },
        },
        (answer) => {
          const chunks: Buffer[] = [];
          let size = 0;
          const done = () => {
            const whole = Buffer.concat(chunks).subarray(0, mostBytes).toString('utf8');
            resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: whole });
          };
          answer
            .on('data', (chunk: Buffer) => {
              size += chunk.length;
              if (size <= mostBytes + chunk.length) chunks.push(chunk);
              if (size <= mostBytes) return;
              done();
              sent.destroy();
            })
            .once('end', done)
            .once('error', reject);
        },
      );
      sent.once('error', (error) =>
        reject(signal.aborted ? new Error(`${url.host} did not answer within ${timeoutMs / 1000} seconds`) : error),
      );
      sent.end(body);
    });
  }

  /** Closes all connections. */
  close(): void {
    this.#agent.destroy();
    this.#resolver.cancel();
  }

  #isAllowed(address: string): boolean {
    return isReachable(this.#parts.allowed())(address);
  }

  readonly #lookup: LookupFunction = (name, options, callback) => {
    this.#resolve(name).then(
      (found) => {
        const [first] = found;
        if (first === undefined) callback(new UnreachableError(`${name} has only private addresses`), '', 0);
        else if (options.all === true) callback(null, found);
        else callback(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, '', 0),
    );
  };

  /** The addresses of a name that may be used. Rejects if it has none. */
  async #resolve(name: string): Promise<{ readonly address: string; readonly family: 4 | 6 }[]> {
    const of = (family: 4 | 6) =>
      new Promise<{ address: string; family: 4 | 6 }[]>((resolve, reject) => {
        this.#resolver[family === 4 ? 'resolve4' : 'resolve6'](name, (error, found) =>
          error === null ? resolve(found.map((address) => ({ address, family }))) : reject(error),
        );
      });
    const results = await Promise.allSettled([of(4), of(6)]);
    const found = results.flatMap((one) => (one.status === 'fulfilled' ? one.value : []));
    if (found.length === 0) throw results.find((one) => one.status === 'rejected')?.reason ?? new Error('no address');
    return found.filter(({ address }) => this.#isAllowed(address));
  }
}
