/**
 * ProtoXEP "Group Chat Reporting" (0.0.1, March 2026): occupants report each other to the owners and admins of the
 * room, and rooms to the operators of the service. Reports are stored with those of XEP-0377. A report about an
 * occupant stays between the room and this server, even if the occupant's account is on another server.
 */

import { Jid } from '../../server/address/jid.js';
import { Rates } from '../../server/limits/rates.js';
import type { IqRequest } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import { seatOf } from './messages.js';
import { type Muc, relayedFor } from './muc.js';
import { occupantIdElement, type Room } from './room.js';

const hour = 3_600_000;
/** Messages per report. */
const mostMessages = 50;
/** Owners and admins notified of a report. */
const mostNotified = 50;
/** Characters of the text. */
const longestText = 1000;

/** Returns undefined if no module stores reports. */
export function reporting(muc: Muc) {
  const { reports } = muc;
  if (reports === undefined) return undefined;
  const byUser = new Rates(muc.config.reports_per_hour, hour);
  const aboutRoom = new Rates(muc.config.reports_per_hour * 10, hour);

  const take = (user: Jid, room: Jid): void => {
    if (Rates.takeAll([byUser, muc.host.userOf(user)], [aboutRoom, room.bare]) === undefined) return;
    muc.host.limitHit('muc.reports_per_hour');
    throw new StanzaError('policy-violation', 'Too many reports. Try again later.', { type: 'wait' });
  };

  return {
    /** §3.1. Throws StanzaError. */
    async participant(room: Room, { from, payload, stanza }: IqRequest): Promise<void> {
      const { occupant: reporter } = seatOf(room, stanza);
      const element = reportIn(payload);
      const id = payload.getChild('occupant-id', NS.occupantId)?.attrs.id;
      if (!id) throw new StanzaError('bad-request', 'The report needs the occupant id of a participant.');
      const reported = await messagesOf(muc, room, id, idsIn(element));
      const user = userWithId(room, id) ?? reported.find((message) => message.user !== undefined)?.user;
      if (user === undefined) throw new StanzaError('item-not-found', 'There is no such participant.');
      take(from, room.jid);
      const messages = reported.map(({ message }) => message);
      await reports.add({ by: from.toBare(), about: user, room: room.jid, element, messages });
      notifyAdmins(muc, room, { by: reporter.user, reporter: reporter.nick, user, id, element, messages });
    },

    /** §3.2. Throws StanzaError. */
    async chat({ from, to, payload }: IqRequest): Promise<void> {
      if (to.local !== undefined) throw new StanzaError('bad-request', 'Send reports about rooms to the service.');
      const element = reportIn(payload);
      const room = Jid.tryParse(payload.getChildText('jid', NS.gcReport)?.trim() ?? '');
      if (room === undefined) throw new StanzaError('bad-request', 'The report needs the address of a room.');
      const exists = await muc.rooms.inRoom(room.toBare(), (found) => found !== undefined);
      if (!exists) throw new StanzaError('item-not-found', 'There is no such room.');
      take(from, room);
      await reports.add({ by: from.toBare(), about: room.toBare(), element, messages: [] });
    },
  };
}

/** Returns the one report of a request. Throws StanzaError if there are more or it has no reason (XEP-0377 §4). */
function reportIn(payload: Element): Element {
  const [element, ...further] = payload.getChildren('report', NS.reporting);
  if (element === undefined || further.length > 0 || !element.attrs.reason)
    throw new StanzaError('bad-request', 'Send exactly one report, with a reason.');
  return element;
}

const idsIn = (report: Element): string[] =>
  report
    .getChildren('stanza-id', NS.stanzaId)
    .slice(0, mostMessages)
    .flatMap(({ attrs }) => attrs.id ?? []);

const isOf = (message: Stanza, id: string): boolean => message.child(NS.occupantId, 'occupant-id')?.attrs.id === id;

/** §3.1: messages of other occupants are left out. */
async function messagesOf(
  { archive }: Muc,
  room: Room,
  id: string,
  ids: readonly string[],
): Promise<{ readonly message: Stanza; readonly user: Jid | undefined }[]> {
  if (ids.length === 0) return [];
  const { entries } = await archive.read(room.jid, { ids, limit: ids.length });
  const archived = entries.map(({ id, value, with: user }) => ({
    id,
    message: Stanza.parse(value),
    user: asJid(user),
  }));
  // Rooms without an archive have only their recent history.
  const remembered = room.history
    .filter((one) => ids.includes(one.id) && !archived.some((other) => other.id === one.id))
    .map(({ stanza }) => ({ message: stanza, user: undefined }));
  return [...archived, ...remembered].filter(({ message }) => isOf(message, id));
}

const asJid = (text: string | undefined): Jid | undefined =>
  text === undefined ? undefined : Jid.tryParse(text)?.toBare();

/** The user with this occupant id, if present or on the lists of the room. */
function userWithId(room: Room, id: string): Jid | undefined {
  for (const occupant of room.occupants.values()) if (occupant.id === id) return occupant.user;
  return asJid(room.userOf(id));
}

/** §4: notifies owners and admins, who may see real addresses. */
function notifyAdmins(
  { host }: Muc,
  room: Room,
  about: {
    readonly by: Jid;
    readonly reporter: string;
    readonly user: Jid;
    readonly id: string;
    readonly element: Element;
    readonly messages: readonly Stanza[];
  },
): void {
  const { by, reporter, user, id, element, messages } = about;
  const reason = element.attrs.reason!;
  const text = element.getChildText('text', NS.reporting)?.trim().slice(0, longestText) ?? '';
  const bodies = messages.map((message) => message.text(NS.client, 'body')?.slice(0, longestText));
  const words = [
    `${reporter} reports ${user.bare} (${reason.replace(/^urn:xmpp:reporting:/, '')})`,
    text,
    ...bodies.map((body) => (body === undefined ? '' : `> ${body}`)),
  ];
  const report = el(
    'report',
    { xmlns: NS.reporting, reason },
    ...idsIn(element).map((id) => el('stanza-id', { xmlns: NS.stanzaId, id, by: room.jid.bare })),
    text === '' ? undefined : el('text', null, text),
  );
  const message = Stanza.build(
    'message',
    { from: room.jid, id: randomId() },
    el('body', null, words.filter((line) => line !== '').join('\n')),
    el('report-participant', { xmlns: NS.gcReport }, occupantIdElement(id), report),
  );
  const admins = [...room.owners(), ...room.withAffiliation('admin')].slice(0, mostNotified);
  for (const admin of admins) void host.route(message.with({ to: Jid.parse(admin) }), relayedFor(by, room, admin));
}
