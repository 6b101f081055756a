/**
 * XEP-0055: Jabber Search: an opt-in directory of users. Users add themselves by registering with it (XEP-0077), and
 * choose which fields are shown. Pages by XEP-0059.
 */
import { z } from 'zod';
import { Jid } from '../server/address/jid.js';
import { count } from '../server/config/units.js';
import { Rates } from '../server/limits/rates.js';
import {
  answers,
  defineModule,
  defineQuestion,
  disco,
  event,
  type IqHandler,
  type IqRequest,
  iq,
  map,
  service,
} from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { type Field, form, readForm } from '../server/stanza/forms.js';
import { NS } from '../server/stanza/ns.js';
import { type PageRequest, readRsm, rsmSet } from '../server/stanza/rsm.js';
import { bareJid } from '../server/stanza/stored.js';
import { type Element, el } from '../server/xml/element.js';

/** §7.2. */
const labels = { first: 'Given Name', last: 'Family Name', nick: 'Nickname', email: 'Email Address' } as const;
type Name = keyof typeof labels;
const names = Object.keys(labels) as Name[];

/** The fields shown of a user; empty fields are absent. */
export type Entry = { readonly [N in Name]?: string };

const storedEntry = z.partialRecord(z.enum(names), z.string());

/** Asked at the user's home: the fields of their vCard. */
const onCard = defineQuestion<null, Entry>({ name: 'directory.card', given: z.null(), answer: storedEntry });

/** Sent to the address of the service: an account of this host was deleted. */
const forgotten = defineQuestion({
  name: 'directory.forgotten',
  given: z.object({ account: bareJid }),
  answer: z.null(),
});

const longestValue = 200;
const longestFolded = 2 * longestValue;
const minute = 60_000;

export default defineModule({
  name: 'directory',
  summary: 'A directory of the users who want to be found.',
  implements: { 'XEP-0055': '1.3' },
  optional: true,
  features: { service: [NS.search, NS.register, NS.rsm] },
  config: z.strictObject({
    subdomain: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/)
      .default('directory')
      .describe('Subdomain of the host at which the service has its address.'),
    entries: count({ min: 1 }).default(20_000).describe('Maximum users in the directory, which is held in memory.'),
    page: count({ min: 1, max: 1000 }).default(50).describe('Maximum users in one answer.'),
    searches_per_minute: count({ min: 1, unlimited: true }).default(30).describe('Searches per minute for one user.'),
  }),
  stores: {
    directory: map<Entry>({ storedAs: 'directory', value: storedEntry, key: bareJid }),
  },
  wants: ['vcard'],

  start: async ({ host, config, stores: { directory }, services }) => {
    const own = Jid.parse(`${config.subdomain}.${host.domain}`);
    /** By bare JID. */
    const entries = new Map(await directory.all(host.domain));
    /** `entries` sorted by JID, with the folded texts to search. Undefined after a change. */
    let sorted: readonly Listed[] | undefined;
    const rates = new Rates(config.searches_per_minute, minute);

    const atService =
      (handler: IqHandler): IqHandler =>
      (request) => {
        if (!request.to.equals(own)) throw new StanzaError('item-not-found');
        // XEP-0175: anonymous accounts cannot be found later, and would stay listed after their session
        if (host.isAnonymous(request.from.bare))
          throw new StanzaError('forbidden', 'Anonymous accounts cannot use the directory.');
        return handler(request);
      };

    const search = ({ from, payload }: IqRequest): Element => {
      if (!rates.take(from.bare)) {
        host.limitHit('directory.searches_per_minute');
        throw new StanzaError('resource-constraint', 'Too many searches. Try again later.');
      }
      const submitted = payload.getChild('x', NS.dataForms);
      const wanted = submitted === undefined ? readFields(payload) : readFormFields(submitted, NS.search);
      const set = payload.getChild('set', NS.rsm);
      sorted ??= [...entries].sort(byJid).map(([jid, entry]) => [jid, entry, foldedOf(entry)]);
      const found = find(sorted, foldedOf(wanted));
      const { page, start } = pageOf(found, readRsm(set, { default: config.page, cap: config.page }));
      const about = { first: page[0]?.[0], last: page.at(-1)?.[0], index: page.length > 0 ? start : undefined };
      return el(
        'query',
        { xmlns: NS.search },
        // §2.1: an empty query element if nothing was found
        ...(page.length === 0 ? [] : submitted === undefined ? page.map(item) : [resultForm(page)]),
        set === undefined ? undefined : rsmSet({ ...about, count: found.length }),
      );
    };

    const enter = async ({ from, payload }: IqRequest): Promise<void> => {
      const owner = from.bare;
      if (payload.getChild('remove', NS.register) !== undefined) {
        await directory.delete(host.domain, [owner]);
        entries.delete(owner);
        sorted = undefined;
        return;
      }
      const submitted = payload.getChild('x', NS.dataForms);
      const entry = submitted === undefined ? readFields(payload) : readFormFields(submitted, NS.register);
      if (Object.keys(entry).length === 0) throw new StanzaError('not-acceptable', 'Fill in at least one field.');
      if (!entries.has(owner) && entries.size >= config.entries) {
        host.limitHit('directory.entries');
        throw new StanzaError('resource-constraint', 'The directory is full.');
      }
      await directory.set(host.domain, [[owner, entry]]);
      entries.set(owner, entry);
      sorted = undefined;
    };

    const users = { access: 'users' } as const;
    return [
      service({ subdomain: config.subdomain }),
      disco('service', {
        identities: ({ to }) =>
          to.equals(own) ? [{ category: 'directory', type: 'user', name: 'User directory' }] : [],
      }),
      iq.get(
        'service',
        NS.search,
        'query',
        atService(() => offer(NS.search, 'Fill in at least one field to search for users.', {})),
        users,
      ),
      iq.set('service', NS.search, 'query', atService(search), users),
      iq.get(
        'service',
        NS.register,
        'query',
        atService(async ({ from }) => {
          const entry = entries.get(from.bare);
          const text = 'The fields you fill in are visible to all users of this server. Nothing else is.';
          // Users who are not listed yet get the fields of their vCard as a suggestion
          const known = entry ?? (await host.askHome(onCard, from.toBare(), null));
          return offer(NS.register, text, known, entry !== undefined);
        }),
        users,
      ),
      iq.set('service', NS.register, 'query', atService(enter), users),
      answers(onCard, async (_, owner) => entryOfCard(await services.vcard?.get(owner.bare))),
      event('accountDeleted', async ({ jid }) => {
        await host.askHome(forgotten, own, { account: jid.bare });
      }),
      answers(forgotten, async ({ account }) => {
        if (!entries.delete(account)) return null;
        sorted = undefined;
        await directory.delete(host.domain, [account]);
        return null;
      }),
    ];
  },
});

/** The fields, as elements and as a form (§3). */
function offer(ns: string, instructions: string, entry: Entry, isRegistered = false): Element {
  const fields = names.map(
    (name): Field => ({ var: name, type: 'text-single', label: labels[name], value: entry[name] }),
  );
  return el(
    'query',
    { xmlns: ns },
    isRegistered ? el('registered') : undefined,
    el('instructions', null, instructions),
    ...names.map((name) => el(name, null, entry[name])),
    form({ type: 'form', formType: ns, title: 'User directory', instructions, fields }),
  );
}

/** XEP-0054: the listed fields of a vCard, without values that are too long. */
function entryOfCard(card: Element | undefined): Entry {
  const name = card?.getChild('N', NS.vcardTemp);
  const values: Record<Name, string | null | undefined> = {
    first: name?.getChildText('GIVEN'),
    last: name?.getChildText('FAMILY'),
    nick: card?.getChildText('NICKNAME'),
    email: card?.getChild('EMAIL', NS.vcardTemp)?.getChildText('USERID'),
  };
  return entryOf((field) => ((values[field]?.length ?? 0) > longestValue ? undefined : (values[field] ?? undefined)));
}

const readFields = (query: Element): Entry => entryOf((name) => query.getChildText(name, query.getNS()) ?? undefined);

function readFormFields(submitted: Element, formType: string): Entry {
  const read = readForm(submitted, formType);
  if (read.type !== 'submit') throw new StanzaError('bad-request', 'The form must have the type "submit".');
  return entryOf((name) => read.get(name));
}

/** The fields that are not empty. Throws StanzaError if one is too long. */
function entryOf(value: (name: Name) => string | undefined): Entry {
  const given = names.map((name) => [name, value(name)?.trim() ?? ''] as const).filter(([, text]) => text !== '');
  if (given.some(([, text]) => text.length > longestValue))
    throw new StanzaError('not-acceptable', `A field can have at most ${longestValue} characters.`);
  return Object.fromEntries(given);
}

/** Entries that contain every wanted text, ignoring case. Throws StanzaError if a text is too long. */
function find(listed: readonly Listed[], wanted: Entry): readonly Found[] {
  const fields = names.flatMap((name) => (wanted[name] === undefined ? [] : [[name, wanted[name]] as const]));
  // NFKC can expand one character to eighteen, and long texts are expensive to search for.
  if (fields.some(([, text]) => text.length > longestValue))
    throw new StanzaError('not-acceptable', `A field can have at most ${longestValue} characters.`);
  return listed.filter(([, , folded]) => fields.every(([name, text]) => folded[name]?.includes(text) === true));
}

/** Folds case and compatibility characters for the search. Values that get too long are cut. */
const foldedOf = (entry: Entry): Entry =>
  Object.fromEntries(
    Object.entries(entry).map(([name, text]) => [name, text.normalize('NFKC').toLowerCase().slice(0, longestFolded)]),
  );

type Found = readonly [jid: string, entry: Entry, ...unknown[]];
type Listed = readonly [jid: string, entry: Entry, folded: Entry];

const byJid = ([a]: Found, [b]: Found): number => (a < b ? -1 : a > b ? 1 : 0);

/** The requested page of the results (XEP-0059), and its start index. Throws StanzaError. */
function pageOf(found: readonly Found[], { max, after, before, index = 0 }: PageRequest) {
  const find = (jid: string): number => {
    const at = found.findIndex(([name]) => name === jid);
    if (at < 0) throw new StanzaError('item-not-found');
    return at;
  };
  const low = after === undefined ? index : find(after) + 1;
  const high = typeof before === 'string' ? find(before) : found.length;
  const start = before === undefined ? low : Math.max(low, high - max);
  return { page: found.slice(start, Math.min(high, start + max)), start };
}

const item = ([jid, entry]: Found): Element => el('item', { jid }, ...names.map((name) => el(name, null, entry[name])));

function resultForm(page: readonly Found[]): Element {
  const columns = [
    ...names.map((name) => [name, labels[name], 'text-single'] as const),
    ['jid', 'Address', 'jid-single'] as const,
  ];
  const head = form({ type: 'result', formType: NS.search });
  head.cnode(el('reported', null, ...columns.map(([name, label, type]) => el('field', { var: name, label, type }))));
  for (const [jid, entry] of page) {
    const values = { ...entry, jid } as Readonly<Record<string, string | undefined>>;
    const fields = columns.map(([name]) => el('field', { var: name }, el('value', null, values[name] ?? '')));
    head.cnode(el('item', null, ...fields));
  }
  return head;
}
