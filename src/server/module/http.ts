/** HTTP handlers of modules, on the ports of `listen.http` and `listen.https`. */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
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
  /** The whole body; empty if there is none. */
  readonly body: Buffer;
  /** IP address of the client, as given by trusted proxies. */
  readonly address: string;
  /** Whether the client's connection is encrypted. */
  readonly secure: boolean;
}

export interface HttpAnswer {
  /** Default: 200, or 204 without a body. */
  readonly status?: number | undefined;
  /** Without `content-type` the body is plain text. */
  readonly headers?: OutgoingHttpHeaders | undefined;
  readonly body?: string | Buffer | undefined;
}

/** A thrown error is logged and answered with 500. */
export type HttpHandler = (request: HttpRequest) => Maybe<HttpAnswer>;

export interface HttpOptions {
  /** Maximum bytes of a body; a longer one is answered with 413. Default: 65,536. */
  readonly body?: number | undefined;
  /** Whether it also serves all paths below its own that have no hook. */
  readonly below?: boolean | undefined;
}
