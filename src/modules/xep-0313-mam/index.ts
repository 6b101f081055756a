/**
 * XEP-0313: Message Archive Management, with full-text search (XEP-0431) and sorting (XEP-0413). Archives the messages
 * of accounts, and answers queries; rooms and other modules use it through the service `archive`.
 *
 * Preferences (XEP-0441), tombstones (XEP-0424), the inbox (XEP-0430) and trimming on demand are separate modules.
 * Messages in rooms are in the archives of the rooms only. Queries for archives of nodes (XEP-0442) are read from the
 * source that the pubsub module provides.
 */
import { z } from 'zod';
import { count, seconds } from '../../server/config/units.js';
import {
  binding,
  defineModule,
  demandOwn,
  disco,
  every,
  type IqHandler,
  type IqRequest,
  iq,
  log,
  type Maybe,
  message,
  portable,
  repeatedFrame,
  storedFrom,
  tagOf,
} from '../../server/module/index.js';
import type { MessagePassage } from '../../server/routing/passage.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { stanzaId, timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { sentXml } from '../../server/stanza/stored.js';
import { type Element, el } from '../../server/xml/element.js';
import type { LogEntry } from '../../storage/contract.js';
import { isArchivable, searchableIn } from './archivable.js';
import { portableArchive } from './portable.js';
import { formElement, formOf, readQuery } from './query.js';
import { type Found, find, results, resultXml, sizeOf, turns } from './results.js';
import { retention, stepMs } from './retention.js';
import type { ArchivePreferences, Archives, ArchiveView } from './services.js';

export default defineModule({
  name: 'mam',
  summary: 'Archives the messages of accounts for their clients.',
  implements: { 'XEP-0313': '1.1.3', 'XEP-0334': '1.0.0', 'XEP-0413': '0.2.1', 'XEP-0431': '0.2.0' },
  provides: ['archive'],
  config: z.strictObject({
    page: count({ min: 1, max: 1000 }).default(50).describe('Messages in an answer if the query sets no limit.'),
    page_limit: count({ min: 1, max: 1000 }).default(250).describe('Maximum messages in one answer.'),
    keep: seconds({ min: 60, unlimited: true })
      .default(Number.POSITIVE_INFINITY)
      .describe('How long messages of accounts and rooms are archived; also limits archived offline messages.'),
    keep_messages: count({ min: 1, unlimited: true })
      .default(250_000)
      .describe('Maximum archived messages of one account or room; the oldest are deleted.'),
    search: z
      .boolean()
      .default(true)
      .describe(
        'Full-text search (XEP-0431), with an index built in the background. Encrypted messages cannot be searched.',
      ),
  }),
  stores: { archive: log({ storedAs: 'archive', value: sentXml, text: searchableIn, option: 'search' }) },

  start: ({ host, config, stores, provide, log: logger }) => {
    const store = stores.archive;
    const searching = { store, inTurn: turns() };
    const searches = config.search && store.supports?.words !== false;
    const form = formOf(searches);
    /** For archives of nodes. */
    const plainForm = formOf(false);
    const limits = { default: Math.min(config.page, config.page_limit), cap: config.page_limit };
    let preferences: ArchivePreferences | undefined;
    let written: { readonly stanza: Stanza | undefined; readonly xml: string } = { stanza: undefined, xml: '' };

    /** Handles queries for archives of nodes (XEP-0442). */
    let nodes: IqHandler | undefined;

    const answer = async function* (
      request: IqRequest,
      view: ArchiveView | undefined,
    ): AsyncGenerator<Stanza | number, { readonly found: Found; readonly fin: Element }> {
      const { source } = view ?? {};
      if (source === undefined) demandNoNode(request);
      const query = readQuery(request.payload, source === undefined ? form : plainForm, limits);
      const found = await find(request.to.toBare(), query, view, { ...searching, store: source ?? store });
      yield sizeOf(found);
      return { found, fin: yield* results(request, query, view, found) };
    };

    const archive: Archives = {
      features: [
        NS.mam,
        NS.mamExtended,
        NS.mamGroupchatField,
        NS.orderBy,
        `${NS.orderBy}@${NS.mam}`,
        ...(searches ? [NS.fullText] : []),
      ],
      append: (owner, stanza, { with: peer, origin }) => {
        const id = stanzaId(owner.bare);
        // Sender and recipient usually archive the same stanza: serialize it once.
        if (stanza !== written.stanza) written = { stanza, xml: stanza.toXml(NS.client) };
        const entry: LogEntry = { id, with: peer?.bare, tag: tagOf(origin), value: written.xml };
        return { id, durable: store.append(owner.bare, entry) };
      },
      archivedFrom: (owner, frame, stanza) => storedFrom(store, owner.bare, frame, stanza),
      answer: async function* (request, view) {
        return (yield* answer(request, view)).fin;
      },
      form: ({ source } = {}) => formElement(source === undefined ? form : plainForm),
      metadata: async (owner) => {
        const [first, last] = await Promise.all([
          store.page(owner.bare, { limit: 1 }),
          store.page(owner.bare, { limit: 1, backwards: true }),
        ]);
        return el('metadata', { xmlns: NS.mam }, end('start', first.entries[0]), end('end', last.entries[0]));
      },
      result: ({ id, value }, queryId) => resultXml(id, queryId, value),
      read: (owner, query) => store.page(owner.bare, query),
      tombstone: async (owner, id, retracted, stays = () => false) => {
        const [entry] = (await store.page(owner.bare, { ids: [id], limit: 1 })).entries;
        if (entry === undefined) return false;
        const stanza = Stanza.parse(entry.value);
        const staying = stanza.children().filter((child) => stays({ ns: child.getNS() ?? '', name: child.getName() }));
        const { to, from, type, id: messageId } = stanza;
        const tombstone = Stanza.build('message', { to, from, type, id: messageId }, ...staying, retracted);
        await store.append(owner.bare, { ...entry, value: tombstone.toXml(NS.client) });
        return true;
      },
      trim: async (owner, through) => {
        const ids = through === undefined ? undefined : [through];
        const [last] = (await store.page(owner.bare, { ids, limit: 1, backwards: true })).entries;
        if (last !== undefined)
          await store.trim(owner.bare, { before: `${last.id} ` }); // no id sorts between the two
        else if (through !== undefined) throw new StanzaError('item-not-found');
      },
      prefer: (asked) => {
        preferences = asked;
      },
      nodes: (handler) => {
        nodes = handler;
      },
    };
    provide('archive', archive);

    const appendMessage = (passage: MessagePassage): void => {
      const { owner, stanza, peer, origin } = passage;
      const { id, durable } = archive.append(owner, stanza, { with: peer, origin });
      passage.archivedAs = id;
      passage.acknowledgeAfter(durable);
    };

    /** A message that the archive has already is delivered under the id that it has. */
    const archiveMessage = (passage: MessagePassage): Maybe<undefined> => {
      const frame = repeatedFrame(passage.origin);
      if (frame === undefined) return void appendMessage(passage);
      return archive.archivedFrom(passage.owner, frame, passage.stanza).then((id) => {
        if (id === undefined) appendMessage(passage);
        else passage.archivedAs = id;
        return undefined;
      });
    };

    const answerOwn: IqHandler = (request) => {
      if (request.payload.attrs.node !== undefined && nodes !== undefined) return nodes(request);
      demandOwn(request);
      return own(request);
    };

    const own = async function* (request: IqRequest): AsyncGenerator<Stanza | number, Element> {
      const { found, fin } = yield* answer(request, undefined);
      const ids = found.entries.map(({ id }) => id);
      if (ids.length > 0) void host.emit('archiveRead', { owner: request.to.toBare(), ids });
      return fin;
    };

    const tidy = retention(
      store,
      {
        domains: () => [host.domain, ...host.declared.services().map(({ domain }) => domain)],
        // Counting would read everything.
        messages: store.supports?.counts === false ? Number.POSITIVE_INFINITY : config.keep_messages,
        age: async (owner) => Math.min(config.keep, (await preferences?.keeps(owner)) ?? config.keep) * 1000,
        isEndless: () =>
          config.keep === Number.POSITIVE_INFINITY &&
          (config.keep_messages === Number.POSITIVE_INFINITY || store.supports?.counts === false) &&
          preferences === undefined,
      },
      logger,
    );

    // §8.1: another's archive is refused in the same way whether it exists or not.
    const others = { access: 'anyone', absent: true } as const;
    return [
      portable(portableArchive(store)),
      message('archive', (passage) => {
        if (isAnonymous(passage) || !isArchivable(passage)) return undefined;
        const wanted = preferences?.wants(passage.owner, passage.peer) ?? true;
        if (typeof wanted === 'boolean') return wanted ? archiveMessage(passage) : undefined;
        return wanted.then((yes) => (yes ? archiveMessage(passage) : undefined));
      }),
      // Not delivered, but archived: not lost.
      message('absent', ({ archivedAs }) => (archivedAs === undefined ? undefined : 'handled'), { after: ['offline'] }),
      iq.set('account', NS.mam, 'query', answerOwn, others),
      iq.get(
        'account',
        NS.mam,
        'query',
        (request) => {
          demandOwn(request);
          return archive.form();
        },
        others,
      ),
      iq.get(
        'account',
        NS.mam,
        'metadata',
        (request) => {
          demandOwn(request);
          return archive.metadata(request.to.toBare());
        },
        others,
      ),
      binding(({ jid }) => archive.metadata(jid.toBare())), // XEP-0386 §3.2
      disco('account', { features: () => archive.features }),
      every(stepMs, () => tidy(), { job: 'mam' }),
    ];
  },
});

function demandNoNode({ payload }: IqRequest): void {
  if (payload.attrs.node !== undefined) throw new StanzaError('feature-not-implemented');
}

/** XEP-0175: an anonymous account ends with its session, so nothing could be read later. */
const isAnonymous = ({ sessions }: MessagePassage): boolean => sessions[0]?.isAnonymous ?? false;

const end = (name: 'start' | 'end', entry: LogEntry | undefined): Element | undefined =>
  entry && el(name, { id: entry.id, timestamp: formatDateTime(timeOf(entry.id) || 0) });
