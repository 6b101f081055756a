/**
 * Requests over one connection of HTTP/2 (RFC 9113) that is kept. Where it leads is checked whenever it is opened
 * (reach.ts). A request that the other side has certainly not handled is repeated once, on a new connection; any other
 * failure is the caller's.
 */
import { type ClientHttp2Session, connect, constants, type OutgoingHttpHeaders } from 'node:http2';
import { monotonic } from '../clock.js';
import { mostBytes, timeoutMs } from './post.js';
import type { Reach } from './reach.js';
import type { Answer } from './request.js';

export interface Http2Parts {
  readonly origin: string;
  readonly reach: Reach;
  /** Trusted authorities in PEM. Those of Node if undefined. */
  readonly ca?: readonly string[] | undefined;
  /** Requests at once, if the other side takes so many. */
  readonly atOnce: number;
  /** How long a connection may take to answer a PING, in ms. */
  readonly pingMs?: number | undefined;
}

/** A connection that was silent for so long, in ms, is tried before it is used. */
const silentMs = 5000;
const usualPingMs = 5000;
/** Requests that wait for the others. */
const mostWaiting = 1000;
const longestReason = 200;

/** The other side has not begun with the request. */
class UnhandledError extends Error {}

export class Http2Poster {
  readonly #parts: Http2Parts;
  #connection: Promise<Connection> | undefined;
  readonly #closing = new AbortController();

  constructor(parts: Http2Parts) {
    this.#parts = parts;
  }

  /** Rejects with UnreachableError, or another error if there is no complete answer in time. A long answer is cut. */
  async post(path: string, headers: OutgoingHttpHeaders, body: Buffer | string): Promise<Answer> {
    const signal = AbortSignal.timeout(timeoutMs);
    for (let isLast = false; ; isLast = true) {
      try {
        const connection = await this.#usable();
        return await connection.ask({ ':method': 'POST', ':path': path, ...headers }, body, signal);
      } catch (error) {
        if (signal.aborted) throw new Error(`${this.#parts.origin} did not answer within ${timeoutMs / 1000} seconds`);
        if (isLast || !(error instanceof UnhandledError)) throw error;
      }
    }
  }

  /** What is under way goes on; nothing may be added. */
  retire(): void {
    this.#connection?.then(
      (connection) => connection.retire(),
      () => {},
    );
  }

  /** What is under way fails. */
  close(): void {
    this.#closing.abort();
  }

  async #usable(): Promise<Connection> {
    const known = this.#connection;
    if (known !== undefined && (await (await known).isAlive())) return known;
    this.#closing.signal.throwIfAborted();
    // Others may have waited for the same.
    if (this.#connection === known) {
      const opening = Connection.open(this.#parts, this.#closing.signal);
      this.#connection = opening;
      opening.catch(() => {
        if (this.#connection === opening) this.#connection = undefined;
      });
    }
    return this.#connection!;
  }
}

class Connection {
  readonly #session: ClientHttp2Session;
  readonly #parts: Http2Parts;
  #isEnding = false;
  /** What the other side said when it ended the connection. */
  #why = 'the connection was closed';
  #running = 0;
  readonly #waiting = new Set<() => void>();
  /** When the other side was heard of, by the monotonic clock. */
  #heard = monotonic();
  #ping: Promise<boolean> | undefined;

  private constructor(session: ClientHttp2Session, parts: Http2Parts) {
    this.#session = session;
    this.#parts = parts;
    session.on('goaway', (code, _, reason) => {
      this.#why = `the connection was ended with code ${code} ${reasonIn(reason)}`.trim();
      this.#end();
    });
    session.on('close', () => this.#end());
    session.on('remoteSettings', () => this.#next());
  }

  static open(parts: Http2Parts, closing: AbortSignal): Promise<Connection> {
    const { origin, reach, ca } = parts;
    return new Promise((resolve, reject) => {
      reach.check(origin);
      const session = connect(origin, {
        lookup: reach.lookup,
        settings: { enablePush: false },
        ...(ca && { ca: [...ca] }),
      });
      const timer = setTimeout(() => session.destroy(new Error(`${origin} did not answer`)), timeoutMs);
      const close = () => session.destroy();
      closing.addEventListener('abort', close);
      session.once('close', () => closing.removeEventListener('abort', close));
      const failed = (error?: Error) => {
        clearTimeout(timer);
        reject(error ?? new Error(`${origin} closed the connection`));
      };
      session.on('error', failed);
      session.once('close', failed);
      session.once('connect', () => {
        if (session.alpnProtocol !== 'h2') session.destroy(new Error(`${origin} does not speak HTTP/2`));
      });
      // §3.4: only then it is known how many streams there may be.
      session.once('remoteSettings', () => {
        clearTimeout(timer);
        resolve(new Connection(session, parts));
      });
    });
  }

  /** Whether it can be used. A connection that was silent is asked. */
  async isAlive(): Promise<boolean> {
    if (this.#isEnding || monotonic() - this.#heard < silentMs) return !this.#isEnding;
    this.#ping ??= this.#isAnswered().finally(() => {
      this.#ping = undefined;
    });
    return this.#ping;
  }

  #isAnswered(): Promise<boolean> {
    return new Promise((resolve) => {
      const dead = () => {
        this.#why = 'the connection does not answer';
        this.#session.destroy();
        resolve(false);
      };
      const timer = setTimeout(dead, this.#parts.pingMs ?? usualPingMs);
      const isSent = this.#session.ping((error) => {
        clearTimeout(timer);
        if (error === null) this.#heard = monotonic();
        resolve(error === null && !this.#isEnding);
      });
      if (!isSent) {
        clearTimeout(timer);
        dead();
      }
    });
  }

  async ask(headers: OutgoingHttpHeaders, body: Buffer | string, signal: AbortSignal): Promise<Answer> {
    await this.#turn(signal);
    try {
      return await this.#exchange(headers, body, signal);
    } finally {
      this.#running--;
      this.#next();
    }
  }

  async #exchange(headers: OutgoingHttpHeaders, body: Buffer | string, signal: AbortSignal): Promise<Answer> {
    if (this.#isEnding) throw new UnhandledError(this.#why);
    const stream = this.#session.request({ ...headers, 'content-length': Buffer.byteLength(body) }, { signal });
    return new Promise((resolve, reject) => {
      let answer: Omit<Answer, 'body'> | undefined;
      let failure: Error | undefined;
      const chunks: Buffer[] = [];
      let size = 0;
      const done = () => resolve({ ...answer!, body: Buffer.concat(chunks).subarray(0, mostBytes).toString('utf8') });
      stream
        .once('response', ({ ':status': status = 0, ...rest }) => {
          this.#heard = monotonic();
          answer = { status, headers: rest };
        })
        .on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size - chunk.length <= mostBytes) chunks.push(chunk);
          if (size <= mostBytes) return;
          done();
          stream.close(constants.NGHTTP2_CANCEL);
        })
        .once('error', (error) => {
          failure = error;
        })
        .once('close', () => {
          const { rstCode = 0, readableEnded, aborted } = stream;
          // §8.1: an answer that is complete counts, even if the rest of the request was not wanted.
          if (answer !== undefined && readableEnded && !aborted && rstCode === constants.NGHTTP2_NO_ERROR) done();
          // §8.7: also what a GOAWAY says that it was not handled.
          else if (rstCode === constants.NGHTTP2_REFUSED_STREAM) reject(new UnhandledError('the request was refused'));
          else reject(this.#isEnding ? new Error(this.#why) : (failure ?? new Error('the answer is incomplete')));
        })
        .end(body);
    });
  }

  /** Resolves when there may be a further stream. */
  async #turn(signal: AbortSignal): Promise<void> {
    const isFull = () => this.#running >= Math.min(this.#parts.atOnce, this.#mostStreams);
    if (isFull() && this.#waiting.size >= mostWaiting) throw new Error('too many requests wait');
    while (isFull() && !this.#isEnding) {
      let go = () => {};
      await new Promise<void>((resolve) => {
        go = resolve;
        this.#waiting.add(go);
        signal.addEventListener('abort', go, { once: true });
      });
      this.#waiting.delete(go);
      signal.removeEventListener('abort', go);
      signal.throwIfAborted();
    }
    if (this.#isEnding) throw new UnhandledError(this.#why);
    this.#running++;
  }

  /** §5.1.2. */
  get #mostStreams(): number {
    return this.#session.remoteSettings.maxConcurrentStreams ?? Number.POSITIVE_INFINITY;
  }

  #next(): void {
    for (const go of this.#waiting) go();
  }

  #end(): void {
    this.#isEnding = true;
    this.#next();
  }

  retire(): void {
    this.#end();
    this.#session.close();
  }
}

/** The text of a GOAWAY, for people. */
const reasonIn = (data: Buffer | undefined): string =>
  (data?.toString('utf8') ?? '').replace(/[\p{C}\p{Z}]+/gu, ' ').slice(0, longestReason);
