/** Parses an archive query: the form of XEP-0313 §4.1 with the fields of XEP-0431, the page, and the order. */

import type { Jid } from '../../server/address/jid.js';
import { type DeclaredForm, defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { type PageLimits, type PageRequest, readRsm } from '../../server/stanza/rsm.js';
import { type Element, el } from '../../server/xml/element.js';

const fullText = `{${NS.fullText}}fulltext` as const;
/** The field's name before XEP-0431. */
const oldFullText = 'withtext';
const longestSearch = 1024;

const fields = {
  with: { type: 'jid-single', label: 'With this address' },
  start: { type: 'text-single', datatype: 'xs:dateTime', label: 'Not before' },
  end: { type: 'text-single', datatype: 'xs:dateTime', label: 'Not after' },
  'before-id': { type: 'text-single', label: 'Before this message' },
  'after-id': { type: 'text-single', label: 'After this message' },
  ids: { type: 'list-multi', options: [], open: true, label: 'Only these messages' },
  'include-groupchat': { type: 'boolean', label: 'Include messages in rooms' },
} as const;
const searchFields = {
  ...fields,
  [fullText]: { type: 'text-single', longest: longestSearch, label: 'Containing all of these words' },
  [oldFullText]: { type: 'text-single', longest: longestSearch, label: 'Containing all of these words (older field)' },
} as const;

type QueryForm = Pick<DeclaredForm<typeof searchFields>, 'form' | 'read'>;

/** The form, with or without the fields of full-text search. */
export const formOf = (searches: boolean): QueryForm =>
  searches
    ? defineForm(NS.mam, searchFields, { unknown: 'refuse' })
    : defineForm(NS.mam, fields, { unknown: 'refuse' });

export interface Query {
  readonly with: Jid | undefined;
  /** In ms since 1970. */
  readonly start: number | undefined;
  readonly end: number | undefined;
  readonly afterId: string | undefined;
  readonly beforeId: string | undefined;
  readonly ids: readonly string[] | undefined;
  /** Full text. Undefined matches any. */
  readonly words: string | undefined;
  readonly page: PageRequest;
  /** §4.3.4: the page is sent last message first; which page it is does not change. */
  readonly flipped: boolean;
  /** XEP-0413 §4.5: the whole result is in descending order, and paged in it. */
  readonly descending: boolean;
  readonly queryId: string | undefined;
}

/** Throws StanzaError. */
export function readQuery(query: Element, form: QueryForm, limits: PageLimits): Query {
  const x = query.getChild('x', NS.dataForms);
  const asked = x === undefined ? {} : form.read(x);
  if (asked === undefined) throw new StanzaError('bad-request', 'The form must have the type "submit".');
  const page = readRsm(query.getChild('set', NS.rsm), limits);
  if (page.index !== undefined) throw new StanzaError('feature-not-implemented', 'Pages by index are not supported.');
  if (asked.ids !== undefined && asked.ids.length > limits.cap)
    throw new StanzaError('not-acceptable', `A query can have at most ${limits.cap} ids.`);
  return {
    with: asked.with,
    start: asked.start,
    end: asked.end,
    afterId: asked['after-id'] || undefined,
    beforeId: asked['before-id'] || undefined,
    ids: asked.ids,
    words: asked[fullText] || asked[oldFullText] || undefined,
    page,
    flipped: query.getChild('flip-page', NS.mam) !== undefined,
    descending: isDescending(query.getChild('order', NS.orderBy)),
    queryId: query.attrs.queryid,
  };
}

/** XEP-0413 §4.3, §4.4. */
function isDescending(order: Element | undefined): boolean {
  if (order === undefined) return false;
  const { by, desc } = order.attrs;
  // Archived messages are never modified, only retracted, which does not change their position.
  if (by !== 'creation') throw new StanzaError('feature-not-implemented', 'Archives can only be sorted by creation.');
  return desc === 'true' || desc === '1';
}

export const formElement = (form: QueryForm): Element => el('query', { xmlns: NS.mam }, form.form());
