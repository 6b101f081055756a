/** `waxwing user …`: accounts. */

import type { Account } from '../accounts/index.js';
import type { UsageData } from '../module/cli.js';
import type { Server } from '../server.js';
import type { Jid } from '../stanza/jid.js';
import { columns, count, facts, time, usageFacts } from '../words.js';
import { CommandError, type Context, eitherCommand, serverCommand } from './command.js';
import { describeSession, type SessionData, sessionTable } from './sessions.js';

const jid = {
  type: 'account',
  positional: true,
  required: true,
  description: 'Address of the account, such as alice@example.org.',
} as const;
const password = { type: 'secret', description: 'The password.' } as const;
const generate = { type: 'flag', description: 'Chooses a random password and prints it.' } as const;

export const add = eitherCommand({
  name: 'user add',
  summary: 'Makes an account',
  details:
    'The password is asked for on a terminal, read from standard input with --password-stdin, or chosen with --generate.',
  parameters: {
    jid,
    password,
    generate,
    admin: { type: 'flag', description: 'Lets the account administer its host.' },
  },
  async run(context, values) {
    const { accounts, account } = await reach(context, values.jid);
    const chosen = await choosePassword(context, values.password, values.generate);
    await accounts.create(account, chosen.password, { role: values.admin ? 'admin' : 'user' });
    return { jid: account.bare, admin: values.admin, ...chosen.shown };
  },
  text: ({ jid, admin, password }) =>
    `${jid} was made${admin ? ', an administrator' : ''}.${password === undefined ? '' : `\nPassword: ${password}`}`,
});

export const passwd = eitherCommand({
  name: 'user passwd',
  summary: 'Changes the password of an account',
  details:
    'The password is asked for on a terminal, read from standard input with --password-stdin, or chosen with --generate. Login tokens of the account end; sessions that are open go on (see session kick).',
  parameters: { jid, password, generate },
  async run(context, values) {
    const { accounts, account } = await reach(context, values.jid);
    const chosen = await choosePassword(context, values.password, values.generate);
    await accounts.setPassword(account.bare, chosen.password);
    return { jid: account.bare, ...chosen.shown };
  },
  text: ({ jid, password }) => `${jid} has a new password.${password === undefined ? '' : `\nPassword: ${password}`}`,
});

/** What a list tells of an account. */
interface AccountData {
  readonly jid: string;
  readonly admin: boolean;
  readonly disabled: boolean;
  /** ISO; null: never. */
  readonly created: string;
  readonly lastLogin: string | null;
}

export const list = eitherCommand({
  name: 'user list',
  summary: 'Lists accounts',
  reads: true,
  parameters: {
    host: { type: 'text', description: 'Only accounts of this host.' },
    after: { type: 'account', description: 'Only accounts behind this one: the next page.' },
    limit: { type: 'count', description: 'Most accounts to list (1000).' },
  },
  async run(context, { host, after, limit = 1000 }) {
    const accounts = await context.accounts();
    const served = Object.keys(context.config.hosts);
    if (host !== undefined && !served.includes(host)) throw unknownHost(context, host);
    const hosts = host === undefined ? served.slice(Math.max(0, served.indexOf(after?.domain ?? ''))) : [host];
    const found: AccountData[] = [];
    for (const domain of hosts) {
      let last = after?.domain === domain ? after.bare : undefined;
      for (;;) {
        if (found.length >= limit) return { accounts: found, next: found.at(-1)!.jid };
        const page = await accounts.list(domain, { after: last, limit: Math.min(limit - found.length, 500) });
        found.push(...(await Promise.all(page.accounts.map((account) => describe(context, account)))));
        if (page.next === undefined) break;
        last = page.next;
      }
    }
    return { accounts: found, next: null };
  },
  text({ accounts, next }) {
    if (accounts.length === 0) return 'There are no accounts.';
    const rows = accounts.map(({ jid, admin, disabled, created, lastLogin }) => [
      jid,
      [admin ? 'admin' : '', disabled ? 'disabled' : ''].filter((mark) => mark !== '').join(' '),
      time(created),
      lastLogin === null ? 'never' : time(lastLogin),
    ]);
    const more = next === null ? '' : `\nThere may be more: --after ${next}`;
    return columns(rows, ['ACCOUNT', '', 'MADE', 'LAST LOGIN']) + more;
  },
});

export const show = eitherCommand({
  name: 'user show',
  summary: 'Shows an account and its sessions',
  reads: true,
  parameters: { jid },
  async run(context, { jid }) {
    const accounts = await context.accounts();
    const account = await accounts.get(jid.bare);
    if (account === undefined) throw unknownAccount(jid);
    const sessions: SessionData[] = [...(context.server?.sessions.of(jid.bare) ?? [])].map(describeSession);
    return {
      ...(await describe(context, account)),
      mechanisms: account.hashes.map((hash) => `SCRAM-${hash}`),
      usage: context.server === undefined ? null : await usageOf(context.server, account.bare),
      /** Bytes of stanzas that were stored, by days of UTC, since the server started. */
      written: context.server?.writtenBy(account.bare) ?? null,
      sessions,
    };
  },
  text: ({ jid, admin, disabled, created, lastLogin, mechanisms, usage, written, sessions }) =>
    facts([
      ['Account', jid],
      ['Administrator', admin ? 'yes' : 'no'],
      ['Disabled', disabled ? 'yes' : 'no'],
      ['Made', time(created)],
      ['Last login', lastLogin === null ? 'never' : time(lastLogin)],
      ['Keys', mechanisms.join(', ')],
      ...usageFacts(usage),
      ...(written === null
        ? []
        : [['Wrote', `${written.today} bytes today, ${written.yesterday} yesterday (UTC)`] as const]),
      ['Sessions', String(sessions.length)],
    ]) + (sessions.length === 0 ? '' : `\n\n${sessionTable(sessions)}`),
});

export const quota = serverCommand({
  name: 'user quota',
  summary: 'Sets how much one account may store',
  details:
    'In bytes, instead of limits.archive_bytes (--archive) and limits.account_bytes (--data). With --unlimited it has no quota; without an option it has the usual ones again.',
  parameters: {
    jid,
    archive: { type: 'count', description: 'Bytes of archived messages.' },
    data: { type: 'count', description: 'Bytes of all else.' },
    unlimited: { type: 'flag', description: 'No quota.' },
  },
  async run({ server }, { jid, archive, data, unlimited }) {
    if (!(await server.accounts.exists(jid.bare))) throw unknownAccount(jid);
    if (unlimited && (archive !== undefined || data !== undefined))
      throw new CommandError('usage', '--unlimited and a number exclude each other');
    const own = unlimited
      ? { archive: null, data: null }
      : { ...(archive !== undefined && { archive }), ...(data !== undefined && { data }) };
    if (Object.keys(own).length === 0) await server.quotas.delete(jid.bare);
    else await server.quotas.set(jid.bare, own);
    server.usages.changed(jid.bare);
    return { jid: jid.bare, ...(await usageOf(server, jid.bare)) };
  },
  text: ({ jid, ...usage }) => facts([['Account', jid], ...usageFacts(usage)]),
});

/** Bytes that an account or a room stores. */
export async function usageOf({ usages }: Server, owner: string): Promise<UsageData> {
  const { archive, data, stores, quota } = await usages.of(owner);
  const limit = (bytes: number | undefined) =>
    bytes === undefined || bytes === Number.POSITIVE_INFINITY ? null : bytes;
  return { archive, data, stores, archiveQuota: limit(quota?.archive), dataQuota: limit(quota?.data) };
}

export const disable = eitherCommand({
  name: 'user disable',
  summary: 'Lets nobody log in to an account, and ends its sessions',
  details: 'The account keeps its data, and still takes messages.',
  parameters: { jid },
  async run(context, { jid }) {
    await (await context.accounts()).disable(jid.bare);
    return { jid: jid.bare, disabled: true };
  },
  text: ({ jid }) => `${jid} is disabled.`,
});

export const enable = eitherCommand({
  name: 'user enable',
  summary: 'Undoes user disable',
  parameters: { jid },
  async run(context, { jid }) {
    await (await context.accounts()).enable(jid.bare);
    return { jid: jid.bare, disabled: false };
  },
  text: ({ jid }) => `${jid} is enabled.`,
});

export const remove = eitherCommand({
  name: 'user delete',
  summary: 'Removes an account and everything that it stored',
  parameters: { jid },
  confirm: ({ jid }) => `Remove ${String(jid)}, its messages, contacts and files? This cannot be undone.`,
  async run(context, { jid }) {
    const accounts = await context.accounts();
    if (!(await accounts.remove(jid.bare))) throw unknownAccount(jid);
    return { jid: jid.bare, deleted: true };
  },
  text: ({ jid }) => `${jid} was removed.`,
});

/** The accounts, once it is clear that the address can be of one. Throws CommandError. */
async function reach(context: Context, account: Jid) {
  if (!Object.hasOwn(context.config.hosts, account.domain)) throw unknownHost(context, account.domain);
  return { accounts: await context.accounts(), account };
}

async function choosePassword({ config }: Context, given: string | undefined, generate: boolean) {
  if (generate === (given !== undefined))
    throw new CommandError('usage', generate ? 'a password and --generate exclude each other' : 'password: is missing');
  if (given !== undefined) return { password: given, shown: {} };
  const { newPassword } = await import('./password.js');
  const password = newPassword(config.auth.password_min_length);
  return { password, shown: { password } };
}

async function describe({ config, accounts }: Context, account: Account): Promise<AccountData> {
  const { bare, role, disabled, created } = account;
  const domain = bare.slice(bare.lastIndexOf('@') + 1);
  const lastLogin = await (await accounts()).lastLogin(bare);
  return {
    jid: bare,
    admin: role === 'admin' || config.hosts[domain]?.admins.includes(bare) === true,
    disabled,
    created: new Date(created).toISOString(),
    lastLogin: lastLogin === undefined ? null : new Date(lastLogin).toISOString(),
  };
}

const unknownAccount = (jid: Jid) => new CommandError('not-found', `there is no account ${jid.bare}`);

function unknownHost({ config }: Context, host: string): CommandError {
  const hosts = Object.keys(config.hosts);
  const known = hosts.slice(0, 10).join(', ') + (hosts.length > 10 ? `, and ${count(hosts.length - 10, 'other')}` : '');
  return new CommandError('not-found', `this server does not serve ${host}; its hosts are ${known}`);
}
