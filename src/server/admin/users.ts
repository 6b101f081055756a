/** `waxwing user …`: accounts. */

import type { Account } from '../accounts/index.js';
import type { Jid } from '../address/jid.js';
import type { UsageData } from '../module/cli.js';
import type { Server } from '../server.js';
import { columns, count, facts, time, usageFacts } from '../words.js';
import { CommandError, type Context, eitherCommand, serverCommand } from './command.js';
import { answered, sessionTable } from './sessions.js';

const jid = {
  type: 'account',
  positional: true,
  required: true,
  description: 'Address of the account, such as alice@example.org.',
} as const;
const password = { type: 'secret', description: 'The password.' } as const;
const generate = { type: 'flag', description: 'Generates a random password and prints it.' } as const;

export const add = eitherCommand({
  name: 'user add',
  summary: 'Creates an account',
  details:
    'The password is typed on a terminal, read from standard input with --password-stdin, or generated with --generate.',
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
    `${jid} was created${admin ? ', an administrator' : ''}.${password === undefined ? '' : `\nPassword: ${password}`}`,
});

export const passwd = eitherCommand({
  name: 'user passwd',
  summary: 'Changes the password of an account',
  details:
    'The password is typed on a terminal, read from standard input with --password-stdin, or generated with --generate. Login tokens of the account expire; open sessions continue (see session kick).',
  parameters: { jid, password, generate },
  async run(context, values) {
    const { accounts, account } = await reach(context, values.jid);
    const chosen = await choosePassword(context, values.password, values.generate);
    await accounts.setPassword(account.bare, chosen.password);
    return { jid: account.bare, ...chosen.shown };
  },
  text: ({ jid, password }) => `${jid} has a new password.${password === undefined ? '' : `\nPassword: ${password}`}`,
});

/** An account in a list. */
interface AccountData {
  readonly jid: string;
  readonly admin: boolean;
  readonly disabled: boolean;
  /** ISO 8601. */
  readonly created: string;
  readonly lastLogin: string | null;
}

export const list = eitherCommand({
  name: 'user list',
  summary: 'Lists accounts',
  reads: true,
  parameters: {
    host: { type: 'text', description: 'Only accounts of this host.' },
    after: { type: 'account', description: 'Only accounts after this one, for the next page.' },
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
    if (accounts.length === 0) return 'No accounts.';
    const rows = accounts.map(({ jid, admin, disabled, created, lastLogin }) => [
      jid,
      [admin ? 'admin' : '', disabled ? 'disabled' : ''].filter((mark) => mark !== '').join(' '),
      time(created),
      lastLogin === null ? 'never' : time(lastLogin),
    ]);
    const more = next === null ? '' : `\nThere may be more; continue with --after ${next}`;
    return columns(rows, ['ACCOUNT', '', 'CREATED', 'LAST LOGIN']) + more;
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
    const sessions = await answered(
      context.server?.nodes.sessions(jid, Number.MAX_SAFE_INTEGER) ?? Promise.resolve([]),
    );
    return {
      ...(await describe(context, account)),
      mechanisms: account.hashes.map((hash) => `SCRAM-${hash}`),
      usage: context.server === undefined ? null : await usageOf(context.server, account.bare),
      /** Bytes stored by stanzas, by day (UTC), since the server started. */
      written: context.server?.writtenBy(account.bare) ?? null,
      sessions,
    };
  },
  text: ({ jid, admin, disabled, created, lastLogin, mechanisms, usage, written, sessions }) =>
    facts([
      ['Account', jid],
      ['Administrator', admin ? 'yes' : 'no'],
      ['Disabled', disabled ? 'yes' : 'no'],
      ['Created', time(created)],
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
  summary: 'Sets the storage quotas of an account',
  details:
    'They replace limits.archive_bytes (--archive) and limits.account_bytes (--data). With --unlimited there is no quota; without any option the configured quotas apply again.',
  parameters: {
    jid,
    archive: { type: 'count', description: 'Quota of archived messages, in bytes.' },
    data: { type: 'count', description: 'Quota of all other data, in bytes.' },
    unlimited: { type: 'flag', description: 'No quota.' },
  },
  async run({ server }, { jid, archive, data, unlimited }) {
    if (!(await server.accounts.exists(jid.bare))) throw unknownAccount(jid);
    if (unlimited && (archive !== undefined || data !== undefined))
      throw new CommandError('usage', '--unlimited cannot be used with --archive or --data');
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

/** Storage use of an account or a room, in bytes. */
export async function usageOf({ usages }: Server, owner: string): Promise<UsageData> {
  const { archive, data, stores, quota } = await usages.of(owner);
  const limit = (bytes: number | undefined) =>
    bytes === undefined || bytes === Number.POSITIVE_INFINITY ? null : bytes;
  return { archive, data, stores, archiveQuota: limit(quota?.archive), dataQuota: limit(quota?.data) };
}

export const disable = eitherCommand({
  name: 'user disable',
  summary: 'Disables login to an account, and ends its sessions',
  details: 'The account retains its data, and still receives messages.',
  parameters: { jid },
  async run(context, { jid }) {
    await (await context.accounts()).disable(jid.bare);
    return { jid: jid.bare, disabled: true };
  },
  text: ({ jid }) => `${jid} is disabled.`,
});

export const enable = eitherCommand({
  name: 'user enable',
  summary: 'Enables login to an account again',
  parameters: { jid },
  async run(context, { jid }) {
    await (await context.accounts()).enable(jid.bare);
    return { jid: jid.bare, disabled: false };
  },
  text: ({ jid }) => `${jid} is enabled.`,
});

export const remove = eitherCommand({
  name: 'user delete',
  summary: 'Deletes an account and all its data',
  parameters: { jid },
  confirm: ({ jid }) => `Delete ${String(jid)}, its messages, contacts and files? This cannot be undone.`,
  async run(context, { jid }) {
    const accounts = await context.accounts();
    if (!(await accounts.remove(jid.bare))) throw unknownAccount(jid);
    return { jid: jid.bare, deleted: true };
  },
  text: ({ jid }) => `${jid} was deleted.`,
});

/** The accounts, if the host of the address is served. Throws CommandError. */
async function reach(context: Context, account: Jid) {
  if (!Object.hasOwn(context.config.hosts, account.domain)) throw unknownHost(context, account.domain);
  return { accounts: await context.accounts(), account };
}

async function choosePassword({ config }: Context, given: string | undefined, generate: boolean) {
  if (generate === (given !== undefined))
    throw new CommandError(
      'usage',
      generate ? 'a password and --generate cannot be used together' : 'password: missing',
    );
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

const unknownAccount = (jid: Jid) => new CommandError('not-found', `no such account: ${jid.bare}`);

function unknownHost({ config }: Context, host: string): CommandError {
  const hosts = Object.keys(config.hosts);
  const known = hosts.slice(0, 10).join(', ') + (hosts.length > 10 ? `, and ${count(hosts.length - 10, 'other')}` : '');
  return new CommandError('not-found', `unknown host ${host}; this server has ${known}`);
}
