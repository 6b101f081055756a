/** XEP-0045 §7.10, §7.12: becoming a member by oneself, with a nickname that is then reserved. */
import type { Identity, IqRequest } from '../../server/module.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import type { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import { change, grant } from './affiliations.js';
import type { Muc } from './muc.js';
import { nickOf } from './presence.js';
import type { Room } from './room.js';

const form = defineForm(NS.mucRegister, {
  'muc#register_roomnick': { type: 'text-single', label: 'Nickname', required: true },
});

/** §7.10: the form, or that one is registered. */
export function offerRegistration(room: Room, { from }: IqRequest): Element {
  const member = room.members.get(from.bare);
  if (member !== undefined && member.affiliation !== 'outcast') {
    return el('query', { xmlns: NS.register }, el('registered'), el('username', null, member.nick ?? ''));
  }
  demandOpen(room, from);
  return el(
    'query',
    { xmlns: NS.register },
    el('instructions', null, 'Choose the nickname that is to be yours in this room.'),
    el('username'),
    form.form({}, { title: 'Registration', instructions: 'Choose the nickname that is to be yours in this room.' }),
  );
}

export async function register(muc: Muc, room: Room, { from, payload }: IqRequest): Promise<void> {
  const user = from.toBare();
  const member = room.members.get(user.bare);
  if (payload.getChild('remove', NS.register) !== undefined) {
    if (member === undefined) throw new StanzaError('registration-required');
    // Higher affiliations are not given by registration, and not taken by it; a ban least of all.
    if (member.affiliation !== 'member') throw new StanzaError('not-allowed');
    return change(muc, room, [{ user, affiliation: 'none' }]);
  }
  if (member === undefined) demandOpen(room, from);
  else if (member.affiliation === 'outcast') throw new StanzaError('forbidden');
  const values = form.read(payload.getChild('x', NS.dataForms));
  if (values === undefined) return;
  const nick = nickOf(muc, room.jid.withResource(values['muc#register_roomnick']));
  const holder = room.reservedFor(nick) ?? room.occupant(nick)?.user.bare;
  if (holder !== undefined && holder !== user.bare) throw new StanzaError('conflict', 'The nickname is taken.');
  if (member === undefined) return grant(muc, room, user, 'member', nick);
  return change(muc, room, [{ user, affiliation: member.affiliation, nick }]);
}

/** Who could register in a members-only room would let himself in. */
function demandOpen({ config }: Room, { local }: Jid): void {
  if (!config.registration || config.membersOnly || local === undefined)
    throw new StanzaError('not-allowed', 'Registration is closed.');
}

/** §7.12: the answer to x-roomuser-item. */
export function reservedNick(room: Room, from: Jid): Identity[] {
  const nick = room.members.get(from.bare)?.nick;
  return nick === undefined ? [] : [{ category: 'conference', type: 'text', name: nick }];
}
