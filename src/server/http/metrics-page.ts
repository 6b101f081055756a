/** The metrics over HTTP, for authorised readers. To others the path does not exist. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BlockList } from 'node:net';
import { isIn, networks } from '../config/address.js';
import type { Config } from '../config/schema.js';
import { accessAddress } from '../forwarded.js';
import { pathOf } from './target.js';

interface MetricsPageParts {
  readonly config: () => Config;
  readonly proxies: () => { readonly protocol: BlockList; readonly forwarded: BlockList };
  text(): Promise<{ readonly type: string; readonly text: string }>;
  failed(error: unknown): void;
}

export class MetricsPage {
  readonly #parts: MetricsPageParts;
  /** Derived from the configuration, and recomputed when it changes. */
  #readers: { readonly from: readonly string[]; readonly networks: BlockList } | undefined;

  constructor(parts: MetricsPageParts) {
    this.#parts = parts;
  }

  /** Answers a request for the metrics. Returns false for other requests and for unauthorised clients. */
  answer(request: IncomingMessage, response: ServerResponse): boolean {
    const { metrics } = this.#parts.config();
    const isAsked = metrics.enabled && pathOf(request) === metrics.path && request.method === 'GET';
    if (!isAsked || !this.#mayRead(request)) return false;
    this.#parts.text().then(
      ({ type, text }) => response.writeHead(200, { 'content-type': type }).end(text),
      (error: unknown) => {
        this.#parts.failed(error);
        response.writeHead(500).end();
      },
    );
    return true;
  }

  #mayRead(request: IncomingMessage): boolean {
    const { token, allow_from } = this.#parts.config().metrics;
    const [, shown] = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '') ?? [];
    if (token !== '' && shown !== undefined) {
      const digest = (text: string) => createHash('sha256').update(text).digest();
      return timingSafeEqual(digest(shown), digest(token));
    }
    if (this.#readers?.from !== allow_from) this.#readers = { from: allow_from, networks: networks(allow_from) };
    const address = accessAddress(request, this.#parts.proxies());
    return address !== undefined && isIn(this.#readers.networks, address);
  }
}
