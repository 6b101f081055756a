/**
 * Accounts whose home is another node: they are read and changed there, by questions of the account's host. Keys and tokens
 * do not cross between nodes, because clients log in at the home of their account.
 */
import { z } from 'zod';
import {
  type AccountElsewhere,
  AccountError,
  type AccountFailure,
  type AccountKeys,
  type Accounts,
  accountFailures,
} from './accounts/index.js';
import { type ScramHash, scramHashes } from './accounts/keys.js';
import { decode, encode, storedKeys } from './accounts/stored.js';
import { Jid } from './address/jid.js';
import { defineQuestion } from './module/index.js';
import { type Answerer, answererOf } from './routing/hooks.js';
import type { LocalHost } from './routing/host.js';
import type { Router } from './routing/router.js';

const role = z.enum(['admin', 'user']);

const keysSchema = z.codec(z.partialRecord(z.enum(scramHashes), storedKeys), z.custom<AccountKeys>(), {
  decode: (stored) =>
    Object.fromEntries(Object.entries(stored).map(([hash, keys]) => [hash, decode(keys)])) as AccountKeys,
  encode: (keys) => encode(keys),
});

const reading = defineQuestion({
  name: 'accounts.get',
  given: z.null(),
  answer: z
    .object({
      bare: z.string(),
      created: z.number(),
      role,
      disabled: z.boolean(),
      importing: z.boolean(),
      epoch: z.string(),
      hashes: z.array(z.enum(scramHashes)) as z.ZodType<readonly ScramHash[]>,
    })
    .nullable(),
});

const lastLogin = defineQuestion({
  name: 'accounts.last_login',
  given: z.null(),
  answer: z.number().nullable(),
});

const changing = defineQuestion({
  name: 'accounts.change',
  given: z.discriminatedUnion('change', [
    z.object({
      change: z.literal('create'),
      password: z.string().optional(),
      keys: keysSchema.optional(),
      role: role.optional(),
      disabled: z.boolean().optional(),
      importing: z.boolean().optional(),
    }),
    z.object({
      change: z.literal('endImport'),
      password: z.string().optional(),
      keys: keysSchema.optional(),
      role: role.optional(),
      disabled: z.boolean().optional(),
      created: z.number().optional(),
      replaces: z.boolean().optional(),
    }),
    z.object({ change: z.literal('setPassword'), password: z.string() }),
    z.object({ change: z.literal('setRole'), role }),
    z.object({ change: z.enum(['disable', 'enable', 'remove', 'beginImport']) }),
    z.object({ change: z.literal('revokeTokens'), clientId: z.string().optional() }),
  ]),
  answer: z.union([
    /** `done`: whether there was an account to remove. */
    z.object({ done: z.boolean() }),
    z.object({ failure: z.enum(accountFailures) as z.ZodType<AccountFailure>, text: z.string() }),
  ]),
});
type Change = z.output<typeof changing.given>;

/** Returns undefined if the home of `bare` is this node, or the server does not serve its host. */
export function elsewhere(
  bare: string,
  router: Router,
  hostOf: (domain: string) => LocalHost | undefined,
): AccountElsewhere | undefined {
  const jid = Jid.tryParse(bare);
  const host = jid && hostOf(jid.domain);
  if (jid === undefined || host === undefined || router.wayToAsk(jid) === undefined) return undefined;
  const change = async (given: Change): Promise<boolean> => {
    const answer = await host.askHome(changing, jid, given);
    if ('failure' in answer) throw new AccountError(answer.failure, answer.text);
    return answer.done;
  };
  const done = async (given: Change): Promise<void> => void (await change(given));
  return {
    get: async () => (await host.askHome(reading, jid, null)) ?? undefined,
    lastLogin: async () => (await host.askHome(lastLogin, jid, null)) ?? undefined,
    create: (secret, { role, disabled, importing }) =>
      done({
        change: 'create',
        ...(typeof secret === 'string' ? { password: secret } : { keys: secret }),
        ...(role !== undefined && { role }),
        ...(disabled !== undefined && { disabled }),
        ...(importing !== undefined && { importing }),
      }),
    setPassword: (password) => done({ change: 'setPassword', password }),
    disable: () => done({ change: 'disable' }),
    enable: () => done({ change: 'enable' }),
    setRole: (role) => done({ change: 'setRole', role }),
    remove: () => change({ change: 'remove' }),
    beginImport: () => done({ change: 'beginImport' }),
    endImport: (imported) => done({ change: 'endImport', ...imported }),
    revokeTokens: (clientId) => done({ change: 'revokeTokens', ...(clientId !== undefined && { clientId }) }),
  };
}

/** Answers what other nodes ask about accounts whose home is here. */
export function accountAnswers(accounts: Accounts): readonly Answerer[] {
  const run = async (given: Change, jid: Jid): Promise<boolean> => {
    switch (given.change) {
      case 'create':
        await accounts.create(jid, given.password ?? given.keys ?? {}, {
          role: given.role,
          disabled: given.disabled,
          importing: given.importing,
        });
        return true;
      case 'beginImport':
        await accounts.beginImport(jid);
        return true;
      case 'endImport':
        await accounts.endImport(jid.bare, given);
        return true;
      case 'setPassword':
        await accounts.setPassword(jid.bare, given.password);
        return true;
      case 'setRole':
        await accounts.setRole(jid.bare, given.role);
        return true;
      case 'revokeTokens':
        await accounts.revokeTokens(jid.bare, given.clientId);
        return true;
      case 'disable':
      case 'enable':
        await accounts[given.change](jid.bare);
        return true;
      case 'remove':
        return accounts.remove(jid.bare);
    }
  };
  return [
    answererOf(reading, async (_, { bare }) => (await accounts.get(bare)) ?? null),
    answererOf(lastLogin, async (_, { bare }) => (await accounts.lastLogin(bare)) ?? null),
    answererOf(changing, async (given, jid) => {
      try {
        return { done: await run(given, jid) };
      } catch (error) {
        if (!(error instanceof AccountError)) throw error;
        return { failure: error.failure, text: error.message };
      }
    }),
  ];
}
