/** Which mechanisms a stream is offered, and in which order: the configuration's list, less what cannot be had. */

import type { ScramHash } from '../../accounts/keys.js';
import { anonymous } from './anonymous.js';
import { certifiedAccounts, external } from './external.js';
import { type FastMechanism, fast, fastBinding, fastMechanisms } from './fast.js';
import type { ChannelBindingType, ClientCertificate, Mechanism } from './mechanism.js';
import { plain } from './plain.js';
import { scram } from './scram.js';
import { upgradeTask } from './upgrade.js';

const mechanisms = {
  EXTERNAL: external,
  'SCRAM-SHA-512-PLUS': scram('SHA-512', { plus: true }),
  'SCRAM-SHA-256-PLUS': scram('SHA-256', { plus: true }),
  'SCRAM-SHA-1-PLUS': scram('SHA-1', { plus: true }),
  'SCRAM-SHA-512': scram('SHA-512', { plus: false }),
  'SCRAM-SHA-256': scram('SHA-256', { plus: false }),
  'SCRAM-SHA-1': scram('SHA-1', { plus: false }),
  PLAIN: plain({ insecure: false }),
  ANONYMOUS: anonymous,
} as const satisfies Record<string, Mechanism>;

export type MechanismName = keyof typeof mechanisms;

/** All that there are, the strongest first. */
export const mechanismNames = Object.keys(mechanisms) as MechanismName[];

/** Without PLAIN (XEP-0388 §3: only where it is asked for) and ANONYMOUS (XEP-0175 §3). */
export const defaultMechanisms: readonly MechanismName[] = mechanismNames.filter(
  (name) => name !== 'PLAIN' && name !== 'ANONYMOUS',
);

export interface SaslPolicy {
  /** What may be offered, the preferred first. */
  readonly mechanisms: readonly MechanismName[];
  readonly channelBindings: readonly ChannelBindingType[];
  /** PLAIN also where somebody may listen. */
  readonly plainWithoutTls: boolean;
  /** XEP-0484; empty: no tokens. */
  readonly fast: readonly FastMechanism[];
}

export const defaultPolicy: SaslPolicy = {
  mechanisms: defaultMechanisms,
  channelBindings: ['tls-exporter', 'tls-server-end-point'],
  plainWithoutTls: false,
  fast: fastMechanisms,
};

export interface StreamAbilities {
  readonly host: string;
  readonly secure: boolean;
  /** The bindings that can be had. */
  readonly channelBindingTypes: readonly ChannelBindingType[];
  readonly clientCertificate?: ClientCertificate | undefined;
  /**
   * The hashes for which accounts have keys (Accounts.hashes). The keys of the account in `from` would fit better
   * where accounts came from another server, and tell that the account is there.
   */
  readonly hashes: readonly ScramHash[];
}

/** What to announce; also what SaslContext wants to know. */
export interface Offer {
  readonly mechanisms: readonly MechanismName[];
  /** XEP-0440: to be announced, unless there are none. */
  readonly channelBindingTypes: readonly ChannelBindingType[];
  /** XEP-0484 §3.1: for `<fast/>` in SASL2. */
  readonly fast: readonly FastMechanism[];
  /** XEP-0480 §2.1: the upgrade tasks for SASL2. */
  readonly upgrades: readonly string[];
}

export function offer(policy: SaslPolicy, stream: StreamAbilities): Offer {
  const types = policy.channelBindings.filter((type) => stream.channelBindingTypes.includes(type));
  const names = policy.mechanisms.filter((name) => {
    if (name === 'EXTERNAL') return certifiedAccounts(stream.clientCertificate, stream.host).length > 0;
    if (name === 'PLAIN') return stream.secure || policy.plainWithoutTls;
    if (name === 'ANONYMOUS') return true;
    if (name.endsWith('-PLUS') && types.length === 0) return false;
    return stream.hashes.some((hash) => name === `SCRAM-${hash}` || name === `SCRAM-${hash}-PLUS`);
  });
  return {
    mechanisms: names,
    // XEP-0440 §3, rule 5: a client that finds types and no -PLUS mechanism takes it for an attack.
    channelBindingTypes: names.some((name) => name.endsWith('-PLUS')) ? types : [],
    fast: stream.secure
      ? policy.fast.filter((name) => {
          const type = fastBinding(name);
          return type === undefined || types.includes(type);
        })
      : [],
    upgrades: stream.hashes.filter((hash) => names.includes(`SCRAM-${hash}`)).map(upgradeTask),
  };
}

/** The mechanism of that name, if it was offered (RFC 6120 §6.5.7, XEP-0388 §2.3: else invalid-mechanism). */
export function offered(offer: Pick<Offer, 'mechanisms'>, name: string, policy: SaslPolicy): Mechanism | undefined {
  const known = offer.mechanisms.find((one) => one === name);
  if (known === undefined) return undefined;
  return known === 'PLAIN' && policy.plainWithoutTls ? plain({ insecure: true }) : mechanisms[known];
}

/** The HT mechanism of that name, if it was offered: for requests that have a `<fast/>`. */
export function offeredFast(offer: Pick<Offer, 'fast'>, name: string): Mechanism | undefined {
  const known = offer.fast.find((one) => one === name);
  return known === undefined ? undefined : fast(known);
}
