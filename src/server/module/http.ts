/** HTTP handlers of modules, on the ports of `listen.http` and `listen.https`. */
import { type IncomingHttpHeaders, type OutgoingHttpHeaders, STATUS_CODES } from 'node:http';
import type { Readable } from 'node:stream';
import type { Maybe } from '../maybe.js';

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS';

export interface HttpRequest {
  readonly method: HttpMethod;
  /** As sent, without the query; not decoded. */
  readonly path: string;
  /** The path after that of the hook: empty, or beginning with `/` (`HttpOptions.below`). */
  readonly rest: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** The requested host name in lower case, without the port. Anybody can send any name. Empty if there is none. */
  readonly host: string;
  /** The whole body; empty if there is none, and with `body: 'stream'`. */
  readonly body: Buffer;
  /**
   * With `body: 'stream'`, the body as it arrives; otherwise empty. It fails if the client disconnects or is too slow,
   * and stops reading the connection while nobody reads it. What is left when the request is answered is not read.
   */
  readonly stream: Readable;
  /** The announced length of the body, which Node enforces. Undefined if it is not known beforehand (chunked). */
  readonly length: number | undefined;
  /** IP address of the client, as given by trusted proxies. */
  readonly address: string;
  /** Whether the client's connection is encrypted. */
  readonly secure: boolean;
  /** Aborts when the client disconnects before the answer is complete. */
  readonly gone: AbortSignal;
}

export interface HttpAnswer {
  /** Default: 200, or 204 without a body. */
  readonly status?: number | undefined;
  /**
   * Without `content-type` the body is plain text. Each answer gets the security headers of `http/security.ts`; a
   * header of the same name here replaces the default, such as a `content-security-policy` that lets scripts run.
   */
  readonly headers?: OutgoingHttpHeaders | undefined;
  /** A stream is sent at the pace of the client, and destroyed if the client disconnects. */
  readonly body?: string | Uint8Array | Readable | undefined;
}

/** Throw HttpError for an error of the client. Any other error is logged and answered with 500. */
export type HttpHandler = (request: HttpRequest) => Maybe<HttpAnswer>;

/** Which pages of other origins may use a path (https://fetch.spec.whatwg.org). Credentials are never allowed. */
export interface HttpCors {
  /** '*', or the allowed origins; a list that contains '*' allows all. */
  readonly origins: '*' | (() => readonly string[]);
  /** Request headers that pages may set beside the simple ones: `['Authorization', 'Content-Type']`. */
  readonly headers?: readonly string[] | undefined;
  /** Response headers that pages may read beside the simple ones. */
  readonly exposed?: readonly string[] | undefined;
}

export interface HttpOptions {
  /**
   * Maximum bytes of a body; a longer one is answered with 413. Default: 65,536. 'stream': the handler reads
   * `request.stream` itself, and limits its length.
   */
  readonly body?: number | 'stream' | undefined;
  /** Whether it also serves all paths below its own that have no hook. */
  readonly below?: boolean | undefined;
  /** The router answers preflight requests and adds the headers to all answers of the path, also to errors. */
  readonly cors?: HttpCors | undefined;
}

export interface HttpErrorOptions {
  /** A short summary of the kind of error. Default: the reason phrase of the status. */
  readonly title?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly cause?: unknown;
}

/**
 * A handler throws it to refuse a request. It is answered by a page for people, or by problem details for programs
 * (RFC 9457), as the Accept header prefers. It is not logged.
 */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: number;
  readonly title: string;
  /** What is wrong with this request, and what to do. */
  readonly detail: string | undefined;
  readonly headers: OutgoingHttpHeaders;

  constructor(status: number, detail?: string, { title, headers = {}, cause }: HttpErrorOptions = {}) {
    const summary = title ?? STATUS_CODES[status] ?? 'Error';
    super(detail ?? summary, { cause });
    this.status = status;
    this.title = summary;
    this.detail = detail;
    this.headers = headers;
  }
}
