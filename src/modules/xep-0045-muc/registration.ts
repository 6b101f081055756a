/**
 * XEP-0045 §7.10, §7.12, §9.9: registering as a member with a reserved nickname, either immediately or after approval
 * by an admin of the room.
 */

import { Jid } from '../../server/address/jid.js';
import type { Identity, IqRequest, Maybe } from '../../server/module/index.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { type FormReading, form } from '../../server/stanza/forms.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import { change, checkChanges, grant } from './affiliations.js';
import { type Muc, relayedFor } from './muc.js';
import { nickOf } from './presence.js';
import { isAtLeast } from './privileges.js';
import { isListed, type Room } from './room.js';
import { isRegistrationOpen } from './room-config.js';

/** Pending requests per room; a user whose request was evicted can ask again. */
const mostApplicants = 500;
/** Admins and owners who are asked for approval. */
const mostAsked = 50;

const application = defineForm(NS.mucRegister, {
  'muc#register_roomnick': { type: 'text-single', label: 'Nickname', required: true },
});

/** §7.10: the registration form, or a note that the user is registered. */
export function offerRegistration(room: Room, { from }: IqRequest): Element {
  const member = room.members.get(from.bare);
  if (member?.nick !== undefined)
    return el('query', { xmlns: NS.register }, el('registered'), el('username', null, member.nick));
  // Listed users without a nickname may register one.
  if (!isListed(member)) demandOpen(room, from);
  return el(
    'query',
    { xmlns: NS.register },
    el('instructions', null, 'Choose your nickname in this room.'),
    el('username'),
    application.form({}, { title: 'Registration', instructions: 'Choose your nickname in this room.' }),
  );
}

export async function register(muc: Muc, room: Room, { from, payload }: IqRequest): Promise<void> {
  const user = from.toBare();
  const member = room.members.get(user.bare);
  if (payload.getChild('remove', NS.register) !== undefined) {
    if (member === undefined) throw new StanzaError('registration-required');
    // Registration neither gives nor removes higher affiliations or bans.
    if (member.affiliation !== 'member') throw new StanzaError('not-allowed');
    return change(muc, room, [{ user, affiliation: 'none' }], { user });
  }
  if (member === undefined) demandOpen(room, from);
  else if (member.affiliation === 'outcast') throw new StanzaError('forbidden');
  const values = application.read(payload.getChild('x', NS.dataForms));
  if (values === undefined) return;
  const nick = nickOf(muc, room.jid.withResource(values['muc#register_roomnick']));
  const holder = room.reservedFor(nick) ?? room.occupant(nick)?.user.bare;
  if (holder !== undefined && holder !== user.bare)
    throw new StanzaError('conflict', 'The nickname is already in use.');
  if (member !== undefined) return change(muc, room, [{ user, affiliation: member.affiliation, nick }], { user });
  if (room.config.approval) askAdmins(muc, room, user, nick);
  else await grant(muc, room, user, 'member', { nick, actor: user });
}

function demandOpen(room: Room, user: Jid): void {
  if (room.affiliationOf(user) === 'outcast') throw new StanzaError('forbidden');
  if (!isRegistrationOpen(room.config) || user.local === undefined)
    throw new StanzaError('not-allowed', 'The room does not allow registration.');
}

/** §9.9. Admins are asked once per user, however often the user applies, until the request is evicted. */
function askAdmins({ host }: Muc, room: Room, user: Jid, nick: string): void {
  if (room.applicants.has(user.bare)) return;
  if (room.applicants.size >= mostApplicants) room.applicants.delete(room.applicants.values().next().value!);
  room.applicants.add(user.bare);
  const request = form({
    type: 'form',
    formType: NS.mucRegister,
    title: 'Registration request',
    instructions:
      'To approve this registration request, select the field “Allow this person to register with the room?” and submit the form.',
    fields: [
      { var: 'muc#jid', type: 'jid-single', label: 'User ID', value: user },
      { var: 'muc#register_roomnick', type: 'text-single', label: 'Desired Nickname', value: nick },
      {
        var: 'muc#register_allow',
        type: 'boolean',
        label: 'Allow this person to register with the room?',
        value: false,
      },
    ],
  });
  // Stored, so that all devices and absent admins get it
  const message = Stanza.build(
    'message',
    { from: room.jid, id: randomId() },
    request,
    el('store', { xmlns: NS.hints }),
  );
  for (const admin of [...room.owners(), ...room.withAffiliation('admin')].slice(0, mostAsked))
    void host.route(message.with({ to: Jid.parse(admin) }), relayedFor(user, room, admin));
}

/** §9.9: handles an admin's decision; the admin need not be in the room. Throws StanzaError. */
export function receiveDecision(muc: Muc, room: Room, admin: Jid, reading: FormReading): Maybe<void> {
  if (!isAtLeast(room.affiliationOf(admin), 'admin'))
    throw new StanzaError('forbidden', 'Only admins of the room can do that.');
  if (reading.type !== 'submit' || reading.bool('muc#register_allow') !== true) return;
  const user = Jid.tryParse(reading.get('muc#jid') ?? '')?.toBare();
  if (user?.local === undefined) throw new StanzaError('bad-request', 'The form needs the address of the user.');
  const wanted = reading.get('muc#register_roomnick');
  const nick = wanted ? nickOf(muc, room.jid.withResource(wanted)) : undefined;
  // Another admin has decided already, or has given the user another affiliation.
  if (room.affiliationOf(user) !== 'none') return;
  checkChanges(room, admin, [{ user, affiliation: 'member', nick }]);
  room.applicants.delete(user.bare);
  return grant(muc, room, user, 'member', { nick, actor: admin });
}

/** §7.12: answers x-roomuser-item. */
export function reservedNick(room: Room, from: Jid): Identity[] {
  const nick = room.members.get(from.bare)?.nick;
  return nick === undefined ? [] : [{ category: 'conference', type: 'text', name: nick }];
}
