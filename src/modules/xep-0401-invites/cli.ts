/** `waxwing invite …`. */
import {
  type CliContext,
  CommandError,
  cliCommand,
  orCommandError,
  type Services,
  serviceOf,
} from '../../server/module/index.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { columns } from '../../server/words.js';

const host = { type: 'text', description: 'The host. Required if the server has several.' } as const;
const secondsADay = 86_400;
const mostUses = 10_000;
const mostDays = 3650;

const create = cliCommand({
  name: 'invite create',
  summary: 'Makes an invitation to an account',
  details:
    'Whoever opens the printed link in an XMPP app can register an account with it. It cannot be shown again. With --contact both become contacts.',
  parameters: {
    name: { type: 'text', description: 'Name of the account (the invited person chooses).' },
    admin: { type: 'flag', description: 'The account becomes an administrator.' },
    group: { type: 'text', description: 'Shared group of which the account becomes a member (waxwing group list).' },
    contact: { type: 'account', description: 'Account that becomes a contact of the new one.' },
    uses: { type: 'count', description: 'How many accounts can be registered with it (1).' },
    days: { type: 'count', description: 'How long it is valid (modules.invites.expiry_seconds).' },
    host,
  },
  async run(context, { name, admin, group, contact, uses = 1, days, host }) {
    const { invites, domain } = invitesOf(context, contact?.domain ?? host);
    if (uses < 1 || uses > mostUses) throw new CommandError('usage', `--uses: write a number from 1 to ${mostUses}.`);
    if (days !== undefined && (days < 1 || days > mostDays))
      throw new CommandError('usage', `--days: write a number from 1 to ${mostDays}.`);
    if (admin && uses > 1) throw new CommandError('usage', 'Invite each administrator by an invitation of their own.');
    if (name !== undefined && uses > 1) throw new CommandError('usage', 'An account of a given name is made once.');
    const groups = context.hosts.find((one) => one.domain === domain)?.provided('sharedGroups');
    if (group !== undefined && !(await groups?.list())?.some((one) => one.id === group))
      throw new CommandError('not-found', `There is no group ${group}.`);
    const made = await orCommandError(
      invites.make({
        by: contact?.bare,
        name: name === undefined ? undefined : await localOf(name, domain),
        groups: group === undefined ? undefined : [group],
        role: admin ? 'admin' : undefined,
        registers: true,
        connects: contact !== undefined,
        uses,
        seconds: days === undefined ? undefined : days * secondsADay,
      }),
    );
    return {
      host: domain,
      id: made.id,
      uri: made.uri,
      url: made.url ?? null,
      until: formatDateTime(made.invite.until),
    };
  },
  text: ({ uri, url, until }) => `${url === null ? '' : `${url}\n`}${uri}\nValid until ${until}.`,
});

const list = cliCommand({
  name: 'invite list',
  summary: 'Lists invitations that are still valid',
  reads: true,
  parameters: { host },
  async run(context, { host }) {
    const { invites, domain } = invitesOf(context, host);
    const found = await invites.list();
    return {
      host: domain,
      invites: found.map(([id, { by, name, role, registers, uses, until }]) => ({
        id: id.slice(0, 12),
        by: by ?? null,
        name: name ?? null,
        role: role ?? 'user',
        registers,
        uses,
        until: formatDateTime(until),
      })),
    };
  },
  text: ({ invites }) =>
    invites.length === 0
      ? 'No invitations.'
      : columns(
          invites.map(({ id, by, name, role, registers, uses, until }) => [
            id,
            by ?? '-',
            registers ? `${name ?? 'any name'}${role === 'admin' ? ', administrator' : ''}` : 'contact only',
            String(uses),
            until,
          ]),
          ['ID', 'BY', 'FOR', 'USES', 'UNTIL'],
        ),
});

const revoke = cliCommand({
  name: 'invite revoke',
  summary: 'Makes an invitation invalid',
  parameters: {
    id: { type: 'text', positional: true, required: true, description: 'The id, as invite list shows it.' },
    host,
  },
  async run(context, { id, host }) {
    const { invites, domain } = invitesOf(context, host);
    if (!(await invites.revoke(id))) throw new CommandError('not-found', `There is no invitation ${id}.`);
    return { host: domain, id };
  },
  text: ({ id }) => `Revoked ${id}.`,
});

export const cli = [create, list, revoke];

async function localOf(name: string, domain: string): Promise<string> {
  const { Jid } = await import('../../server/address/jid.js');
  const jid = Jid.tryParse(`${name}@${domain}`);
  if (jid?.local === undefined || jid.domain !== domain)
    throw new CommandError('usage', `${name} is not a valid name for an account.`);
  return jid.local;
}

const invitesOf = (
  context: CliContext,
  host: string | undefined,
): { readonly invites: Services['invites']; readonly domain: string } => {
  const { service, domain } = serviceOf(context, host, 'invites', 'invites');
  return { invites: service, domain };
};
