/** The mechanisms offered on a stream, in order: the configured ones that are available. */

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

/** All mechanisms, strongest first. */
export const mechanismNames = Object.keys(mechanisms) as MechanismName[];

/** Without PLAIN (XEP-0388 §3: only if configured) and ANONYMOUS (XEP-0175 §3). */
export const defaultMechanisms: readonly MechanismName[] = mechanismNames.filter(
  (name) => name !== 'PLAIN' && name !== 'ANONYMOUS',
);

export interface SaslPolicy {
  /** Mechanisms that may be offered, preferred first. */
  readonly mechanisms: readonly MechanismName[];
  readonly channelBindings: readonly ChannelBindingType[];
  /** PLAIN is allowed on unencrypted connections too. */
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

/** `wanted`: without -PLUS, which belongs to each SCRAM mechanism. */
export const policyOf = (wanted: readonly string[], plainWithoutTls: boolean): SaslPolicy => ({
  ...defaultPolicy,
  mechanisms: mechanismNames.filter((name) => wanted.includes(name.replace(/-PLUS$/, ''))),
  plainWithoutTls,
});

export interface StreamAbilities {
  readonly host: string;
  readonly secure: boolean;
  /** The available channel bindings. */
  readonly channelBindingTypes: readonly ChannelBindingType[];
  readonly clientCertificate?: ClientCertificate | undefined;
  /**
   * Hashes for which accounts have keys (Accounts.hashes). The keys of the account in `from` would be more precise for
   * accounts migrated from another server, but would reveal whether the account exists.
   */
  readonly hashes: readonly ScramHash[];
}

/** What is announced, and passed on in SaslContext. */
export interface Offer {
  readonly mechanisms: readonly MechanismName[];
  /** XEP-0440: announced unless empty. */
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
    // XEP-0440 §3, rule 5: clients treat types without any -PLUS mechanism as an attack.
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

/** The mechanism of that name. Returns undefined if it was not offered (RFC 6120 §6.5.7, XEP-0388 §2.3). */
export function offered(offer: Pick<Offer, 'mechanisms'>, name: string, policy: SaslPolicy): Mechanism | undefined {
  const known = offer.mechanisms.find((one) => one === name);
  if (known === undefined) return undefined;
  return known === 'PLAIN' && policy.plainWithoutTls ? plain({ insecure: true }) : mechanisms[known];
}

/** The HT mechanism of that name, for requests with `<fast/>`. Returns undefined if it was not offered. */
export function offeredFast(offer: Pick<Offer, 'fast'>, name: string): Mechanism | undefined {
  const known = offer.fast.find((one) => one === name);
  return known === undefined ? undefined : fast(known);
}
