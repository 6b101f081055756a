/**
 * XEP-0480: a client that proved the password sends the SaltedPassword for another hash, so that the account gets keys
 * for it. The XML of the task (`<salt/>`, `<hash/>`) is in login.ts.
 */
import { randomBytes } from 'node:crypto';
import type { Accounts } from '../../accounts/index.js';
import { hashLength, keysOf, type ScramHash, saltLength, scramHashes } from '../../accounts/keys.js';
import { type Identity, SaslError } from './mechanism.js';

export const upgradeTask = (hash: ScramHash): string => `UPGR-SCRAM-${hash}`;

/** A pending task: send the salt and iterations, then call `finish` with the client's answer. */
export interface Upgrade {
  readonly task: string;
  readonly salt: Buffer;
  readonly iterations: number;
  /** Takes the SaltedPassword. Resolves once the keys are stored; rejects with SaslError. */
  finish(salted: Buffer): Promise<void>;
}

/**
 * The requested tasks whose keys the account lacks. Empty unless the password itself was proved: with a token or a
 * certificate, a client could set another password.
 */
export async function dueUpgrades(
  identity: Identity,
  requested: readonly string[],
  accounts: Accounts,
): Promise<Upgrade[]> {
  if (!identity.byPassword) return [];
  const due: Upgrade[] = [];
  for (const hash of scramHashes) {
    if (!requested.includes(upgradeTask(hash))) continue;
    if (await accounts.lacksKeys(identity.jid.bare, hash)) due.push(upgrade(identity, hash, accounts));
  }
  return due;
}

function upgrade(identity: Identity, hash: ScramHash, accounts: Accounts): Upgrade {
  const salt = randomBytes(saltLength);
  const { iterations } = accounts;
  return {
    task: upgradeTask(hash),
    salt,
    iterations,
    finish: async (salted) => {
      if (salted.length !== hashLength(hash)) throw new SaslError('malformed-request', 'wrong hash length');
      const keys = { [hash]: keysOf(hash, salted, salt, iterations) };
      const added = identity.epoch !== undefined && (await accounts.addKeys(identity.jid.bare, identity.epoch, keys));
      if (!added) throw new SaslError('credentials-expired', 'the password was changed in the meantime');
    },
  };
}
