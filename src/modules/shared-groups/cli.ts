/** `waxwing group …`. */
import {
  type CliContext,
  CommandError,
  cliCommand,
  orCommandError,
  type Services,
  serviceOf,
} from '../../server/module/index.js';
import { columns } from '../../server/words.js';

export const groupId = /^[\w-]{1,64}$/;
/** Characters of the name of a group in contact lists. */
export const longestName = 1023;

const host = { type: 'text', description: 'The host. Required if the server has several.' } as const;
const id = { type: 'text', positional: true, required: true, description: 'The id of the group.' } as const;
const account = { type: 'account', positional: true, required: true, description: 'The account.' } as const;

const list = cliCommand({
  name: 'group list',
  summary: 'Lists groups whose members are contacts of each other',
  reads: true,
  parameters: { host },
  async run(context, { host }) {
    const { groups, domain } = groupsOf(context, host);
    return { host: domain, groups: await groups.list() };
  },
  text: ({ groups }) =>
    groups.length === 0
      ? 'No groups.'
      : columns(
          groups.map(({ id, name, members, isConfigured }) => [
            id,
            name,
            String(members.length),
            isConfigured ? 'configuration' : '',
          ]),
          ['ID', 'NAME', 'MEMBERS', ''],
        ),
});

const show = cliCommand({
  name: 'group show',
  summary: 'Lists the members of a group',
  reads: true,
  parameters: { id, host },
  async run(context, { id, host }) {
    const { groups, domain } = groupsOf(context, host);
    const found = (await groups.list()).find((group) => group.id === id);
    if (found === undefined) throw new CommandError('not-found', `There is no group ${id}.`);
    return { host: domain, ...found };
  },
  text: ({ name, members }) => [name, ...members.map((member) => `  ${member}`)].join('\n'),
});

const create = cliCommand({
  name: 'group create',
  summary: 'Makes a group whose members are contacts of each other',
  parameters: {
    id,
    name: { type: 'text', description: 'The name of the group in contact lists (the id).' },
    host,
  },
  async run(context, { id, name = id, host }) {
    const { groups, domain } = groupsOf(context, host);
    if (!groupId.test(id)) throw new CommandError('usage', 'An id has letters, digits, _ and -, at most 64.');
    if (name === '' || name.length > longestName)
      throw new CommandError('usage', `--name: write a name of at most ${longestName} characters.`);
    await orCommandError(groups.create(id, name));
    return { host: domain, id, name };
  },
  text: ({ id }) => `Made ${id}. Add members with: waxwing group add ${id} NAME@HOST`,
});

const remove = cliCommand({
  name: 'group delete',
  summary: 'Deletes a group; its members lose the contacts that they had only by it',
  parameters: { id, host },
  async run(context, { id, host }) {
    const { groups, domain } = groupsOf(context, host);
    await orCommandError(groups.remove(id));
    return { host: domain, id };
  },
  text: ({ id }) => `Deleted ${id}.`,
});

const add = cliCommand({
  name: 'group add',
  summary: 'Adds an account to a group',
  parameters: { id, account },
  async run(context, { id, account }) {
    await orCommandError(groupsOf(context, account.domain).groups.add(id, account));
    return { id, account: account.bare };
  },
  text: ({ id, account }) => `${account} is a member of ${id}.`,
});

const drop = cliCommand({
  name: 'group remove',
  summary: 'Removes an account from a group',
  parameters: { id, account },
  async run(context, { id, account }) {
    if (!(await orCommandError(groupsOf(context, account.domain).groups.drop(id, account))))
      throw new CommandError('not-found', `${account.bare} is no member of ${id}.`);
    return { id, account: account.bare };
  },
  text: ({ id, account }) => `${account} is no member of ${id} any more.`,
});

export const cli = [list, show, create, remove, add, drop];

const groupsOf = (
  context: CliContext,
  host: string | undefined,
): { readonly groups: Services['sharedGroups']; readonly domain: string } => {
  const { service, domain } = serviceOf(context, host, 'sharedGroups', 'shared_groups');
  return { groups: service, domain };
};
