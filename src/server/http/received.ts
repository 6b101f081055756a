/** A request as its handler sees it. What few handlers use is made when it is first read. */
import type { IncomingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import type { HttpMethod, HttpRequest } from '../module/http.js';
import { type Incoming, isComplete, type Outgoing, sinkOf } from './message.js';
import { authorityOf, queryOf } from './target.js';

export interface RequestParts {
  readonly path: string;
  readonly rest: string;
  readonly address: string;
  readonly secure: boolean;
  readonly body: Buffer;
  /** The body that is still to be read, if the handler reads it. */
  readonly unread: Readable | undefined;
}

export class ReceivedRequest implements HttpRequest {
  readonly path: string;
  readonly rest: string;
  readonly address: string;
  readonly secure: boolean;
  readonly body: Buffer;
  readonly #request: Incoming;
  readonly #response: Outgoing;
  readonly #unread: Readable | undefined;
  #stream: Readable | undefined;
  #query: URLSearchParams | undefined;
  #gone: AbortController | undefined;

  constructor(request: Incoming, response: Outgoing, { path, rest, address, secure, body, unread }: RequestParts) {
    this.#request = request;
    this.#response = response;
    this.path = path;
    this.rest = rest;
    this.address = address;
    this.secure = secure;
    this.body = body;
    this.#unread = unread;
  }

  get method(): HttpMethod {
    return this.#request.method as HttpMethod;
  }

  get headers(): IncomingHttpHeaders {
    return this.#request.headers;
  }

  get host(): string {
    return authorityOf(this.#request);
  }

  get query(): URLSearchParams {
    this.#query ??= queryOf(this.#request);
    return this.#query;
  }

  get length(): number | undefined {
    const { 'content-length': length, 'transfer-encoding': encoding } = this.#request.headers;
    if (length !== undefined) return Number(length);
    return encoding === undefined && this.#unread === undefined ? 0 : undefined;
  }

  get stream(): Readable {
    this.#stream ??= this.#unread ?? Readable.from([]);
    return this.#stream;
  }

  get gone(): AbortSignal {
    if (this.#gone === undefined) {
      const controller = new AbortController();
      this.#gone = controller;
      const sink = sinkOf(this.#response);
      if (sink.destroyed) controller.abort();
      else
        sink.once('close', () => {
          if (!isComplete(this.#response)) controller.abort();
        });
    }
    return this.#gone.signal;
  }
}
