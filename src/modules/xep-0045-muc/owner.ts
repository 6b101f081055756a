/** XEP-0045 §10.1, §10.2, §10.9: owners configure and destroy a room. */

import { Jid } from '../../server/address/jid.js';
import type { IqRequest } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import { type AffiliationChange, change } from './affiliations.js';
import { forgetOccupant, remove } from './leaving.js';
import { announce, announceChange, deliverByAccount, type Muc, unavailableFrom } from './muc.js';
import { hide } from './roles.js';
import { isWelcome, type Room } from './room.js';
import { changeCodes, configured, offered, type RoomConfig, type RoomForms } from './room-config.js';
import { setHistory } from './room-history.js';

/** Characters of a reason or a password. */
const longestText = 1000;

const demandOwner = (room: Room, { from }: IqRequest): void => {
  if (room.affiliationOf(from) !== 'owner') throw new StanzaError('forbidden', 'Only owners of the room can do that.');
};

/** §10.1.3, §10.2. */
export function offerConfig(muc: Muc, forms: RoomForms, room: Room, request: IqRequest): Element {
  demandOwner(room, request);
  const addresses = (list: 'admin' | 'owner') => room.withAffiliation(list).map((jid) => Jid.parse(jid));
  const lists = room.lockedSince === undefined ? undefined : { admins: addresses('admin'), owners: addresses('owner') };
  return el('query', { xmlns: NS.mucOwner }, offered(forms, room.config, muc.config, lists));
}

/** Handles a form submission, a cancellation, or a request to destroy the room. */
export async function configureRoom(
  muc: Muc,
  { first: form }: RoomForms,
  room: Room,
  request: IqRequest,
): Promise<void> {
  demandOwner(room, request);
  const destruction = request.payload.getChild('destroy', NS.mucOwner);
  if (destruction !== undefined) {
    await destroy(muc, room, destruction);
    muc.log.info({ room: room.jid.bare, by: request.from.bare }, 'room destroyed by its owner');
    return;
  }
  const submission = form.read(request.payload.getChild('x', NS.dataForms));
  if (submission === undefined) {
    // §10.1.3: cancelling the first configuration destroys the room
    if (room.lockedSince !== undefined) await destroy(muc, room, el('destroy'));
    return;
  }
  const requested = configured(room.config, submission, muc.config);
  const listed = changesOf(room, submission);
  if (listed.length > 0) await change(muc, room, listed, { user: request.from.toBare() });
  // A room can be persistent only if at least one owner has a permanent account.
  const isOwned = room.owners().some((owner) => !muc.host.isAnonymous(owner));
  const config = isOwned ? requested : { ...requested, persistent: false };
  const before = room.config;
  if (JSON.stringify(before) !== JSON.stringify(config)) await muc.rooms.save(room, { config });
  room.lockedSince = undefined;
  await applyConfig(muc, room, before, config);
}

/** Submitted lists of owners and admins replace the stored ones. */
function changesOf(room: Room, submission: NonNullable<ReturnType<RoomForms['first']['read']>>): AffiliationChange[] {
  const changes = new Map<string, AffiliationChange>();
  for (const [list, jids] of [
    ['admin', submission['muc#roomconfig_roomadmins']],
    ['owner', submission['muc#roomconfig_roomowners']],
  ] as const) {
    if (jids === undefined) continue;
    for (const jid of room.withAffiliation(list))
      if (!changes.has(jid)) changes.set(jid, { user: Jid.parse(jid), affiliation: 'none' });
    for (const jid of jids) {
      if (jid.local === undefined) throw new StanzaError('not-acceptable', 'Only users can own a room.');
      changes.set(jid.bare, { user: jid.toBare(), affiliation: list });
    }
  }
  return [...changes.values()].filter(
    ({ user, affiliation }) => (room.members.get(user.bare)?.affiliation ?? 'none') !== affiliation,
  );
}

async function applyConfig(muc: Muc, room: Room, before: RoomConfig, after: RoomConfig): Promise<void> {
  for (const occupant of room.occupants.values()) occupant.shown = {};
  if (!after.archived && before.archived) setHistory(room, []);
  announceChange(muc, room, changeCodes(before, after));
  for (const occupant of room.occupants.values()) {
    const { role } = occupant;
    const wasShown = before.presenceOf.includes(role);
    if (wasShown && !room.isShown(role)) hide(muc, room, occupant);
    else if (!wasShown && room.isShown(role)) announce(muc, room, occupant);
  }
  if (!after.membersOnly || before.membersOnly) return;
  // §9.4: non-members are removed
  for (const occupant of [...room.occupants.values()])
    if (!isWelcome(room, room.affiliationOf(occupant.user))) await remove(muc, room, occupant, { codes: ['322'] });
}

/** §10.9: removes the room and all its data, and sends each occupant one notice. */
export async function destroy(muc: Muc, room: Room, request: Element): Promise<void> {
  const { jid } = request.attrs;
  const venue = jid === undefined ? undefined : Jid.tryParse(jid);
  if (jid !== undefined && venue === undefined) throw new StanzaError('jid-malformed');
  const textOf = (name: string) => request.getChildText(name, NS.mucOwner)?.slice(0, longestText);
  const password = textOf('password');
  const reason = textOf('reason');
  const more = [
    el(
      'destroy',
      { jid: venue?.full },
      password === undefined ? undefined : el('password', null, password),
      reason === undefined ? undefined : el('reason', null, reason),
    ),
  ];
  await muc.rooms.remove(room);
  const occupants = [...room.occupants.values()];
  for (const occupant of occupants) {
    const standing = { affiliation: 'none', role: 'none' } as const;
    // 110: Smack requires it
    const parts = { stanza: unavailableFrom(occupant.jid), isKnown: false, codes: ['110'], standing, more };
    const farewell = room.presence(occupant, parts);
    for (const seat of occupant.seats) deliverByAccount(muc, seat, farewell);
    forgetOccupant(muc, room, occupant);
  }
}
