/** XEP-0433: search for public rooms. */
import type { IqRequest } from '../../server/module/index.js';
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

const parameters = defineForm(`${NS.channelSearch}:search-params`, {
  q: { type: 'text-single', label: 'Search for', longest: longestQuery },
  all: { type: 'boolean', label: 'Return all entries (ignore search terms)' },
  sinname: { type: 'boolean', label: 'Search in name' },
  sindescription: { type: 'boolean', label: 'Search in description' },
  sinaddress: { type: 'boolean', label: 'Search in address' },
  min_users: { type: 'text-single', label: 'Minimum number of users', datatype: 'xs:integer', min: 0 },
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

/** Returns the search form, or the results of a submitted form. Throws StanzaError. */
export function search(muc: Muc, { to, payload }: IqRequest): Element {
  if (to.local !== undefined || to.resource !== undefined) throw new StanzaError('service-unavailable');
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
  if (values.key === byUsers) found.sort((one, other) => usersIn(muc, other) - usersIn(muc, one));
  const { page } = muc.config;
  const { shown, set } = pageOf(found, ({ jid }) => jid.bare, payload, { default: page, cap: page });
  return el('result', { xmlns: NS.channelSearchQuery }, ...shown.map((room) => itemOf(muc, room)), set);
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
  readonly min_users: number;
}

/** Public rooms in which every term occurs, ordered by address. */
function matching(muc: Muc, where: Where, terms: readonly string[]): Listed[] {
  return muc.rooms.public.filter((room) => {
    if (usersIn(muc, room) < where.min_users) return false;
    const texts: string[] = [];
    if (where.sinname) texts.push(room.name.toLowerCase());
    if (where.sindescription) texts.push(room.description.toLowerCase());
    if (where.sinaddress) texts.push(room.jid.bare);
    return terms.every((term) => texts.some((text) => text.includes(term)));
  });
}

const usersIn = ({ rooms }: Muc, { jid }: Listed): number => rooms.peek(jid.bare)?.occupants.size ?? 0;

/** §5.2. */
const itemOf = (muc: Muc, room: Listed): Element =>
  el(
    'item',
    { address: room.jid.bare },
    el('name', null, room.name),
    room.description === '' ? undefined : el('description', null, room.description),
    room.lang === '' ? undefined : el('language', null, room.lang),
    el('nusers', null, String(usersIn(muc, room))),
    el('service-type', null, 'xep-0045'),
    el('is-open', null, String(!room.isMembersOnly && !room.hasPassword)),
    el('anonymity-mode', null, room.isAnonymous ? 'muc_semianonymous' : `{${NS.channelSearch}:anonymity}none`),
  );

function refusal(condition: 'bad-request' | 'feature-not-implemented', name: string, ...children: Element[]) {
  return new StanzaError(condition, undefined, { type: 'modify', extra: [specific(name, ...children)] });
}

const specific = (name: string, ...children: Element[]): Element =>
  el(name, { xmlns: `${NS.channelSearch}:error` }, ...children);
