/**
 * XEP-0055: Jabber Search: a directory of those users who want to be found. They enter themselves by registering with it
 * (XEP-0077), and say what is shown of them; everybody else is not in it. Pages by XEP-0059.
 */
import { z } from 'zod';
import { count } from '../server/config/units.js';
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
import { Rates } from '../server/rates.js';
import { StanzaError } from '../server/stanza/errors.js';
import { type Field, form, readForm } from '../server/stanza/forms.js';
import { Jid } from '../server/stanza/jid.js';
import { NS } from '../server/stanza/ns.js';
import { type PageRequest, readRsm, rsmSet } from '../server/stanza/rsm.js';
import { bareJid } from '../server/stanza/stored.js';
import { type Element, el } from '../server/xml/element.js';

/** §7.2. */
const labels = { first: 'Given Name', last: 'Family Name', nick: 'Nickname', email: 'Email Address' } as const;
type Name = keyof typeof labels;
const names = Object.keys(labels) as Name[];

/** What is shown of a user; what was not said is not there. */
export type Entry = { readonly [N in Name]?: string };

const storedEntry = z.partialRecord(z.enum(names), z.string());

/** At a user: what their card says. */
const onCard = defineQuestion<null, Entry>({ name: 'directory.card', given: z.null(), answer: storedEntry });

/** At the address of the service: an account of this host was deleted. */
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
      .describe('The service is at this name below the host.'),
    entries: count({ min: 1 }).default(20_000).describe('Users in the directory, which is kept in memory.'),
    page: count({ min: 1, max: 1000 }).default(50).describe('Most users in one answer.'),
    searches_per_minute: count({ min: 1, unlimited: true })
      .default(30)
      .describe('How often one user can search in a minute.'),
  }),
  stores: {
    directory: map<Entry>({ storedAs: 'directory', value: storedEntry, key: bareJid }),
  },
  wants: ['vcard'],

  start: async ({ host, config, stores: { directory }, services }) => {
    const own = Jid.parse(`${config.subdomain}.${host.domain}`);
    /** By bare JID. */
    const entries = new Map(await directory.all(host.domain));
    /** The same in order, with what is searched; undefined: they have changed. */
    let sorted: readonly Listed[] | undefined;
    const rates = new Rates(config.searches_per_minute, minute);

    const atService =
      (handler: IqHandler): IqHandler =>
      (request) => {
        if (!request.to.equals(own)) throw new StanzaError('item-not-found');
        // XEP-0175: nobody whom the server knows, nor would be taken out when the session is over
        if (host.isAnonymous(request.from.bare)) throw new StanzaError('forbidden', 'The directory is for accounts.');
        return handler(request);
      };

    const search = ({ from, payload }: IqRequest): Element => {
      if (!rates.take(from.bare)) {
        host.limitHit('directory.searches_per_minute');
        throw new StanzaError('resource-constraint', 'Too many searches in too short a time.');
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
        // §2.1: nothing in it where nothing was found
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
      if (Object.keys(entry).length === 0) throw new StanzaError('not-acceptable', 'Say by what you can be found.');
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
        atService(() => offer(NS.search, 'Fill in what you know of whom you look for.', {})),
        users,
      ),
      iq.set('service', NS.search, 'query', atService(search), users),
      iq.get(
        'service',
        NS.register,
        'query',
        atService(async ({ from }) => {
          const entry = entries.get(from.bare);
          const text = 'What you fill in can be seen by all users of this server; nothing else of you can.';
          // Whoever is not in it yet is offered what his card says of him
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

/** The fields, as they are and as a form (§3). */
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

/** XEP-0054: what a card has of what can be shown; what is too long is left out. */
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
  if (read.type !== 'submit') throw new StanzaError('bad-request', 'The form is not submitted.');
  return entryOf((name) => read.get(name));
}

/** What is not empty. Throws StanzaError. */
function entryOf(value: (name: Name) => string | undefined): Entry {
  const given = names.map((name) => [name, value(name)?.trim() ?? ''] as const).filter(([, text]) => text !== '');
  if (given.some(([, text]) => text.length > longestValue))
    throw new StanzaError('not-acceptable', `At most ${longestValue} characters.`);
  return Object.fromEntries(given);
}

/** Those in which everything that is wanted is somewhere, whatever the case. Throws StanzaError. */
function find(listed: readonly Listed[], wanted: Entry): readonly Found[] {
  const fields = names.flatMap((name) => (wanted[name] === undefined ? [] : [[name, wanted[name]] as const]));
  // NFKC makes eighteen letters of one, and a long text is dear to look for.
  if (fields.some(([, text]) => text.length > longestValue))
    throw new StanzaError('not-acceptable', `At most ${longestValue} characters.`);
  return listed.filter(([, , folded]) => fields.every(([name, text]) => folded[name]?.includes(text) === true));
}

/** As it is searched: in one case, without compatibility characters. A value that gets too long is cut. */
const foldedOf = (entry: Entry): Entry =>
  Object.fromEntries(
    Object.entries(entry).map(([name, text]) => [name, text.normalize('NFKC').toLowerCase().slice(0, longestFolded)]),
  );

type Found = readonly [jid: string, entry: Entry, ...unknown[]];
type Listed = readonly [jid: string, entry: Entry, folded: Entry];

const byJid = ([a]: Found, [b]: Found): number => (a < b ? -1 : a > b ? 1 : 0);

/** The part of what was found that is asked for (XEP-0059), and where it begins. Throws StanzaError. */
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
