/**
 * Which other servers there are streams with, and on what terms: the rules of the configuration (`hosts.NAME.s2s`,
 * `s2s.domains`), then the block lists of modules, then the defaults. Read on each use, so that a reload takes effect at
 * once.
 */
import { parentsOf } from '../../address/domain.js';
import type { DomainRule } from '../../config/s2s.js';
import type { Config } from '../../config/schema.js';
import { formatPath } from '../../config/shape.js';
import type { Share, Shares } from '../../limits/shares.js';
import type { LocalHost } from '../../routing/host.js';
import { StanzaError } from '../../stanza/errors.js';
import { increment } from '../counts.js';
import type { Allowance } from '../handler.js';

export interface PolicyParts {
  config(): Config;
  readonly shares: Shares;
  /** The host that a local domain belongs to. */
  host(domain: string): { readonly domain: string; readonly hooks: Pick<LocalHost['hooks'], 'serverGates'> };
}

type Rates = Config['limits']['rate_server'];
type RuleKey = keyof DomainRule;

/** A rule of a local host, or of all hosts (''). */
interface Place {
  readonly scope: string;
  readonly pattern: string;
}

/** The limits of an authenticated server. */
interface Terms {
  readonly allowance: Allowance;
  share(): Share;
}

/** For administrators. */
export interface PolicyFacts {
  readonly denied: boolean;
  readonly by: string;
  readonly requiresCertificate: boolean;
}

const rateKeys = ['stanzas_per_second', 'stanza_burst', 'bytes_per_second', 'byte_burst'] as const;
/** Terms by rule are cached up to this many; rules removed by reloads do not add up. */
const mostTerms = 1000;

/** The usual terms, without a rule. */
export const serverAllowance: Allowance = {
  rate: (limits) => limits.rate_server,
  elementBytes: ({ stanza_bytes, stanza_bytes_server }) => Math.max(stanza_bytes, stanza_bytes_server),
  isShared: true,
};

export const deniedText = 'This server has no connections to the domain of the recipient.';
/** RFC 6120 §8.3.3.10: what senders get for a stanza to a domain that is denied. */
export const denied = () => new StanzaError('not-allowed', deniedText);

export class Policy {
  readonly #parts: PolicyParts;
  readonly #terms = new Map<string, Terms>();
  /** By local domain: of hosts, and of services and components, which are never added later. */
  readonly #hosts = new Map<string, ReturnType<PolicyParts['host']>>();
  /** Streams refused by the policy or by a limit, by condition. */
  readonly refusals = { incoming: new Map<string, number>(), outgoing: new Map<string, number>() };

  constructor(parts: PolicyParts) {
    this.#parts = parts;
  }

  /** Counts a refusal. `condition`: of a stream or stanza error. */
  refused(direction: 'incoming' | 'outgoing', condition: string): void {
    increment(this.refusals[direction], condition);
  }

  #hostOf(local: string): ReturnType<PolicyParts['host']> {
    let host = this.#hosts.get(local);
    if (host === undefined) this.#hosts.set(local, (host = this.#parts.host(local)));
    return host;
  }

  /** Whether streams between a local domain and another server are denied. */
  denies(local: string, remote: string): boolean {
    const host = this.#hostOf(local);
    const policy = this.#setting(host.domain, remote, 'policy');
    if (policy !== undefined) return policy === 'deny';
    for (const isClosed of host.hooks.serverGates) if (isClosed(remote)) return true;
    const { hosts, s2s } = this.#parts.config();
    return (hosts[host.domain]?.s2s.policy ?? s2s.policy) === 'deny';
  }

  /** The policy for a domain and a host, with its source: a configuration key, or a block list. */
  explain(host: string, remote: string): PolicyFacts {
    const { hosts } = this.#parts.config();
    const isDenied = this.denies(host, remote);
    const place = this.#place(host, remote, (rule) => rule.policy !== undefined);
    const isListed = place === undefined && this.#hostOf(host).hooks.serverGates.some((isClosed) => isClosed(remote));
    const of = (scope: string) => (scope === '' ? ['s2s'] : ['hosts', scope, 's2s']);
    const own = hosts[host]?.s2s.policy === undefined ? '' : host;
    const key = place === undefined ? [...of(own), 'policy'] : [...of(place.scope), 'domains', place.pattern];
    return {
      denied: isDenied,
      by: isListed ? 'a block list' : formatPath(key),
      requiresCertificate: this.requiresCertificate(host, remote),
    };
  }

  /** Whether another server needs a valid certificate for its domain. */
  requiresCertificate(local: string, remote: string): boolean {
    const { domain } = this.#hostOf(local);
    return (
      this.#setting(domain, remote, 'require_valid_certificate') ?? this.#parts.config().s2s.require_valid_certificate
    );
  }

  /** Whether modules have block lists for the host of a domain: these change without a reload. */
  hasLists(local: string): boolean {
    return this.#hostOf(local).hooks.serverGates.length > 0;
  }

  terms(local: string, remote: string): Terms {
    const { domain } = this.#hostOf(local);
    const rated = this.#place(domain, remote, (rule) => rateKeys.some((key) => rule[key] !== undefined));
    const sized = this.#place(domain, remote, (rule) => rule.stanza_bytes !== undefined);
    if (rated === undefined && sized === undefined)
      return { allowance: serverAllowance, share: () => this.#parts.shares.ofServer(remote) };
    // Domains that share a rule share its rates.
    const name = rated === undefined ? remote : `${rated.scope} ${rated.pattern}`;
    const key = `${name} ${sized?.scope} ${sized?.pattern}`;
    const known = this.#terms.get(key);
    if (known !== undefined) return known;
    if (this.#terms.size >= mostTerms) this.#terms.clear();
    const rates = this.#ratesOf(rated);
    const made: Terms = {
      allowance: {
        rate: rates,
        elementBytes: (limits) => (sized && this.#ruleAt(sized)?.stanza_bytes) ?? serverAllowance.elementBytes(limits),
        isShared: true,
      },
      share: () => this.#parts.shares.ofServer(name, rates),
    };
    this.#terms.set(key, made);
    return made;
  }

  /** The rates of a rule, as the configuration has them now. */
  #ratesOf(place: Place | undefined): () => Rates {
    let config: Config | undefined;
    let rates: Rates;
    return () => {
      if (config !== this.#parts.config()) {
        config = this.#parts.config();
        const rule = place && this.#ruleAt(place);
        const own = rateKeys.flatMap((key) => (rule?.[key] === undefined ? [] : [[key, rule[key]] as const]));
        rates = { ...config.limits.rate_server, ...Object.fromEntries(own) };
      }
      return rates;
    };
  }

  #rules(scope: string): Readonly<Record<string, DomainRule>> {
    const { hosts, s2s } = this.#parts.config();
    return (scope === '' ? s2s.domains : hosts[scope]?.s2s.domains) ?? {};
  }

  #ruleAt({ scope, pattern }: Place): DomainRule | undefined {
    const rules = this.#rules(scope);
    return Object.hasOwn(rules, pattern) ? rules[pattern] : undefined;
  }

  #setting<K extends RuleKey>(host: string, remote: string, key: K): DomainRule[K] {
    const place = this.#place(host, remote, (rule) => rule[key] !== undefined);
    return place && this.#ruleAt(place)?.[key];
  }

  /** The most specific rule that decides; the host's own come first. */
  #place(host: string, remote: string, decides: (rule: DomainRule) => boolean): Place | undefined {
    for (const scope of [host, '']) {
      const rules = this.#rules(scope);
      if (isEmpty(rules)) continue;
      for (const pattern of patternsOf(remote))
        if (Object.hasOwn(rules, pattern) && decides(rules[pattern]!)) return { scope, pattern };
    }
    return undefined;
  }
}

function isEmpty(table: object): boolean {
  for (const _ in table) return false;
  return true;
}

/** The patterns that cover a domain, the most specific first. */
export function* patternsOf(domain: string): Generator<string, void> {
  yield domain;
  for (const parent of parentsOf(domain)) {
    yield `*.${parent}`;
    yield parent;
  }
}
