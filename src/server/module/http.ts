/** What modules answer over HTTP, on the ports of `listen.http` and `listen.https`. */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import type { Maybe } from '../maybe.js';

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS';

export interface HttpRequest {
  readonly method: HttpMethod;
  /** As it was sent, without the query: nothing is decoded. */
  readonly path: string;
  /** What follows the hook's path: empty, or `/` and more (`HttpOptions.below`). */
  readonly rest: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** All of it; empty where there is none. */
  readonly body: Buffer;
  /** IP address of the client, as far as trusted proxies tell. */
  readonly address: string;
  /** What it sends is encrypted on the way. */
  readonly secure: boolean;
}

export interface HttpAnswer {
  /** Default: 200, or 204 without a body. */
  readonly status?: number | undefined;
  /** Without `content-type` the body is plain text. */
  readonly headers?: OutgoingHttpHeaders | undefined;
  readonly body?: string | Buffer | undefined;
}

/** What fails is logged, and answered with 500. */
export type HttpHandler = (request: HttpRequest) => Maybe<HttpAnswer>;

export interface HttpOptions {
  /** Most bytes of a body; a longer one is answered with 413. Default: 65,536. */
  readonly body?: number | undefined;
  /** It answers for all paths below its own too that have no hook of their own. */
  readonly below?: boolean | undefined;
}
