/**
 * Converts between the two forms of a bookmark: an item (XEP-0402 §2), and a `<conference/>` in a `<storage/>` list
 * (XEP-0048 §2). Data without a counterpart stays in its form.
 */

import { Jid } from '../../server/address/jid.js';
import { demandFew } from '../../server/stanza/addresses.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { childrenOf, type Element, el, serialize } from '../../server/xml/element.js';
import type { Bookmark } from './services.js';

/** Items by their ids, the rooms. */
export type Items = ReadonlyMap<string, Element>;

const boolean = /^(?:true|false|1|0)$/;
const own: readonly string[] = ['nick', 'password', 'extensions'];

/** §2: throws StanzaError unless it is a valid bookmark. */
export function checkItem(id: string, payload: Element | undefined): asserts payload is Element {
  if (roomOf(id) === undefined) throw invalid('The item id must be the address of a room.');
  if (payload?.is('conference', NS.bookmarks) !== true) throw invalid('The payload must be a conference element.');
  if (payload.attrs.autojoin !== undefined && !boolean.test(payload.attrs.autojoin))
    throw invalid('The value of autojoin must be true or false.');
  for (const name of own)
    if (payload.getChildren(name, NS.bookmarks).length > 1)
      throw invalid(`A bookmark can have at most one ${name} element.`);
}

/** XEP-0048 §2: throws StanzaError unless it is a list of bookmarks. */
export function checkStorage(payload: Element | undefined): asserts payload is Element {
  if (payload?.is('storage', NS.bookmarksPrivate) !== true) throw invalid('The payload must be a storage element.');
  demandFew(payload.getChildren('conference', NS.bookmarksPrivate).map(({ attrs }) => attrs.jid));
}

/** What an item says. */
export const bookmarkIn = (item: Element): Bookmark => ({
  autojoin: isTrue(item.attrs.autojoin),
  nick: item.getChildText('nick', NS.bookmarks) ?? undefined,
  extensions: extensionsOf(item, NS.bookmarks),
});

const isTrue = (text: string | undefined): boolean => text === 'true' || text === '1';

const invalid = (text: string): StanzaError =>
  new StanzaError('bad-request', text, { extra: [el('invalid-payload', { xmlns: NS.pubsubErrors })] });

/** The bare address. Returns undefined if it is not the address of a room. */
function roomOf(text: string | undefined): string | undefined {
  const jid = text === undefined ? undefined : Jid.tryParse(text);
  return jid === undefined || jid.resource !== undefined ? undefined : jid.bare;
}

/** The room of a child of `<storage/>`. Returns undefined for other children. */
const conferenceIn = (child: Element): string | undefined =>
  child.is('conference', NS.bookmarksPrivate) ? roomOf(child.attrs.jid) : undefined;

/** §5.3.1: the items as a list. Everything else in `before` stays in its place: URL bookmarks and unknown elements. */
export function collate(before: Element | undefined, items: Items): Element {
  const left = new Map<string, readonly [id: string, item: Element]>();
  for (const [id, item] of items) {
    const room = roomOf(id);
    if (room !== undefined) left.set(room, [id, item]);
  }
  const take = (room: string, last?: Element): Element | undefined => {
    const found = left.get(room);
    left.delete(room);
    return found && asConference(found[0], found[1], last);
  };
  const retained = childrenOf(before ?? el('storage')).flatMap((child) => {
    const room = conferenceIn(child);
    return room === undefined ? child : (take(room, child) ?? []);
  });
  const added = [...left.keys()].flatMap((room) => take(room) ?? []);
  return el('storage', { ...before?.attrs, xmlns: NS.bookmarksPrivate }, ...retained, ...added);
}

/**
 * §5.3.2: the changes that make the items match a list. Equal bookmarks are not touched, to avoid notifications. If a
 * room is listed twice, the last one counts.
 */
export function differences(storage: Element, items: Items): { publish: Map<string, Element>; retract: string[] } {
  const ids = new Map<string, string>();
  for (const id of items.keys()) {
    const room = roomOf(id);
    if (room !== undefined) ids.set(room, id);
  }
  const wanted = new Map<string, Element>();
  for (const child of childrenOf(storage)) {
    const room = conferenceIn(child);
    if (room !== undefined) wanted.set(room, child);
  }
  const publish = new Map<string, Element>();
  for (const [room, conference] of wanted) {
    const id = ids.get(room) ?? room;
    const present = items.get(id);
    const item = asItem(conference, present);
    if (present === undefined || normal(item) !== normal(present)) publish.set(id, item);
  }
  return { publish, retract: [...ids].filter(([room]) => !wanted.has(room)).map(([, id]) => id) };
}

/** The attributes common to both forms. */
function shared({ attrs }: Element): Record<string, string | undefined> {
  const { xmlns: _, jid: __, ...others } = attrs;
  return others;
}

const isIn = (names: readonly string[], ns: string) => (child: Element) =>
  child.getNS() === ns && names.includes(child.getName());
const isOwn = isIn(own, NS.bookmarks);
const isStandard = isIn(own, NS.bookmarksPrivate);

const nameOf = (element: Element): string => `{${element.getNS() ?? ''}}${element.getName()}`;
const namesOf = (elements: readonly Element[]): Set<string> => new Set(elements.map(nameOf));

const textOf = (element: Element, name: string, ns: string): Element | undefined => {
  const text = element.getChildText(name, ns);
  return text === null ? undefined : el(name, null, text);
};

const extensionsOf = (element: Element, ns: string): Element[] =>
  element.getChildren('extensions', ns).flatMap((extensions) => childrenOf(extensions));

/**
 * An item in the older form. Extensions that `last`, the previous version in the older form, has outside of
 * `<extensions/>` are written there again.
 */
function asConference(id: string, item: Element, last: Element | undefined): Element {
  const outside = namesOf(last === undefined ? [] : childrenOf(last).filter((child) => !isStandard(child)));
  const extensions = extensionsOf(item, NS.bookmarks);
  const inside = extensions.filter((one) => !outside.has(nameOf(one)));
  return el(
    'conference',
    { xmlns: NS.bookmarksPrivate, ...shared(item), jid: id },
    textOf(item, 'nick', NS.bookmarks),
    textOf(item, 'password', NS.bookmarks),
    inside.length === 0 ? undefined : el('extensions', null, ...inside),
    ...extensions.filter((one) => outside.has(nameOf(one))),
    ...childrenOf(item).filter((child) => !isOwn(child)),
  );
}

/**
 * A bookmark of the older form as an item. Clients of that form drop unknown elements (§1), so extensions of the
 * present item are retained.
 */
function asItem(conference: Element, present: Element | undefined): Element {
  const { name: _, autojoin: __, ...others } = present === undefined ? {} : shared(present);
  const foreign = present === undefined ? [] : childrenOf(present).filter((child) => !isOwn(child));
  const known = namesOf(foreign);
  const outside = childrenOf(conference).filter((child) => !isStandard(child));
  const replaced = outside.filter((one) => known.has(nameOf(one)));
  const given = [...extensionsOf(conference, NS.bookmarksPrivate), ...outside.filter((one) => !known.has(nameOf(one)))];
  const givenNames = namesOf([...given, ...replaced]);
  const retained = present === undefined ? [] : extensionsOf(present, NS.bookmarks);
  const extensions = [...retained.filter((one) => !givenNames.has(nameOf(one))), ...given];
  return el(
    'conference',
    { xmlns: NS.bookmarks, ...others, ...shared(conference) },
    textOf(conference, 'nick', NS.bookmarksPrivate),
    textOf(conference, 'password', NS.bookmarksPrivate),
    extensions.length === 0 ? undefined : el('extensions', null, ...extensions),
    ...foreign.filter((one) => !givenNames.has(nameOf(one))),
    ...replaced,
  );
}

/** A normal form: equal for bookmarks with the same meaning. */
function normal(item: Element): string {
  const { name = '', autojoin = '', ...others } = shared(item);
  const isJoined = isTrue(autojoin);
  const sorted = (elements: readonly Element[]) => elements.map((one) => serialize(one)).sort();
  return JSON.stringify([
    name,
    isJoined,
    Object.entries(others).sort(),
    item.getChildText('nick', NS.bookmarks) ?? '',
    item.getChildText('password', NS.bookmarks) ?? '',
    sorted(extensionsOf(item, NS.bookmarks)),
    sorted(childrenOf(item).filter((child) => !isOwn(child))),
  ]);
}
