/** What a link to a room leads to, for its page in a browser, and tokens for such links (XEP-0488). Asked at the room's home. */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { answers, defineQuestion, type Hook } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { bareJid } from '../../server/stanza/stored.js';
import type { Muc } from './muc.js';
import type { RoomLinks } from './services.js';
import { issue, tokenFor } from './xep-0488-tokens.js';

const looking = defineQuestion({
  name: 'muc.link',
  given: z.object({ token: z.string() }),
  answer: z.object({ name: z.string(), description: z.string(), until: z.number().nullable() }).nullable(),
});

const limit = z.int().min(1);
const issuing = defineQuestion({
  name: 'muc.token',
  given: z.object({ by: bareJid, seconds: limit.optional(), uses: limit.optional() }),
  answer: z.object({ token: z.string(), until: z.number().optional() }),
});

export const roomLinks = ({ host, jid }: Muc): RoomLinks => ({
  jid,
  look: async (room, token) => (await host.askHome(looking, room, { token })) ?? undefined,
  issue: async (room, by, limits) => host.askHome(issuing, room, { by: by.bare, ...limits }),
});

export function linkAnswers(muc: Muc): Hook[] {
  return [
    answers(looking, ({ token }, jid) =>
      muc.rooms.inRoom(jid, (room) => {
        if (room === undefined || room.lockedSince !== undefined) return null;
        const found = tokenFor(room, token);
        const { public: isPublic, membersOnly, password, description } = room.config;
        // Without a token a stranger learns of rooms that everybody may find and enter.
        if (found === undefined && (token !== '' || !isPublic || membersOnly || password !== '')) return null;
        return { name: room.name, description, until: found?.until ?? null };
      }),
    ),
    answers(issuing, ({ by, seconds, uses }, jid) =>
      muc.rooms.inRoom(jid, (room) => {
        if (room === undefined) throw new StanzaError('item-not-found', 'There is no such room.');
        return issue(muc, room, Jid.parse(by), { seconds, uses });
      }),
    ),
  ];
}
