/**
 * RFC 7622: XMPP addresses. A `Jid` is always valid and normalised: the localpart by UsernameCaseMapped, the
 * resourcepart by OpaqueString (precis.ts), the domainpart as an IDN (domain.ts).
 */
import { prepareDomain } from './domain.js';
import { flat } from './flat.js';
import { MAX_UNITS, PrecisError, prepareLocal, prepareResource } from './precis.js';

/** Maximum UTF-16 units of an address: three parts and two separators. */
const MAX_TEXT = 3 * MAX_UNITS + 2;

/** The text is not an XMPP address. Answered with `jid-malformed` if a peer sent it. */
export class JidError extends Error {
  override readonly name = 'JidError';
}

export class Jid {
  private constructor(
    /** The whole address as it is sent; equals `bare` if there is no resource. */
    readonly full: string,
    /** `local@domain` or `domain`: the key of an account, room or host. */
    readonly bare: string,
    readonly local: string | undefined,
    readonly domain: string,
    readonly resource: string | undefined,
    private readonly owner: Jid | undefined,
  ) {}

  /**
   * Parses and normalises. Returns the same object for the same text while it is in the (bounded) cache. Throws
   * JidError.
   */
  static parse(text: string): Jid {
    return recall(text) ?? Jid.#parse(text);
  }

  /** Like `parse`, but returns undefined for an invalid address. */
  static tryParse(text: string): Jid | undefined {
    try {
      return Jid.parse(text);
    } catch (error) {
      if (error instanceof JidError) return undefined;
      throw error;
    }
  }

  /** Builds an address from parts that are not normalised. Throws JidError. */
  static of(local: string | undefined, domain: string, resource?: string): Jid {
    const owner = Jid.#bare(
      local === undefined ? undefined : prepared('localpart', prepareLocal, local),
      prepared('domainpart', prepareDomain, domain),
    );
    return resource === undefined ? owner : owner.withResource(resource);
  }

  get isBare(): boolean {
    return this.resource === undefined;
  }

  /**
   * Returns the address without its resource: the same object for all resources, while it is cached or one of them
   * exists.
   */
  toBare(): Jid {
    return this.owner ?? this;
  }

  /** Returns the address of a resource of this account or room. Throws JidError. */
  withResource(resource: string): Jid {
    return Jid.#full(this.toBare(), prepared('resourcepart', prepareResource, resource));
  }

  equals(other: Jid | undefined): boolean {
    return other !== undefined && (this === other || this.full === other.full);
  }

  /** Whether the account, room or host is the same, whatever the resource. */
  sameBare(other: Jid | undefined): boolean {
    return other !== undefined && this.bare === other.bare;
  }

  toString(): string {
    return this.full;
  }

  /** RFC 7622 §3.2: the resource follows the first slash, the localpart precedes the first at sign. */
  static #parse(text: string): Jid {
    if (text.length > MAX_TEXT) throw new JidError('malformed address: too long');
    const slash = text.indexOf('/');
    if (slash < 0) return Jid.#parseBare(text);
    const bareText = text.slice(0, slash);
    const owner = recall(bareText) ?? Jid.#parseBare(bareText);
    const resourceText = text.slice(slash + 1);
    const resource = prepared('resourcepart', prepareResource, resourceText);
    if (resource === resourceText && owner.full === bareText) return Jid.#makeFull(owner, text);
    const jid = Jid.#full(owner, resource);
    remember(text, jid);
    return jid;
  }

  static #parseBare(text: string): Jid {
    const sign = text.indexOf('@');
    const localText = sign < 0 ? undefined : text.slice(0, sign);
    const domainText = sign < 0 ? text : text.slice(sign + 1);
    const local = localText === undefined ? undefined : prepared('localpart', prepareLocal, localText);
    const domain = prepared('domainpart', prepareDomain, domainText);
    if (local === localText && domain === domainText) return Jid.#makeBare(text, sign);
    const jid = Jid.#bare(local, domain);
    remember(text, jid);
    return jid;
  }

  /** Returns the cached address of normalised parts, or makes it. */
  static #bare(local: string | undefined, domain: string): Jid {
    const text = local === undefined ? domain : `${local}@${domain}`;
    return recall(text) ?? Jid.#makeBare(text, local === undefined ? -1 : local.length);
  }

  static #full(owner: Jid, resource: string): Jid {
    const text = `${owner.full}/${resource}`;
    return recall(text) ?? Jid.#makeFull(owner, text);
  }

  /** Makes the address of a normalised text that is not cached; the at sign is at `sign`. */
  static #makeBare(text: string, sign: number): Jid {
    const full = flat(text);
    const local = sign < 0 ? undefined : full.slice(0, sign);
    // One string for all addresses of the domain: equal ones are compared without looking at their characters.
    const domain = sign < 0 ? full : Jid.#bare(undefined, full.slice(sign + 1)).domain;
    const jid = new Jid(full, full, local, domain, undefined, undefined);
    remember(full, jid);
    return jid;
  }

  static #makeFull(owner: Jid, text: string): Jid {
    const full = flat(text);
    const jid = new Jid(full, owner.full, owner.local, owner.domain, full.slice(owner.full.length + 1), owner);
    remember(full, jid);
    return jid;
  }
}

function prepared(part: string, prepare: (text: string) => string, text: string): string {
  try {
    return prepare(text);
  } catch (error) {
    if (error instanceof PrecisError) throw new JidError(`malformed ${part}: ${error.message}`);
    throw error;
  }
}

/**
 * The cache, in two generations: a full young generation becomes the old one, and an entry used again moves back.
 * Longer addresses are rare and not cached.
 */
const GENERATION = 5_000;
const MAX_CACHED = 256;
let young = new Map<string, Jid>();
let old = new Map<string, Jid>();

function recall(text: string): Jid | undefined {
  const jid = young.get(text);
  if (jid !== undefined) return jid;
  const aged = old.get(text);
  if (aged !== undefined) remember(text, aged);
  return aged;
}

function remember(text: string, jid: Jid): void {
  if (text.length > MAX_CACHED) return;
  if (young.size >= GENERATION) {
    old = young;
    young = new Map();
  }
  young.set(text === jid.full ? jid.full : flat(text), jid);
}
