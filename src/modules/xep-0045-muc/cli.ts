/** `waxwing room …`: rooms (XEP-0045). */
import { type CliContext, CommandError, cliCommand } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { Jid } from '../../server/stanza/jid.js';
import { columns, facts, time, usageFacts } from '../../server/words.js';
import type { RoomAdministration, RoomFacts } from './services.js';

const room = {
  type: 'text',
  positional: true,
  required: true,
  description: 'Address of the room, such as tea@conference.example.org; its name alone where there is one host.',
} as const;

/** What a list tells of a room. */
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
  summary: 'Lists rooms, hidden ones too',
  reads: true,
  parameters: {
    host: { type: 'text', description: 'Only rooms of this host.' },
    after: { type: 'text', description: 'Only rooms behind this one: the next page.' },
    limit: { type: 'count', description: 'Most rooms to list (1000).' },
  },
  run(context, { host, after, limit = 1000 }) {
    const hosts = context.hosts.filter(({ domain }) => host === undefined || domain === host);
    if (hosts.length === 0) throw new CommandError('not-found', `this server does not serve ${host}`);
    const services = servicesOf(hosts);
    const behind = after === undefined ? undefined : find(context, after).jid;
    const from = services.findIndex(({ jid }) => jid.domain === behind?.domain);
    const found: RoomData[] = [];
    for (const service of services.slice(Math.max(0, from))) {
      const page = {
        after: service.jid.domain === behind?.domain ? behind?.bare : undefined,
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
    return columns(rows, ['ROOM', 'NAME', 'PRESENT', '', 'MADE BY']) + more;
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
        ['Addresses', data.nonAnonymous ? 'seen by all' : 'seen by moderators'],
        ['Archived', data.archived ? 'yes' : 'no'],
        ['Made', `${time(data.created)}, by ${data.creator}`],
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
  summary: 'Makes a room that stays',
  details:
    'It is open at once, and otherwise as the configuration has new rooms; its owner can change that in a client.',
  parameters: {
    room,
    owner: { type: 'account', required: true, description: 'Whose room it is.' },
    name: { type: 'text', description: 'What it is called.' },
    'members-only': { type: 'flag', description: 'Only members may enter.' },
    hidden: { type: 'flag', description: 'It is not listed.' },
  },
  async run(context, { room: address, owner, name, 'members-only': isMembersOnly, hidden }) {
    const { service, jid } = find(context, address);
    const how = { name, isMembersOnly, isPublic: !hidden };
    const isNew = await service.create(jid, owner, how).catch((error: unknown) => {
      throw error instanceof StanzaError ? new CommandError('failed', error.message) : error;
    });
    if (!isNew) throw new CommandError('conflict', `there is a room ${jid.bare} already`);
    return { jid: jid.bare, owner: owner.bare };
  },
  text: ({ jid, owner }) => `${jid} was made; it is ${owner}'s.`,
});

const destroy = cliCommand({
  name: 'room destroy',
  summary: 'Removes a room, and what was said in it',
  details: 'Whoever is in it is told.',
  parameters: { room, reason: { type: 'text', description: 'What those who are in it are told.' } },
  confirm: ({ room }) => `Remove ${String(room)} and what was said in it? This cannot be undone.`,
  async run(context, { room: address, reason }) {
    const { service, jid } = find(context, address);
    if (!(await service.destroy(jid, reason))) throw unknownRoom(jid);
    return { jid: jid.bare, destroyed: true };
  },
  text: ({ jid }) => `${jid} was removed.`,
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
    room.persistent ? 'lasting' : 'temporary',
    ...(room.membersOnly ? ['members only'] : []),
    ...(room.password ? ['password'] : []),
  ].join(', ');
}

const servicesOf = (hosts: CliContext['hosts']): RoomAdministration[] =>
  hosts.flatMap((host) => host.provided('rooms') ?? []);

/** Throws CommandError. */
function find({ hosts }: CliContext, address: string): { service: RoomAdministration; jid: Jid } {
  const services = servicesOf(hosts);
  const [only] = services;
  if (only === undefined) throw new CommandError('failed', 'this server has no rooms: the module muc does not run');
  const jid = Jid.tryParse(address.includes('@') || services.length > 1 ? address : `${address}@${only.jid.domain}`);
  if (jid?.local === undefined || !jid.isBare)
    throw new CommandError('usage', `room: ${JSON.stringify(address)} is no room; write NAME@${only.jid.domain}`);
  const service = services.find((one) => one.jid.domain === jid.domain);
  if (service === undefined) {
    const known = services.slice(0, 10).map((one) => one.jid.domain);
    throw new CommandError('not-found', `there are no rooms at ${jid.domain}, but at ${known.join(', ')}`);
  }
  return { service, jid };
}

const unknownRoom = (jid: Jid) => new CommandError('not-found', `there is no room ${jid.bare}`);

export const cli = [list, show, create, destroy];
