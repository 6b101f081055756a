/** XEP-0433: search for public rooms; also by its predecessor, with which Converse.js completes addresses of rooms. */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { defineQuestion, type IqRequest, type Maybe } from '../../server/module/index.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import type { Muc } from './muc.js';
import { pageOf } from './paging.js';
import type { Listed } from './rooms.js';

const byUsers = `{${NS.channelSearch}:order}nusers`;
const byAddress = `{${NS.channelSearch}:order}address`;
const longestQuery = 200;
const mostTerms = 5;
const shortestTerm = 2;
/** Rooms by name whose users nodes are asked about; if there are more, they are asked about all. */
const mostNamed = 1000;

/** Fields that both forms have. */
const fields = {
  q: { type: 'text-single', label: 'Search for', longest: longestQuery },
  name: { type: 'boolean', label: 'Search in name' },
  description: { type: 'boolean', label: 'Search in description' },
  address: { type: 'boolean', label: 'Search in address' },
  users: { type: 'text-single', label: 'Minimum number of users', datatype: 'xs:integer', min: 0 },
} as const;

const parameters = defineForm(`${NS.channelSearch}:search-params`, {
  q: fields.q,
  all: { type: 'boolean', label: 'Return all entries (ignore search terms)' },
  sinname: fields.name,
  sindescription: fields.description,
  sinaddress: fields.address,
  min_users: fields.users,
  types: {
    type: 'list-multi',
    label: 'Service types',
    options: [{ value: 'xep-0045', label: 'XEP-0045 Multi User Chats' }],
    open: true,
  },
  key: { type: 'list-single', label: 'Sort results by', options: [byUsers, byAddress], open: true },
});

const defaults = {
  sinname: true,
  sindescription: true,
  sinaddress: true,
  min_users: 1,
  types: ['xep-0045'],
  key: byUsers,
} as const;

/**
 * Asked at every node: the users in its rooms, of these, or of all that have some. A room that is moving has no answer until
 * its new home has it.
 */
export const occupied = defineQuestion({
  name: 'muc.occupied',
  given: z.object({ rooms: z.array(z.string()).nullable() }),
  answer: z.array(z.tuple([z.string(), z.number()])),
});

export function occupiedHere(
  { rooms, host }: Muc,
  { rooms: wanted }: { readonly rooms: readonly string[] | null },
): Maybe<[room: string, users: number][]> {
  if (wanted === null)
    return [...rooms.loaded()].flatMap(({ jid, occupants }) =>
      occupants.size === 0 ? [] : [[jid.bare, occupants.size]],
    );
  const counts = (): [string, number][] =>
    wanted.flatMap((bare) => {
      const room = rooms.peek(bare);
      return room !== undefined || host.livesHere(Jid.parse(bare)) ? [[bare, room?.occupants.size ?? 0]] : [];
    });
  // A room that has just come here is being read.
  const named = new Set(wanted);
  const reading = rooms.reading((bare) => named.has(bare));
  return reading === undefined ? counts() : reading.then(counts);
}

/** The users in rooms, by address: a call if all are here. Rejects with StanzaError. */
function usersOf({ host }: Muc, found: readonly Listed[]): Maybe<ReadonlyMap<string, number>> {
  if (found.length > mostNamed) return merged(host.askNodes(occupied, { rooms: null }));
  const counted = merged(host.askNodes(occupied, { rooms: found.map(({ jid }) => jid.bare) }));
  return counted instanceof Promise ? counted.then((users) => withMoving(users)) : withMoving(counted);

  /** The new homes of rooms that are moving answer when they have them. */
  function withMoving(users: ReadonlyMap<string, number>): Maybe<ReadonlyMap<string, number>> {
    const moving = found.filter(({ jid }) => !users.has(jid.bare));
    if (moving.length === 0) return users;
    const asked = moving.map(async ({ jid }) => host.askHome(occupied, jid, { rooms: [jid.bare] }));
    return Promise.all(asked).then((counts) => new Map([...users, ...counts.flat()]));
  }
}

function merged(counts: Maybe<readonly (readonly [string, number])[][]>): Maybe<ReadonlyMap<string, number>> {
  return counts instanceof Promise ? counts.then((all) => new Map(all.flat())) : new Map(counts.flat());
}

/** Returns the search form, or the results of a submitted form. Throws StanzaError. */
export function search(muc: Muc, { to, payload }: IqRequest): Maybe<Element> {
  demandService(to);
  const x = payload.getChild('x', NS.dataForms);
  if (x === undefined) return el('search', { xmlns: NS.channelSearchQuery }, parameters.form(defaults));
  const submitted = parameters.read(x);
  if (submitted === undefined) return el('result', { xmlns: NS.channelSearchQuery });
  const values = { ...defaults, ...submitted };
  if (values.key !== byUsers && values.key !== byAddress) throw refusal('feature-not-implemented', 'invalid-sort-key');
  if (submitted.q && submitted.all)
    throw refusal('bad-request', 'conflicting-fields', ...['all', 'q'].map((name) => el('var', null, name)));
  if (submitted.q === undefined && !submitted.all)
    throw new StanzaError('bad-request', 'Fill in a search term, or request all rooms.', {
      type: 'cancel',
      extra: [specific('no-search-conditions')],
    }); // §4.2.2.7
  const found = values.types.includes('xep-0045') ? matching(muc, values, termsOf(submitted.q, submitted.all)) : [];
  return resultOf(muc, found, payload, values.min_users, values.key === byUsers);
}

const oldParameters = defineForm(`${NS.channelSearchOld}#params`, {
  q: fields.q,
  sinname: fields.name,
  sindescription: fields.description,
  sinaddr: fields.address,
  min_users: fields.users,
  key: {
    type: 'list-single',
    label: 'Sort results by',
    options: [
      { value: 'nusers', label: 'Number of users' },
      { value: 'address', label: 'Address' },
    ],
  },
});

const oldDefaults = { sinname: true, sindescription: true, sinaddr: true, min_users: 1, key: 'nusers' } as const;

/** The same for the predecessor of the specification. Throws StanzaError. */
export function oldSearch(muc: Muc, { to, payload }: IqRequest): Maybe<Element> {
  demandService(to);
  const x = payload.getChild('x', NS.dataForms);
  if (x === undefined) return el('search', { xmlns: NS.channelSearchOld }, oldParameters.form(oldDefaults));
  const values = { ...oldDefaults, ...oldParameters.read(x) };
  const where = { ...values, sinaddress: values.sinaddr };
  const found = matching(muc, where, termsOf(values.q, false));
  return resultOf(muc, found, payload, values.min_users, values.key === 'nusers');
}

function demandService(to: Jid): void {
  if (to.local !== undefined || to.resource !== undefined) throw new StanzaError('service-unavailable');
}

/** A page of the rooms with enough users, which are ordered by address. */
function resultOf(
  muc: Muc,
  found: readonly Listed[],
  request: Element,
  fewest: number,
  isByUsers: boolean,
): Maybe<Element> {
  const result = (users: ReadonlyMap<string, number>): Element => {
    const usersIn = ({ jid }: Listed): number => users.get(jid.bare) ?? 0;
    const large = found.filter((room) => usersIn(room) >= fewest);
    if (isByUsers) large.sort((one, other) => usersIn(other) - usersIn(one));
    const { page } = muc.config;
    const { shown, set } = pageOf(large, ({ jid }) => jid.bare, request, { default: page, cap: page });
    return el('result', { xmlns: request.attrs.xmlns }, ...shown.map((room) => itemOf(room, usersIn(room))), set);
  };
  const users = usersOf(muc, found);
  return users instanceof Promise ? users.then(result) : result(users);
}

function termsOf(q: string | undefined, isAll: boolean | undefined): string[] {
  if (isAll) return [];
  const terms = [...new Set((q ?? '').toLowerCase().split(/\s+/))].filter((term) => term.length >= shortestTerm);
  if (terms.length === 0) throw refusal('bad-request', 'invalid-search-terms');
  return terms.slice(0, mostTerms);
}

interface Where {
  readonly sinname: boolean;
  readonly sindescription: boolean;
  readonly sinaddress: boolean;
}

/** Public rooms in which every term occurs, ordered by address. */
function matching(muc: Muc, where: Where, terms: readonly string[]): Listed[] {
  return muc.rooms.public.filter((room) => {
    const texts: string[] = [];
    if (where.sinname) texts.push(room.name.toLowerCase());
    if (where.sindescription) texts.push(room.description.toLowerCase());
    if (where.sinaddress) texts.push(room.jid.bare);
    return terms.every((term) => texts.some((text) => text.includes(term)));
  });
}

/** §5.2. */
const itemOf = (room: Listed, users: number): Element =>
  el(
    'item',
    { address: room.jid.bare },
    el('name', null, room.name),
    room.description === '' ? undefined : el('description', null, room.description),
    room.lang === '' ? undefined : el('language', null, room.lang),
    el('nusers', null, String(users)),
    el('service-type', null, 'xep-0045'),
    el('is-open', null, String(!room.isMembersOnly && !room.hasPassword)),
    el('anonymity-mode', null, room.isAnonymous ? 'muc_semianonymous' : `{${NS.channelSearch}:anonymity}none`),
  );

function refusal(condition: 'bad-request' | 'feature-not-implemented', name: string, ...children: Element[]) {
  return new StanzaError(condition, undefined, { type: 'modify', extra: [specific(name, ...children)] });
}

const specific = (name: string, ...children: Element[]): Element =>
  el(name, { xmlns: `${NS.channelSearch}:error` }, ...children);
