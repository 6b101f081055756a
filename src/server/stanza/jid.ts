/**
 * RFC 7622: XMPP addresses. A `Jid` is valid and normalised from the moment it exists: the localpart by the
 * UsernameCaseMapped profile, the domainpart as an IDN, the resourcepart by OpaqueString (see precis.ts).
 */
import { prepareDomain, prepareLocal, prepareResource } from './precis.js';

/** The text is no XMPP address. Answered `jid-malformed` where a peer sent it. */
export class JidError extends Error {
  override readonly name = 'JidError';
}

export class Jid {
  /** `local@domain`, or `domain` alone: the key of an account, room or host. */
  readonly bare: string;
  /** The whole address as it goes on the wire; equals `bare` where there is no resource. */
  readonly full: string;

  private constructor(
    readonly local: string | undefined,
    readonly domain: string,
    readonly resource: string | undefined,
  ) {
    this.bare = local === undefined ? domain : `${local}@${domain}`;
    this.full = resource === undefined ? this.bare : `${this.bare}/${resource}`;
  }

  /** Parses and normalises; the same text gives the same object while it is in the (bounded) cache. Throws JidError. */
  static parse(text: string): Jid {
    const at = text.indexOf('/');
    const bare = at < 0 ? text : text.slice(0, at);
    const sign = bare.indexOf('@');
    return Jid.of(
      sign < 0 ? undefined : bare.slice(0, sign),
      sign < 0 ? bare : bare.slice(sign + 1),
      at < 0 ? undefined : text.slice(at + 1),
    );
  }

  /** As `parse`, but undefined for what is no address. */
  static tryParse(text: string): Jid | undefined {
    try {
      return Jid.parse(text);
    } catch {
      return undefined;
    }
  }

  /** From parts not yet normalised. Throws JidError. */
  static of(local: string | undefined, domain: string, resource?: string): Jid {
    return new Jid(
      local === undefined ? undefined : prepareLocal(local),
      prepareDomain(domain),
      resource === undefined ? undefined : prepareResource(resource),
    );
  }

  get isBare(): boolean {
    return this.resource === undefined;
  }

  /** The address without its resource. */
  toBare(): Jid {
    return this.resource === undefined ? this : new Jid(this.local, this.domain, undefined);
  }

  /** The address of one resource of this account or room. Throws JidError. */
  withResource(resource: string): Jid {
    return new Jid(this.local, this.domain, prepareResource(resource));
  }

  equals(other: Jid | undefined): boolean {
    return other !== undefined && this.full === other.full;
  }

  /** Same account, room or host, whatever the resource. */
  sameBare(other: Jid | undefined): boolean {
    return other !== undefined && this.bare === other.bare;
  }

  toString(): string {
    return this.full;
  }
}
