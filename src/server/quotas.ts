/** Storage quotas of accounts and rooms (`limits.account_bytes` and others), with exceptions by role and by account. */
import { z } from 'zod';
import type { DocumentStore } from '../storage/contract.js';
import type { Kind, Quota, QuotaRules } from '../storage/usage.js';
import type { Accounts } from './accounts/index.js';
import { Jid } from './address/jid.js';
import type { Config } from './config/schema.js';
import { coreStores } from './core-stores.js';
import { Rates } from './limits/rates.js';
import type { LocalHost } from './routing/host.js';
import { Stanza } from './stanza/stanza.js';
import { el } from './xml/element.js';

/** An account's own quotas, instead of the configured ones; null: no limit. */
export const storedQuota = z.object({
  archive: z.number().int().nonnegative().nullable().optional(),
  data: z.number().int().nonnegative().nullable().optional(),
});
export type StoredQuota = z.output<typeof storedQuota>;

/** In JSON, no limit is null. */
const bytes = z
  .number()
  .nullable()
  .transform((given) => given ?? Number.POSITIVE_INFINITY);
const amounts = z.object({ archive: bytes, data: bytes });
/** The count of an account or room that moves to another node. */
export const movedCount = z.object({ added: amounts, measured: amounts.optional(), quota: amounts });

export interface QuotaParts {
  readonly config: () => Config;
  readonly accounts: () => Accounts;
  readonly exceptions: () => DocumentStore<StoredQuota>;
  limitHit(limit: string): void;
  /** An account or room is near its quota. Called at most once a day. */
  warn(owner: string, used: number, quota: number): void;
  failed(error: unknown): void;
}

const day = 86_400_000;
const unlimited: Quota = { archive: Number.POSITIVE_INFINITY, data: Number.POSITIVE_INFINITY };

/** The server's own stores: clients cannot fill them at will, and a login must not fail. */
const exempt = new Set(coreStores);

export function quotaRules(parts: QuotaParts): QuotaRules {
  const warnings = new Rates(1, day);
  const isAccount = (owner: string) => Object.hasOwn(parts.config().hosts, owner.slice(owner.lastIndexOf('@') + 1));
  const limitOf = (owner: string, kind: Kind): string => {
    if (kind === 'archive') return isAccount(owner) ? 'archive_bytes' : 'room_archive_bytes';
    return isAccount(owner) ? 'account_bytes' : 'room_bytes';
  };

  const ofAccount = async (owner: string): Promise<Quota> => {
    const { limits, hosts } = parts.config();
    const exception = (await parts.exceptions().get(owner)) ?? {};
    const account = await parts.accounts().get(owner);
    const isAdmin = account?.role === 'admin' || hosts[owner.slice(owner.lastIndexOf('@') + 1)]?.admins.includes(owner);
    const usual = limits.unlimited_roles.includes(isAdmin ? 'admin' : 'user')
      ? unlimited
      : { archive: limits.archive_bytes, data: limits.account_bytes };
    const own = (given: number | null | undefined, otherwise: number) =>
      given === undefined ? otherwise : (given ?? Number.POSITIVE_INFINITY);
    return { archive: own(exception.archive, usual.archive), data: own(exception.data, usual.data) };
  };

  return {
    archives: new Set(['archive']),
    exempt,
    // Owners without a local part are hosts or services, which have their own limits.
    isCounted: (owner) => owner.includes('@'),
    quotaOf: async (owner) => {
      if (isAccount(owner)) return ofAccount(owner);
      const { limits } = parts.config();
      return { archive: limits.room_archive_bytes, data: limits.room_bytes };
    },
    near: (owner, _kind, used, quota) => {
      if (warnings.take(owner)) parts.warn(owner, used, quota);
    },
    reached: (owner, kind) => parts.limitHit(limitOf(owner, kind)),
    failed: (error) => parts.failed(error),
  };
}

/** Tells an account that it is near its quota. */
export function warnOfQuota(
  owner: string,
  used: number,
  quota: number,
  hostOf: (domain: string) => LocalHost | undefined,
): void {
  const jid = Jid.tryParse(owner);
  const host = jid && hostOf(jid.domain);
  if (host === undefined) return;
  const part = Math.floor((100 * used) / quota);
  const words = `Your account uses ${part} % of its storage quota on this server. Please delete something.`;
  void host.route(Stanza.build('message', { from: host.jid, to: jid, type: 'headline' }, el('body', null, words)));
}
