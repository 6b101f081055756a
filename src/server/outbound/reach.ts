/**
 * Which addresses that others have named may be connected to. Private addresses and those of this machine are refused when
 * a connection is opened, whatever DNS has said before.
 */
import { Resolver } from 'node:dns';
import { type BlockList, isIP, type LookupFunction } from 'node:net';
import { isReachable } from '../config/reachable.js';

export interface ReachParts {
  /** Private addresses that are allowed nevertheless. */
  allowed(): BlockList;
  /** DNS servers; those of the system if there are none. */
  readonly dns: readonly string[];
}

/** The address may not be used: it never will be. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

const dnsMs = 2000;
const dnsTries = 2;

export class Reach {
  readonly #parts: ReachParts;
  readonly #resolver = new Resolver({ timeout: dnsMs, tries: dnsTries });

  constructor(parts: ReachParts) {
    this.#parts = parts;
    if (parts.dns.length > 0) this.#resolver.setServers(parts.dns);
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

  /** For sockets: the addresses of a name that may be used. */
  readonly lookup: LookupFunction = (name, options, callback) => {
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

  close(): void {
    this.#resolver.cancel();
  }

  #isAllowed(address: string): boolean {
    return isReachable(this.#parts.allowed())(address);
  }

  /** Rejects if the name has no addresses. */
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
