/** XEP-0045 §7.13, §8.6: visitors request voice, and moderators grant it. */
import { type Maybe, onBehalfOf } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { type FormReading, form } from '../../server/stanza/forms.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import type { Muc } from './muc.js';
import { setRole } from './roles.js';
import type { Room, Seat } from './room.js';

/** Throws StanzaError. */
export function receiveVoiceForm(muc: Muc, room: Room, seat: Seat, reading: FormReading): Maybe<void> {
  if (reading.type !== 'submit') return;
  const { formType = NS.mucRequest } = reading;
  if (formType !== NS.mucRequest || reading.get('muc#role') !== 'participant') throw new StanzaError('bad-request');
  return reading.bool('muc#request_allow') === undefined
    ? ask(muc, room, seat)
    : decide(muc, room, seat, reading.bool('muc#request_allow')!, reading.get('muc#roomnick'));
}

/** §8.6: the form goes to all moderators, who may see real addresses anyway. */
function ask(muc: Muc, room: Room, { occupant, jid }: Seat): void {
  if (occupant.role !== 'visitor') throw new StanzaError('not-acceptable', 'You already have voice.');
  const request = form({
    type: 'form',
    formType: NS.mucRequest,
    title: 'Voice request',
    instructions:
      'To approve this request for voice, select the field “Grant voice to this person?” and submit the form.',
    fields: [
      { var: 'muc#role', type: 'list-single', label: 'Requested role', value: 'participant', options: ['participant'] },
      { var: 'muc#jid', type: 'jid-single', label: 'User ID', value: jid },
      { var: 'muc#roomnick', type: 'text-single', label: 'Room Nickname', value: occupant.nick },
      { var: 'muc#request_allow', type: 'boolean', label: 'Grant voice to this person?', value: false },
    ],
  });
  const message = Stanza.build('message', { from: room.jid, id: randomId() }, request);
  const behalf = onBehalfOf([jid], { isAsked: true });
  for (const seat of room.seats.values())
    if (seat.occupant.role === 'moderator') void muc.host.route(message.with({ to: seat.jid }), behalf);
}

function decide(muc: Muc, room: Room, { occupant }: Seat, isGranted: boolean, nick: string | undefined): Maybe<void> {
  if (occupant.role !== 'moderator') throw new StanzaError('forbidden', 'Only moderators can grant voice.');
  const target = nick === undefined ? undefined : room.occupant(nick);
  if (!isGranted || target?.role !== 'visitor') return;
  return setRole(muc, room, target, 'participant', {});
}
