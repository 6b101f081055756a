/** `waxwing room …`: rooms (XEP-0045). */

import { Jid } from '../../server/address/jid.js';
import { type CliContext, CommandError, cliCommand, orCommandError } from '../../server/module/index.js';
import { columns, facts, time, usageFacts } from '../../server/words.js';
import type { RoomAdministration, RoomFacts } from './services.js';

const room = {
  type: 'text',
  positional: true,
  required: true,
  description:
    'Address of the room, such as tea@conference.example.org. The local part is enough if there is one host.',
} as const;

/** One room in the output of a list. */
interface RoomData {
  readonly jid: string;
  readonly name: string;
  readonly occupants: number;
  readonly public: boolean;
  readonly persistent: boolean;
  readonly membersOnly: boolean;
  readonly password: boolean;
  readonly creator: string;
}

const list = cliCommand({
  name: 'room list',
  summary: 'Lists rooms, including hidden ones',
  reads: true,
  parameters: {
    host: { type: 'text', description: 'Only rooms of this host.' },
    after: { type: 'text', description: 'Only rooms after this one, for the next page.' },
    limit: { type: 'count', description: 'Maximum number of rooms to list (default 1000).' },
  },
  run(context, { host, after, limit = 1000 }) {
    const hosts = context.hosts.filter(({ domain }) => host === undefined || domain === host);
    if (hosts.length === 0) throw new CommandError('not-found', `this server does not serve ${host}`);
    const services = servicesOf(hosts);
    const last = after === undefined ? undefined : find(context, after).jid;
    const from = services.findIndex(({ jid }) => jid.domain === last?.domain);
    const found: RoomData[] = [];
    for (const service of services.slice(Math.max(0, from))) {
      const page = {
        after: service.jid.domain === last?.domain ? last?.bare : undefined,
        limit: limit - found.length,
      };
      found.push(...service.list(page).map(describe));
      if (found.length >= limit) return { rooms: found, next: found.at(-1)!.jid };
    }
    return { rooms: found, next: null };
  },
  text({ rooms, next }) {
    if (rooms.length === 0) return 'There are no rooms.';
    const rows = rooms.map((room) => [room.jid, room.name, String(room.occupants), kind(room), room.creator]);
    const more = next === null ? '' : `\nThere may be more: --after ${next}`;
    return columns(rows, ['ROOM', 'NAME', 'PRESENT', '', 'CREATED BY']) + more;
  },
});

const show = cliCommand({
  name: 'room show',
  summary: 'Shows a room and who is in it',
  reads: true,
  parameters: { room },
  async run(context, values) {
    const { service, jid } = find(context, values.room);
    const details = await service.show(jid);
    if (details === undefined) throw unknownRoom(jid);
    const { description, subject, created, isArchived, isModerated, isNonAnonymous } = details;
    const { owners, admins, members, banned, present } = details;
    return {
      ...describe(details),
      description,
      subject,
      created: new Date(created).toISOString(),
      archived: isArchived,
      moderated: isModerated,
      nonAnonymous: isNonAnonymous,
      owners: [...owners],
      admins: [...admins],
      members,
      banned,
      present: present.map(({ nick, jids, role }) => ({ nick, role, jids: [...jids] })),
      usage: await context.usageOf(jid.bare),
    };
  },
  text(data) {
    const table = data.present.map(({ nick, role, jids }) => [nick, role, jids.join(', ')]);
    return (
      facts([
        ['Room', data.jid],
        ['Name', data.name],
        ['Description', data.description],
        ['Subject', data.subject],
        ['Kind', kind(data)],
        ['Moderated', data.moderated ? 'yes' : 'no'],
        ['Addresses', data.nonAnonymous ? 'visible to all' : 'visible to moderators'],
        ['Archived', data.archived ? 'yes' : 'no'],
        ['Created', `${time(data.created)}, by ${data.creator}`],
        ['Owners', data.owners.join(', ')],
        ['Admins', data.admins.join(', ')],
        ['Members', String(data.members)],
        ['Banned', String(data.banned)],
        ['Present', String(data.occupants)],
        ...usageFacts(data.usage),
      ]) + (table.length === 0 ? '' : `\n\n${columns(table, ['NICKNAME', 'ROLE', 'ADDRESS'])}`)
    );
  },
});

const create = cliCommand({
  name: 'room create',
  summary: 'Creates a persistent room',
  details: 'The room is open at once and otherwise has the configured defaults. Its owner can change them in a client.',
  parameters: {
    room,
    owner: { type: 'account', required: true, description: 'Account that owns the room.' },
    name: { type: 'text', description: 'Name of the room.' },
    'members-only': { type: 'flag', description: 'Only members may enter.' },
    hidden: { type: 'flag', description: 'The room is not listed.' },
  },
  async run(context, { room: address, owner, name, 'members-only': isMembersOnly, hidden }) {
    const { service, jid } = find(context, address);
    const how = { name, isMembersOnly, isPublic: !hidden };
    const isNew = await orCommandError(service.create(jid, owner, how));
    if (!isNew) throw new CommandError('conflict', `the room ${jid.bare} already exists`);
    return { jid: jid.bare, owner: owner.bare };
  },
  text: ({ jid, owner }) => `Created ${jid}, owned by ${owner}.`,
});

const destroy = cliCommand({
  name: 'room destroy',
  summary: 'Removes a room and its messages',
  details: 'Occupants are notified.',
  parameters: { room, reason: { type: 'text', description: 'Reason shown to the occupants.' } },
  confirm: ({ room }) => `Remove ${String(room)} and its messages? This cannot be undone.`,
  async run(context, { room: address, reason }) {
    const { service, jid } = find(context, address);
    if (!(await service.destroy(jid, reason))) throw unknownRoom(jid);
    return { jid: jid.bare, destroyed: true };
  },
  text: ({ jid }) => `Removed ${jid}.`,
});

const describe = (facts: RoomFacts): RoomData => ({
  jid: facts.jid.bare,
  name: facts.name,
  occupants: facts.occupants,
  public: facts.isPublic,
  persistent: facts.isPersistent,
  membersOnly: facts.isMembersOnly,
  password: facts.hasPassword,
  creator: facts.creator,
});

function kind(room: RoomData): string {
  return [
    room.public ? 'public' : 'hidden',
    room.persistent ? 'persistent' : 'temporary',
    ...(room.membersOnly ? ['members only'] : []),
    ...(room.password ? ['password'] : []),
  ].join(', ');
}

const servicesOf = (hosts: CliContext['hosts']): RoomAdministration[] =>
  hosts.flatMap((host) => host.provided('rooms') ?? []);

/** Resolves a room's address given on the command line. Throws CommandError. */
function find({ hosts }: CliContext, address: string): { service: RoomAdministration; jid: Jid } {
  const services = servicesOf(hosts);
  const [only] = services;
  if (only === undefined) throw new CommandError('failed', 'this server has no rooms; enable the module muc');
  const jid = Jid.tryParse(address.includes('@') || services.length > 1 ? address : `${address}@${only.jid.domain}`);
  if (jid?.local === undefined || !jid.isBare)
    throw new CommandError(
      'usage',
      `room: ${JSON.stringify(address)} is not the address of a room; write NAME@${only.jid.domain}`,
    );
  const service = services.find((one) => one.jid.domain === jid.domain);
  if (service === undefined) {
    const known = services.slice(0, 10).map((one) => one.jid.domain);
    throw new CommandError('not-found', `${jid.domain} has no rooms; this server has rooms at ${known.join(', ')}`);
  }
  return { service, jid };
}

const unknownRoom = (jid: Jid) => new CommandError('not-found', `there is no room ${jid.bare}`);

export const cli = [list, show, create, destroy];
