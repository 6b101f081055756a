/** The metrics over HTTP, for authorised readers. To others the path does not exist. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { BlockList } from 'node:net';
import { isIn, networks } from '../config/address.js';
import type { Config } from '../config/schema.js';
import { accessAddress } from '../forwarded.js';
import type { HttpAnswer } from '../module/http.js';
import type { Incoming } from './message.js';

interface MetricsPageParts {
  readonly config: () => Config;
  readonly proxies: () => { readonly protocol: BlockList; readonly forwarded: BlockList };
  text(): Promise<{ readonly type: string; readonly text: string }>;
}

export class MetricsPage {
  readonly #parts: MetricsPageParts;
  /** Derived from the configuration, and recomputed when it changes. */
  #readers: { readonly from: readonly string[]; readonly networks: BlockList } | undefined;

  constructor(parts: MetricsPageParts) {
    this.#parts = parts;
  }

  /** Returns undefined for other requests and for unauthorised clients. */
  answer(request: Incoming, path: string): Promise<HttpAnswer> | undefined {
    const { metrics } = this.#parts.config();
    const isAsked = metrics.enabled && path === metrics.path && request.method === 'GET';
    if (!isAsked || !this.#mayRead(request)) return undefined;
    return this.#parts.text().then(({ type, text }) => ({ headers: { 'content-type': type }, body: text }));
  }

  #mayRead(request: Incoming): boolean {
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
