/** XEP-0463: versions of the affiliation lists, so that a returning client is sent only the changes. */
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza, type StanzaHeader } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import { deliver, type Muc, pour } from './muc.js';
import { type Affiliation, affiliations } from './privileges.js';
import { type ListChange, mayRead, type Room, type Seat } from './room.js';

/** Changes remembered per room; clients with an older version are sent the whole lists. */
const rememberedChanges = 500;
/** Items per message; long lists are split (§5.2.1). */
const itemsAtOnce = 500;

/** §5.2.2: records a change and returns the element that announces it. */
export function noteChange(room: Room, change: ListChange): Element {
  room.listChanges.push(change);
  if (room.listChanges.length > rememberedChanges) room.listChanges.shift();
  return el('mav', { xmlns: NS.mav, since: change.since, until: change.until });
}

export const currentVersion = (room: Room): Element => el('mav', { xmlns: NS.mav, until: room.listVersion });

/** §5.2.1: on request, sends the lists the client may read, or their changes, before any presence. */
export function sendVersions(muc: Muc, room: Room, seat: Seat, stanza: Stanza): void {
  const request = stanza.child(NS.muc, 'x')?.getChild('mav', NS.mav);
  if (request === undefined || request.attrs.since === room.listVersion) return;
  const readable = new Set<Affiliation>(
    affiliations.filter((list) => list !== 'none' && mayRead(room, seat.jid, list, muc.config.lists_for)),
  );
  const header = { from: room.jid, id: stanza.id ?? randomId() };
  if (readable.size === 0) {
    const error = new StanzaError('forbidden', undefined, { by: room.jid.bare }).toElement();
    deliver(muc, seat, Stanza.build('message', { ...header, type: 'error' }, error));
    return;
  }
  const start = room.listChanges.findLastIndex(({ since }) => since === request.attrs.since);
  const items = new Map<string, Affiliation>();
  if (start < 0) {
    for (const [user, { affiliation }] of room.members) if (readable.has(affiliation)) items.set(user, affiliation);
  } else {
    // A user moved to a list that the client may not read is sent as "none" if the client knew them before.
    for (const { user, before, affiliation } of room.listChanges.slice(start)) {
      if (readable.has(affiliation)) items.set(user, affiliation);
      else if (readable.has(before) || items.has(user)) items.set(user, 'none');
    }
  }
  pour(muc, seat, messagesOf(room, [...items], header, start < 0 ? undefined : request.attrs.since));
}

function* messagesOf(
  room: Room,
  all: readonly (readonly [string, Affiliation])[],
  header: StanzaHeader,
  known: string | undefined,
): Generator<Stanza, void> {
  const { listVersion } = room;
  let since = known;
  for (let done = 0; done === 0 || done < all.length; done += itemsAtOnce) {
    // A client that disconnects in between has a version unknown to us, and will be sent everything again.
    const isLast = done + itemsAtOnce >= all.length;
    const until = isLast ? listVersion : `${listVersion}.${done}`;
    const x = el(
      'x',
      { xmlns: NS.mucUser },
      el('mav', { xmlns: NS.mav, since, until }),
      ...all.slice(done, done + itemsAtOnce).map(([jid, affiliation]) => el('item', { jid, affiliation })),
    );
    yield Stanza.build('message', header, x);
    since = until;
  }
}
