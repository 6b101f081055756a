/** Room administration for the server's administrators: list, show, create and destroy rooms without joining them. */

import type { Jid } from '../../server/address/jid.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { el } from '../../server/xml/element.js';
import type { Muc } from './muc.js';
import { destroy } from './owner.js';
import type { Room } from './room.js';
import { longestName } from './room-config.js';
import type { Listed } from './rooms.js';
import type { RoomAdministration, RoomDetails, RoomFacts } from './services.js';

export function administration(muc: Muc): RoomAdministration {
  const { rooms } = muc;

  const factsOf = ({ jid, name, isPublic, persistent, isMembersOnly, hasPassword, creator }: Listed): RoomFacts => ({
    jid,
    name,
    occupants: rooms.peek(jid.bare)?.occupants.size ?? 0,
    isPublic,
    isPersistent: persistent,
    isMembersOnly,
    hasPassword,
    creator,
  });

  const detailsOf = (room: Room): RoomDetails => {
    const { config, stored } = room;
    return {
      ...factsOf(rooms.listed(room.jid)!),
      description: config.description,
      subject: stored.subject?.text ?? '',
      created: stored.created,
      isArchived: config.archived,
      isModerated: config.moderated,
      isNonAnonymous: config.whois === 'anyone',
      owners: room.owners(),
      admins: room.withAffiliation('admin'),
      members: room.withAffiliation('member').length,
      banned: room.withAffiliation('outcast').length,
      present: [...room.occupants.values()].map(({ nick, role, seats }) => ({
        nick,
        role,
        jids: seats.map(({ jid }) => jid.full),
      })),
    };
  };

  return {
    jid: muc.jid,
    list: ({ after, limit }) => rooms.page(after, limit).map(factsOf),
    show: async (jid) => rooms.inRoom(jid, (room) => room && detailsOf(room)),
    create: async (jid, owner, { name = '', isMembersOnly, isPublic }) => {
      demandRoomAddress(muc, jid);
      if (name.length > longestName)
        throw new StanzaError('not-acceptable', `The name of a room must not exceed ${longestName} characters.`);
      const { isNew } = await rooms.create(jid.toBare(), owner.toBare());
      if (!isNew) return false;
      await rooms.inRoom(jid, async (room) => {
        if (room === undefined) throw new StanzaError('item-not-found');
        const config = { ...room.config, name, persistent: true, membersOnly: isMembersOnly, public: isPublic };
        await rooms.save(room, { config });
        room.lockedSince = undefined;
      });
      return true;
    },
    destroy: async (jid, reason) =>
      rooms.inRoom(jid, async (room) => {
        if (room === undefined) return false;
        const why = reason === undefined ? undefined : el('reason', null, reason);
        await destroy(muc, room, el('destroy', { xmlns: NS.mucOwner }, why));
        muc.log.info({ room: room.jid.bare }, 'room destroyed by an administrator');
        return true;
      }),
  };
}

function demandRoomAddress(muc: Muc, { domain, local }: Jid): void {
  if (domain !== muc.jid.domain || local === undefined) throw new StanzaError('jid-malformed');
}
