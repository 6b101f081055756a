/**
 * XEP-0045 §7.10, §7.12, §9.9: becoming a member by oneself, with a nickname that is then reserved; at once, or when an
 * admin of the room has agreed.
 */
import type { Identity, IqRequest } from '../../server/module/index.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { type FormReading, form } from '../../server/stanza/forms.js';
import { randomId } from '../../server/stanza/ids.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import { change, checkChanges, grant } from './affiliations.js';
import { type Muc, relayedFor } from './muc.js';
import { nickOf } from './presence.js';
import { isAtLeast } from './privileges.js';
import { isListed, type Room } from './room.js';
import { isRegistrationOpen } from './room-config.js';

/** Of one room: whoever asked longer ago can ask again. */
const mostApplicants = 500;
/** Admins and owners who are asked. */
const mostAsked = 50;

const application = defineForm(NS.mucRegister, {
  'muc#register_roomnick': { type: 'text-single', label: 'Nickname', required: true },
});

/** §7.10: the form, or that one is registered. */
export function offerRegistration(room: Room, { from }: IqRequest): Element {
  const member = room.members.get(from.bare);
  if (member?.nick !== undefined)
    return el('query', { xmlns: NS.register }, el('registered'), el('username', null, member.nick));
  // Who is on a list without a nickname can have one.
  if (!isListed(member)) demandOpen(room, from);
  return el(
    'query',
    { xmlns: NS.register },
    el('instructions', null, 'Choose the nickname that is to be yours in this room.'),
    el('username'),
    application.form(
      {},
      { title: 'Registration', instructions: 'Choose the nickname that is to be yours in this room.' },
    ),
  );
}

export async function register(muc: Muc, room: Room, { from, payload }: IqRequest): Promise<void> {
  const user = from.toBare();
  const member = room.members.get(user.bare);
  if (payload.getChild('remove', NS.register) !== undefined) {
    if (member === undefined) throw new StanzaError('registration-required');
    // Higher affiliations are not given by registration, and not taken by it; a ban least of all.
    if (member.affiliation !== 'member') throw new StanzaError('not-allowed');
    return change(muc, room, [{ user, affiliation: 'none' }], { user });
  }
  if (member === undefined) demandOpen(room, from);
  else if (member.affiliation === 'outcast') throw new StanzaError('forbidden');
  const values = application.read(payload.getChild('x', NS.dataForms));
  if (values === undefined) return;
  const nick = nickOf(muc, room.jid.withResource(values['muc#register_roomnick']));
  const holder = room.reservedFor(nick) ?? room.occupant(nick)?.user.bare;
  if (holder !== undefined && holder !== user.bare) throw new StanzaError('conflict', 'The nickname is taken.');
  if (member !== undefined) return change(muc, room, [{ user, affiliation: member.affiliation, nick }], { user });
  if (room.config.approval) askAdmins(muc, room, user, nick);
  else await grant(muc, room, user, 'member', { nick, actor: user });
}

function demandOpen(room: Room, user: Jid): void {
  if (room.affiliationOf(user) === 'outcast') throw new StanzaError('forbidden');
  if (!isRegistrationOpen(room.config) || user.local === undefined)
    throw new StanzaError('not-allowed', 'Registration is closed.');
}

/** §9.9. Once for each who asks, however often he does: a request that was refused is not passed on again soon. */
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
  // To all devices, and to those who are away
  const message = Stanza.build(
    'message',
    { from: room.jid, id: randomId() },
    request,
    el('store', { xmlns: NS.hints }),
  );
  for (const admin of [...room.owners(), ...room.withAffiliation('admin')].slice(0, mostAsked))
    void host.route(message.with({ to: Jid.parse(admin) }), relayedFor(user, room, admin));
}

/** §9.9: what an admin answers, who need not be in the room. Throws StanzaError. */
export function receiveDecision(muc: Muc, room: Room, admin: Jid, reading: FormReading): void | Promise<void> {
  if (!isAtLeast(room.affiliationOf(admin), 'admin'))
    throw new StanzaError('forbidden', 'You are no admin of the room.');
  if (reading.type !== 'submit' || reading.bool('muc#register_allow') !== true) return;
  const user = Jid.tryParse(reading.get('muc#jid') ?? '')?.toBare();
  if (user?.local === undefined) throw new StanzaError('bad-request', 'Who is to be registered?');
  const wanted = reading.get('muc#register_roomnick');
  const nick = wanted ? nickOf(muc, room.jid.withResource(wanted)) : undefined;
  // Another admin was quicker, or has made him something else.
  if (room.affiliationOf(user) !== 'none') return;
  checkChanges(room, admin, [{ user, affiliation: 'member', nick }]);
  room.applicants.delete(user.bare);
  return grant(muc, room, user, 'member', { nick, actor: admin });
}

/** §7.12: the answer to x-roomuser-item. */
export function reservedNick(room: Room, from: Jid): Identity[] {
  const nick = room.members.get(from.bare)?.nick;
  return nick === undefined ? [] : [{ category: 'conference', type: 'text', name: nick }];
}
