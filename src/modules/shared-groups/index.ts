/**
 * Groups of accounts whose members are contacts of each other, in a group of their contact lists: by configuration, by the command
 * line, and by invitations. The contacts are ordinary ones, which users may rename, move and remove.
 */
import { z } from 'zod';
import { count } from '../../server/config/units.js';
import { defineModule, event, every, map } from '../../server/module/index.js';
import { bareJid } from '../../server/stanza/stored.js';
import { cli, groupId, longestName } from './cli.js';
import { Groups, groupSchema, type StoredGroup } from './groups.js';
import { type Link, Links, linkSchema } from './links.js';

/** How often members are told again what they could not be told. */
const againMs = 60_000;

export default defineModule({
  name: 'shared_groups',
  summary: 'Makes the members of a group contacts of each other.',
  implements: {},
  config: z.strictObject({
    groups: z
      .record(
        z.string().regex(groupId),
        z.strictObject({
          name: z
            .string()
            .max(longestName)
            .default('')
            .describe('The name of the group in contact lists. Empty: the id.'),
          members: z.array(bareJid).default([]).describe('Addresses of accounts of this host; others are ignored.'),
        }),
      )
      .default({})
      .describe('Groups by id. Others are made on the command line.')
      .meta({ example: 'team' }),
    max_members: count({ min: 2, max: 2000 })
      .default(300)
      .describe(
        'Maximum members of a group that is made on the command line. Each has all others in the contact list.',
      ),
    max_groups: count({ min: 1, max: 10_000 }).default(500).describe('Maximum groups of the host.'),
  }),
  stores: {
    groups: map<StoredGroup>({ value: groupSchema }),
    links: map<Link>({ value: linkSchema, key: bareJid }),
  },
  needs: ['roster'],
  provides: ['sharedGroups'],
  cli,

  start: ({ host, config, stores, services: { roster }, provide, log }) => {
    const groups = new Groups({ host, store: stores.groups, config, log });
    const configured = new Set(Object.values(config.groups).flatMap(({ members }) => members));
    provide('sharedGroups', {
      list: () => groups.list(),
      create: async (id, name) => {
        await groups.change({ kind: 'create', id, name });
      },
      remove: async (id) => {
        await groups.change({ kind: 'remove', id });
      },
      add: async (id, member) => {
        await groups.change({ kind: 'add', id, member: member.bare });
      },
      drop: (id, member) => groups.change({ kind: 'drop', id, member: member.bare }),
    });
    const catchUp = () => groups.catchUp();
    return [
      ...groups.hooks(),
      ...new Links(host, stores.links, roster).hooks(),
      event('started', catchUp),
      every(againMs, catchUp, { job: 'shared_groups' }),
      event('accountCreated', ({ jid }) => (configured.has(jid.bare) ? catchUp() : undefined)),
      event('accountDeleted', ({ jid, isAnonymous = false }) => (isAnonymous ? undefined : groups.forget(jid))),
    ];
  },
});
