/**
 * XEP-0430: Inbox: all conversations of an account in one query, the latest first, each with its unread count.
 *
 * Messages in transit cost nothing. A query updates the stored conversations from the archive entries added since the
 * last query, so an account that never queries costs nothing. Rooms are not listed, since account archives do not
 * contain their messages. Messages that another client marked as displayed (XEP-0490) count as read.
 */
import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import { Jid } from '../server/address/jid.js';
import { count } from '../server/config/units.js';
import { defineModule, type IqRequest, iq, map } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { type PageRequest, readRsm, rsmSet } from '../server/stanza/rsm.js';
import { Stanza } from '../server/stanza/stanza.js';
import { jid, whole } from '../server/stanza/stored.js';
import { type Element, el } from '../server/xml/element.js';
import type { LogEntry } from '../storage/contract.js';

/** Archive entries per page, and messages read at once for an answer. */
const pageLength = 100;
const messagesAtOnce = 25;
/** Maximum characters of messages in one answer; further conversations are sent without their message. */
const mostCharacters = 524_288;
/** Unread messages tracked individually per conversation; reading one marks all earlier ones as read. */
const mostUnread = 100;

export interface Conversation {
  /** The id of the last archive entry, and of the last entry that is a chat message. */
  readonly last: string;
  readonly message?: string | undefined;
  readonly unread: number;
  /** The ids that the senders gave the latest unread messages, the oldest first; '' if a message had none. */
  readonly ids: readonly string[];
  /** The ids of their archive entries. */
  readonly at: readonly string[];
}

/** The effect of an archive entry on its conversation. */
export type Meaning =
  | { readonly kind: 'received'; readonly id: string }
  | { readonly kind: 'sent' }
  | { readonly kind: 'displayed'; readonly id: string }
  | { readonly kind: 'other' };

interface Change {
  readonly id: string;
  readonly peer: string;
  readonly meaning: Meaning;
}

/** The key of the last processed archive entry, stored like a conversation. No address is empty. */
const progress = '';

export default defineModule({
  name: 'inbox',
  summary: 'Lists the conversations of an account, with their unread counts.',
  implements: { 'XEP-0430': '0.2.0' },
  notes: 'Rooms are not listed.',
  features: { account: [NS.inbox] },
  config: z.strictObject({
    conversations: count({ min: 1 })
      .default(1000)
      .describe('Maximum conversations of one account; the oldest are evicted.'),
    history: count({ min: 100 }).default(10_000).describe('Maximum archive entries processed for one query.'),
    page: count({ min: 1 }).default(50).describe('Conversations in an answer if the query sets no limit.'),
    page_limit: count({ min: 1, max: 1000 }).default(250).describe('Maximum conversations in one answer.'),
  }),
  stores: {
    inbox: map<Conversation>({
      storedAs: 'inbox',
      isPortable: true,
      value: z.object({
        last: z.string(),
        message: z.string().optional(),
        unread: whole,
        ids: z.array(z.string()),
        at: z.array(z.string()),
      }),
      key: z.union([z.literal(progress), jid]),
    }),
  },
  needs: ['archive'],
  wants: ['pep'],

  start: ({ config, stores, services: { archive, pep } }) => {
    const store = stores.inbox;
    /** Pending refreshes by account: bounded by the number of querying sessions. */
    const refreshing = new Map<string, Promise<ReadonlyMap<string, Conversation>>>();

    /** Archive entries after this one, the oldest first. */
    const changesSince = async (owner: Jid, after: string | undefined): Promise<Change[]> => {
      const changes: Change[] = [];
      let before: string | undefined;
      while (changes.length < config.history) {
        const limit = Math.min(pageLength, config.history - changes.length);
        const { entries, complete } = await archive.read(owner, { after, before, limit, backwards: true });
        for (const entry of entries.reverse())
          changes.push({ id: entry.id, peer: entry.with ?? '', meaning: meaningOf(entry, owner) });
        if (complete) break;
        before = entries.at(-1)?.id;
        await setImmediate();
      }
      return changes.reverse();
    };

    const refresh = async (owner: Jid): Promise<ReadonlyMap<string, Conversation>> => {
      const known = await store.all(owner.bare);
      const since = known.get(progress)?.last;
      known.delete(progress);
      const changed = new Set<string>();
      let latest = since;
      for (const { id, peer, meaning } of await changesSince(owner, since)) {
        latest = id;
        if (peer === '') continue;
        const before = known.get(peer);
        const after = follow(before, id, meaning);
        if (after === before) continue;
        known.set(peer, after);
        changed.add(peer);
      }
      for (const [peer, entry] of await displayedIn(owner, known)) {
        const before = known.get(peer)!;
        const after = readTo(before, entry);
        if (after === before) continue;
        known.set(peer, after);
        changed.add(peer);
      }
      const gone = await outdated(owner, known);
      for (const peer of gone) {
        known.delete(peer);
        changed.delete(peer);
      }
      if (gone.length > 0) await store.delete(owner.bare, gone);
      if (latest !== undefined && (latest !== since || changed.size > 0)) {
        const written = [...changed].map((peer) => [peer, known.get(peer)!] as const);
        await store.set(owner.bare, [...written, [progress, { last: latest, unread: 0, ids: [], at: [] }]]);
      }
      return known;
    };

    /** XEP-0490 §4.1: the archive entry up to which each unread conversation was displayed. */
    const displayedIn = async (
      owner: Jid,
      known: ReadonlyMap<string, Conversation>,
    ): Promise<readonly (readonly [peer: string, entry: string])[]> => {
      if (pep === undefined) return [];
      const markers = new Map<string, string>();
      for (const [peer, { unread }] of known) {
        if (unread === 0) continue;
        const id = entryIn(await pep.item(owner.bare, NS.displayed, peer), owner);
        if (id !== undefined) markers.set(peer, id);
      }
      const ids = [...new Set(markers.values())];
      if (ids.length === 0) return [];
      // §5.1: ids from another conversation are ignored
      const { entries } = await archive.read(owner, { ids, limit: ids.length });
      const peers = new Map(entries.map(({ id, with: peer }) => [id, peer]));
      return [...markers].filter(([peer, id]) => peers.get(id) === peer);
    };

    /** Conversations whose archive entries are all deleted, and those over the limit. */
    const outdated = async (owner: Jid, known: ReadonlyMap<string, Conversation>): Promise<string[]> => {
      if (known.size === 0) return [];
      const [first] = (await archive.read(owner, { limit: 1 })).entries;
      return latestFirst(known)
        .filter(([, { last }], at) => at >= config.conversations || first === undefined || last < first.id)
        .map(([peer]) => peer);
    };

    /** Refreshes the conversations; refreshes of one account run one at a time. */
    const conversations = (owner: Jid): Promise<ReadonlyMap<string, Conversation>> => {
      const before = refreshing.get(owner.bare) ?? Promise.resolve();
      const mine = before.then(
        () => refresh(owner),
        () => refresh(owner),
      );
      refreshing.set(owner.bare, mine);
      const done = () => {
        if (refreshing.get(owner.bare) === mine) refreshing.delete(owner.bare);
      };
      mine.then(done, done);
      return mine;
    };

    const answer = async function* ({
      isOwn,
      to,
      from,
      stanza,
      payload,
      session,
    }: IqRequest): AsyncGenerator<Stanza, Element> {
      if (!isOwn || session === undefined) throw new StanzaError('forbidden');
      const owner = to.toBare();
      const page = readRsm(payload.getChild('set', NS.rsm), { default: config.page, cap: config.page_limit });
      const all = latestFirst(await conversations(owner));
      const unread = all.filter(([, conversation]) => conversation.unread > 0);
      const listed = isTrue(payload.attrs['unread-only']) ? unread : all;
      const { start, end } = rangeOf(page, listed);
      const withMessages = payload.attrs.messages === undefined || isTrue(payload.attrs.messages);
      const head = Stanza.build('message', { to: from, from: owner });
      let characters = 0;
      for (let at = start; at < end; at += messagesAtOnce) {
        const some = listed.slice(at, Math.min(at + messagesAtOnce, end));
        const messages =
          withMessages && characters < mostCharacters
            ? await read(
                owner,
                some.map(([, { message }]) => message).filter((id) => id !== undefined),
              )
            : new Map<string, LogEntry>();
        for (const [peer, { last, message, unread }] of some) {
          const entry = head.plus(el('entry', { xmlns: NS.inbox, unread: String(unread), jid: peer, id: last }));
          const found = message === undefined ? undefined : messages.get(message);
          yield found === undefined ? entry : entry.plusWritten(archive.result(found, stanza.id));
          characters += found?.value.length ?? 0;
        }
      }
      return el(
        'fin',
        {
          xmlns: NS.inbox,
          total: String(all.length),
          unread: String(unread.length),
          'all-unread': String(unread.reduce((sum, [, conversation]) => sum + conversation.unread, 0)),
        },
        rsmSet({
          first: start < end ? listed[start]![0] : undefined,
          last: start < end ? listed[end - 1]![0] : undefined,
          index: start < end ? start : undefined,
          count: listed.length,
        }),
      );
    };

    const read = async (owner: Jid, ids: readonly string[]): Promise<Map<string, LogEntry>> => {
      if (ids.length === 0) return new Map();
      const { entries } = await archive.read(owner, { ids, limit: ids.length });
      return new Map(entries.map((entry) => [entry.id, entry]));
    };

    return [iq.get('account', NS.inbox, 'inbox', answer, { access: 'anyone', absent: true })];
  },
});

/** §4: the effect of an entry of the owner's archive on its conversation. */
export function meaningOf({ value }: LogEntry, owner: Jid): Meaning {
  const stanza = Stanza.parse(value);
  const isMessage =
    (stanza.has(NS.client, 'body') && !stanza.has(NS.retract, 'retract') && !stanza.has(NS.reactions, 'reactions')) ||
    stanza.has(NS.omemo, 'encrypted') ||
    stanza.has(NS.omemoLegacy, 'encrypted') ||
    stanza.has(NS.openPgp, 'openpgp');
  if (stanza.from?.bare !== owner.bare)
    return isMessage ? { kind: 'received', id: stanza.id ?? '' } : { kind: 'other' };
  if (isMessage) return { kind: 'sent' };
  const displayed = stanza.child(NS.markers, 'displayed') ?? stanza.child(NS.markers, 'acknowledged');
  return displayed?.attrs.id ? { kind: 'displayed', id: displayed.attrs.id } : { kind: 'other' };
}

/** The conversation after an entry. Returns it unchanged if the entry was already counted. */
export function follow(before: Conversation | undefined, last: string, meaning: Meaning): Conversation {
  const { message, unread, ids, at }: Omit<Conversation, 'last'> = before ?? { unread: 0, ids: [], at: [] };
  if (before !== undefined && last <= before.last) return before;
  switch (meaning.kind) {
    case 'received':
      return {
        last,
        message: last,
        unread: unread + 1,
        ids: [...ids, meaning.id].slice(-mostUnread),
        at: [...at, last].slice(-mostUnread),
      };
    case 'sent': // a reply implies that earlier messages were read
      return { last, message: last, unread: 0, ids: [], at: [] };
    case 'displayed': // XEP-0333 §5: unknown ids are ignored
      return without({ last, message, unread, ids, at }, ids.lastIndexOf(meaning.id));
    case 'other':
      return { last, message, unread, ids, at };
  }
}

/** Marks messages up to an archive entry as read. Returns the conversation unchanged if they already were. */
export const readTo = (conversation: Conversation, entry: string): Conversation =>
  without(
    conversation,
    conversation.at.findLastIndex((unread) => unread <= entry),
  );

/** Removes the first `read` + 1 of the tracked unread messages. */
function without(conversation: Conversation, read: number): Conversation {
  if (read < 0) return conversation;
  const { ids, at } = conversation;
  return { ...conversation, unread: ids.length - read - 1, ids: ids.slice(read + 1), at: at.slice(read + 1) };
}

/** XEP-0490 §4.1: the id that the account's archive gave the message; a missing `by` is taken as ours. */
function entryIn(displayed: Element | undefined, owner: Jid): string | undefined {
  const { by, id } = displayed?.getChild('stanza-id', NS.stanzaId)?.attrs ?? {};
  return by === undefined || Jid.tryParse(by)?.bare === owner.bare ? id : undefined;
}

const latestFirst = (conversations: ReadonlyMap<string, Conversation>): [string, Conversation][] =>
  [...conversations].sort(([, a], [, b]) => (a.last < b.last ? 1 : -1));

/** The range of the listed conversations that a page selects (XEP-0059); items are identified by their addresses. */
function rangeOf(page: PageRequest, listed: readonly (readonly [string, unknown])[]): { start: number; end: number } {
  const find = (jid: string): number => {
    const at = listed.findIndex(([peer]) => peer === jid);
    if (at < 0) throw new StanzaError('item-not-found');
    return at;
  };
  const { max, after, before, index = 0 } = page;
  const low = after === undefined ? Math.min(index, listed.length) : find(after) + 1;
  const high = typeof before === 'string' ? find(before) : listed.length;
  if (before !== undefined) return { start: Math.max(low, high - max), end: Math.max(low, high) };
  return { start: low, end: Math.min(high, low + max) };
}

const isTrue = (text: string | undefined): boolean => text === 'true' || text === '1';
