/**
 * XEP-0480: a client that proved the password gives the SaltedPassword for another hash, so that the account gets keys
 * for it. The XML of the task (`<salt/>`, `<hash/>`) is the stream's.
 */
import { randomBytes } from 'node:crypto';
import type { Accounts } from '../../accounts/index.js';
import { hashLength, keysOf, type ScramHash, saltLength, scramHashes } from '../../accounts/keys.js';
import { type Identity, SaslError } from './mechanism.js';

export const upgradeTask = (hash: ScramHash): string => `UPGR-SCRAM-${hash}`;

/** One task under way: send the salt and the iterations, then give `finish` what the client answers. */
export interface Upgrade {
  readonly task: string;
  readonly salt: Buffer;
  readonly iterations: number;
  /** Takes the SaltedPassword. Stored when it resolves; rejects with SaslError. */
  finish(salted: Buffer): Promise<void>;
}

/**
 * The tasks to do, of those that the client asked for, after its authentication; none where nothing is lacking. Only who proved
 * the password itself may: with a token or a certificate one could give the account another password.
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
      if (salted.length !== hashLength(hash)) throw new SaslError('malformed-request', 'not a hash of that kind');
      const keys = { [hash]: keysOf(hash, salted, salt, iterations) };
      const added = identity.epoch !== undefined && (await accounts.addKeys(identity.jid.bare, identity.epoch, keys));
      if (!added) throw new SaslError('credentials-expired', 'the password was changed meanwhile');
    },
  };
}
