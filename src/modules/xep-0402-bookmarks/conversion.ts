/**
 * The two forms of a bookmark: an item of its own (XEP-0402 §2), and a `<conference/>` among others in one `<storage/>`
 * (XEP-0048 §2). What the other form has no place for is kept where it is.
 */
import { demandFew } from '../../server/stanza/addresses.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { childrenOf, type Element, el, serialize } from '../../server/xml/element.js';

/** Items by their ids: the rooms. */
export type Items = ReadonlyMap<string, Element>;

const boolean = /^(?:true|false|1|0)$/;
const own: readonly string[] = ['nick', 'password', 'extensions'];

/** §2: throws for what is no bookmark. */
export function checkItem(id: string, payload: Element | undefined): asserts payload is Element {
  if (roomOf(id) === undefined) throw invalid('The id of a bookmark is the address of a room.');
  if (payload?.is('conference', NS.bookmarks) !== true) throw invalid('A bookmark is a conference element.');
  if (payload.attrs.autojoin !== undefined && !boolean.test(payload.attrs.autojoin))
    throw invalid('autojoin is true or false.');
  for (const name of own)
    if (payload.getChildren(name, NS.bookmarks).length > 1) throw invalid(`A bookmark has one ${name} at most.`);
}

/** XEP-0048 §2: throws for what is no list of bookmarks. */
export function checkStorage(payload: Element | undefined): asserts payload is Element {
  if (payload?.is('storage', NS.bookmarksPrivate) !== true) throw invalid('Bookmarks are in a storage element.');
  demandFew(payload.getChildren('conference', NS.bookmarksPrivate).map(({ attrs }) => attrs.jid));
}

const invalid = (text: string): StanzaError =>
  new StanzaError('bad-request', text, { extra: [el('invalid-payload', { xmlns: NS.pubsubErrors })] });

/** The bare address; undefined where it is none of a room. */
function roomOf(text: string | undefined): string | undefined {
  const jid = text === undefined ? undefined : Jid.tryParse(text);
  return jid === undefined || jid.resource !== undefined ? undefined : jid.bare;
}

/** The room of a child of `<storage/>`; undefined for whatever else is there. */
const conferenceIn = (child: Element): string | undefined =>
  child.is('conference', NS.bookmarksPrivate) ? roomOf(child.attrs.jid) : undefined;

/**
 * §5.3.1: the items as a list in which all that `before` has besides stays, in its order: addresses of web pages, and
 * what nobody understands.
 */
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
  const kept = childrenOf(before ?? el('storage')).flatMap((child) => {
    const room = conferenceIn(child);
    return room === undefined ? child : (take(room, child) ?? []);
  });
  const added = [...left.keys()].flatMap((room) => take(room) ?? []);
  return el('storage', { ...before?.attrs, xmlns: NS.bookmarksPrivate }, ...kept, ...added);
}

/**
 * §5.3.2: what has to change for the items to be what a list says. What is the same stays untouched: nobody is to be
 * told. Of a room that is there twice the last counts.
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

/** The attributes that mean the same in both. */
function shared({ attrs }: Element): Record<string, string | undefined> {
  const { xmlns: _, jid: __, ...others } = attrs;
  return others;
}

const isIn = (names: readonly string[], ns: string) => (child: Element) =>
  child.getNS() === ns && names.includes(child.getName());
const isOwn = isIn(own, NS.bookmarks);
const isOwnThere = isIn(own, NS.bookmarksPrivate);

const nameOf = (element: Element): string => `{${element.getNS() ?? ''}}${element.getName()}`;
const namesOf = (elements: readonly Element[]): Set<string> => new Set(elements.map(nameOf));

const textOf = (element: Element, name: string, ns: string): Element | undefined => {
  const text = element.getChildText(name, ns);
  return text === null ? undefined : el(name, null, text);
};

const extensionsOf = (element: Element, ns: string): Element[] =>
  element.getChildren('extensions', ns).flatMap((extensions) => childrenOf(extensions));

/**
 * An item cast into the other namespace. Extensions that `last`, how a client of the older form wrote the bookmark, has
 * outside of `<extensions/>`, are put there again.
 */
function asConference(id: string, item: Element, last: Element | undefined): Element {
  const outside = namesOf(last === undefined ? [] : childrenOf(last).filter((child) => !isOwnThere(child)));
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
 * A bookmark of the older form as an item. Clients of that form drop what they do not know (§1), so nothing of that goes
 * from the item that is there.
 */
function asItem(conference: Element, present: Element | undefined): Element {
  const { name: _, autojoin: __, ...others } = present === undefined ? {} : shared(present);
  const foreign = present === undefined ? [] : childrenOf(present).filter((child) => !isOwn(child));
  const known = namesOf(foreign);
  const outside = childrenOf(conference).filter((child) => !isOwnThere(child));
  const replaced = outside.filter((one) => known.has(nameOf(one)));
  const given = [...extensionsOf(conference, NS.bookmarksPrivate), ...outside.filter((one) => !known.has(nameOf(one)))];
  const givenNames = namesOf([...given, ...replaced]);
  const kept = present === undefined ? [] : extensionsOf(present, NS.bookmarks);
  const extensions = [...kept.filter((one) => !givenNames.has(nameOf(one))), ...given];
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

/** The same for bookmarks that mean the same, however they are written. */
function normal(item: Element): string {
  const { name = '', autojoin = '', ...others } = shared(item);
  const isJoined = autojoin === 'true' || autojoin === '1';
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
