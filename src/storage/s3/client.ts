/** Requests to one bucket: signed, repeated after failures that pass, and corrected for a clock that differs. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { StorageError } from '../contract.js';
import { codeOf, isTransient, lost, refusal, type Told } from './errors.js';
import { type Body, Exchanges, inMemory, type Place, watch } from './exchange.js';
import {
  type Credentials,
  encodePath,
  queryText,
  type Signed,
  type Signing,
  sha256,
  signedHeaders,
  signedQuery,
  unsignedPayload,
} from './sign.js';

export interface ClientOptions {
  /** Where the store is: `https://s3.eu-west-1.amazonaws.com`. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** The bucket is part of the path, and not of the host name. */
  readonly isPathStyle: boolean;
  readonly credentials: Credentials;
  /** PEM certificates of authorities, instead of those of Node.js. */
  readonly ca?: string | undefined;
  /** Time in ms in which something has to move. */
  readonly timeout?: number | undefined;
  /** How often a request is sent at most. */
  readonly attempts?: number | undefined;
  /** Around each attempt. `isLong`: it may take any time. */
  readonly guard?: (<R>(attempt: () => Promise<R>, isLong: boolean) => Promise<R>) | undefined;
  /** Waits before another attempt, for so many ms. */
  readonly pause?: ((ms: number, signal: AbortSignal | undefined) => Promise<void>) | undefined;
  /** Called with problems that fail no operation. */
  readonly warn?: ((message: string, error: unknown) => void) | undefined;
  /** In milliseconds since 1970. */
  readonly now?: (() => number) | undefined;
}

export interface Call {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** The key of an object; the bucket itself without it. */
  readonly key?: string | undefined;
  readonly query?: Readonly<Record<string, string>> | undefined;
  /** Names in lower case. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** A content of an object. Streams cannot be sent twice. */
  readonly body?: { readonly content: Body; readonly isStream: boolean } | undefined;
  /** What is signed as the hash of the body, if its checksum follows it. */
  readonly payload?: string | undefined;
  /** A document of the protocol. */
  readonly text?: string | undefined;
  /** Statuses that are answers and no errors, besides 2xx. */
  readonly expected?: readonly number[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes of an answer that is read as a whole: a page of 1,000 keys has less. */
const longestAnswer = 4_194_304;
/** Between attempts, in ms. */
const firstPause = 100;
const longestPause = 5000;
/** Differences of clocks that are worth a warning, in ms. */
const skewWorthAWord = 60_000;

const { clearTimeout, setTimeout } = globalThis;

function pauseFor(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });
}

export class Client {
  readonly #options: ClientOptions;
  readonly #exchanges: Exchanges;
  readonly #host: string;
  readonly #base: string;
  readonly #protocol: string;
  /** What the clock of the store is ahead, in ms. */
  #skew = 0;

  constructor(options: ClientOptions) {
    this.#options = options;
    const { protocol, hostname, port, pathname } = new URL(options.endpoint);
    const name = options.isPathStyle ? hostname : `${options.bucket}.${hostname}`;
    this.#protocol = protocol;
    this.#host = `${name}${port === '' ? '' : `:${port}`}`;
    this.#base = `${pathname.replace(/\/+$/, '')}${options.isPathStyle ? `/${options.bucket}` : ''}`;
    const place = { protocol, hostname: name.replace(/^\[|\]$/g, ''), port, ca: options.ca } as Place;
    this.#exchanges = new Exchanges(place, options.timeout ?? 30_000);
  }

  /** Names the bucket in messages. */
  get where(): string {
    return `S3 bucket ${this.#options.bucket} at ${new URL(this.#options.endpoint).host}`;
  }

  get attempts(): number {
    return this.#options.attempts ?? 4;
  }

  /** Sends a request until it has an answer that is expected, and reads the answer. Rejects with StorageError. */
  async ask(call: Call): Promise<Told> {
    return this.#repeated(call, async () => {
      const answer = await this.#send(call);
      const told = await this.#read(answer);
      return this.#accepted(call, told);
    });
  }

  /** The same for an answer that is read as a stream, or destroyed. */
  async open(call: Call): Promise<IncomingMessage> {
    return this.#repeated(call, async () => {
      const answer = await this.#send(call);
      if (isExpected(call, answer.statusCode!)) return answer;
      return this.#accepted(call, await this.#read(answer)) as never;
    });
  }

  /** The chunks of an answer. Rejects if the store sends nothing for too long, and not if the reader is slow. */
  async *chunks(answer: IncomingMessage): AsyncGenerator<Buffer> {
    let isWaiting = false;
    let turn = 0;
    const end = watch(
      this.#exchanges.timeout,
      () => (isWaiting ? answer.socket?.bytesRead : turn++),
      () => answer.destroy(new Error('no more data in time')),
    );
    try {
      const all = answer[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
      for (;;) {
        isWaiting = true;
        const next = await all.next();
        isWaiting = false;
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      end();
      answer.destroy();
    }
  }

  /** An address with which anybody can get an object for some time. */
  link(method: 'GET' | 'HEAD', key: string, query: Readonly<Record<string, string>>, seconds: number): string {
    const { path } = this.#signed({ method, key });
    const signed = signedQuery({ method, host: this.#host, path, query }, seconds, this.#signing);
    return `${this.#protocol}//${this.#host}${path}?${signed}`;
  }

  /** Waits before attempt number `attempt`, from 1 on. */
  async pause(attempt: number, signal?: AbortSignal): Promise<void> {
    const ms = Math.min(longestPause, firstPause * 4 ** (attempt - 1));
    await (this.#options.pause ?? pauseFor)(ms * (0.5 + Math.random() / 2), signal);
  }

  /** The error of a connection as StorageError. */
  lost(error: unknown): StorageError {
    return error instanceof StorageError ? error : lost(error, this.where);
  }

  close(): void {
    this.#exchanges.close();
  }

  async #repeated<R>(call: Call, attempt: () => Promise<R>): Promise<R> {
    const isLong = call.body !== undefined || call.method === 'POST';
    const guarded = () => this.#options.guard?.(attempt, isLong) ?? attempt();
    for (let made = 1; ; made++) {
      try {
        return await guarded();
      } catch (error) {
        const isAgain = isTransient(error) || (isSkewed(error) && made === 1);
        if (!isAgain || made >= this.attempts || call.body?.isStream === true || call.signal?.aborted) throw error;
        await this.pause(made, call.signal);
        if (call.signal?.aborted) throw error;
      }
    }
  }

  async #send(call: Call): Promise<IncomingMessage> {
    const { method, body, text, signal } = call;
    const bytes = text === undefined ? undefined : Buffer.from(text);
    const signed = this.#signed(call);
    const headers = { ...call.headers, ...(bytes !== undefined && { 'content-type': 'application/xml' }) };
    const payload = body === undefined ? sha256(bytes ?? '') : (call.payload ?? unsignedPayload);
    const query = queryText(signed.query);
    try {
      return await this.#exchanges.send({
        method,
        path: `${signed.path}${query === '' ? '' : `?${query}`}`,
        headers: { ...headers, ...signedHeaders(signed, headers, payload, this.#signing), host: this.#host },
        body: body?.content ?? (bytes && inMemory([bytes], bytes.length)),
        signal,
      });
    } catch (error) {
      // The error of a content is its own.
      if (signal?.aborted || error instanceof ContentError) throw error;
      throw lost(error, this.where);
    }
  }

  async #read(answer: IncomingMessage): Promise<Told> {
    const parts: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of this.chunks(answer)) {
        length += chunk.length;
        if (length > longestAnswer) throw new Error('the answer is too long');
        parts.push(chunk);
      }
    } catch (error) {
      throw lost(error, this.where);
    }
    return { status: answer.statusCode!, headers: answer.headers, text: Buffer.concat(parts).toString() };
  }

  #accepted(call: Call, told: Told): Told {
    this.#noteClock(told);
    // Completing answers 200 before it is known how that ends.
    const isFailure = told.status === 200 && codeOf(told.text) !== '';
    if (isExpected(call, told.status) && !isFailure) return told;
    const isWrite = call.method !== 'GET' && call.method !== 'HEAD';
    throw refusal(isFailure ? { ...told, status: 500 } : told, this.where, isWrite);
  }

  /** A store whose clock differs refuses what is signed with ours. */
  #noteClock({ headers, text }: { readonly headers: IncomingHttpHeaders; readonly text: string }): void {
    if (!text.includes('RequestTimeTooSkewed')) return;
    const theirs = Date.parse(headers.date ?? '');
    if (Number.isNaN(theirs)) return;
    const skew = theirs - this.#now;
    if (Math.abs(skew - this.#skew) > skewWorthAWord)
      this.#options.warn?.(
        `${this.where}: its clock is ${Math.abs(Math.round(skew / 1000))} seconds ${skew > 0 ? 'ahead of' : 'behind'} the one of this machine; correct the wrong one`,
        undefined,
      );
    this.#skew = skew;
  }

  get #now(): number {
    return (this.#options.now ?? Date.now)();
  }

  get #signing(): Signing {
    const { credentials, region } = this.#options;
    return { credentials, region, now: this.#now + this.#skew };
  }

  #signed({ method, key, query = {} }: Pick<Call, 'method' | 'key' | 'query'>): Signed {
    const path = encodePath(`${this.#base}/${key ?? ''}`);
    return { method, host: this.#host, path, query };
  }
}

/** Wraps the error of a content that is being sent. */
export class ContentError extends Error {
  override readonly name = 'ContentError';
}

const isExpected = ({ expected = [] }: Call, status: number): boolean =>
  (status >= 200 && status < 300) || expected.includes(status);

const isSkewed = (error: unknown): boolean =>
  error instanceof StorageError && error.message.includes('RequestTimeTooSkewed');
