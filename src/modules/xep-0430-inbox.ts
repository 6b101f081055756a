/**
 * XEP-0430: Inbox: all conversations of an account in one query, the one with the latest message first, with what is
 * unread in each.
 *
 * Nothing is done when messages pass. What is known of the conversations is brought up to date from the archive when
 * somebody asks, and kept: an account that never asks costs nothing, and one that does what it has received since. What
 * is said in rooms is not in the archives of accounts, so rooms are not listed. What other clients say that they have
 * displayed (XEP-0490) counts as read.
 */
import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import { count } from '../server/config/units.js';
import { defineModule, type IqRequest, iq, map } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { Jid } from '../server/stanza/jid.js';
import { NS } from '../server/stanza/ns.js';
import { type PageRequest, readRsm, rsmSet } from '../server/stanza/rsm.js';
import { Stanza } from '../server/stanza/stanza.js';
import { jid, whole } from '../server/stanza/stored.js';
import { type Element, el } from '../server/xml/element.js';
import type { LogEntry } from '../storage/contract.js';

/** Entries of the archive that are read at once, and messages for an answer. */
const pageLength = 100;
const messagesAtOnce = 25;
/** Characters of messages in one answer; further conversations come without theirs. */
const mostCharacters = 524_288;
/** Unread messages of a conversation that are told apart: whoever has read one has read those before. */
const mostUnread = 100;

export interface Conversation {
  /** The last entry of the archive, and the last of these that is a message for people. */
  readonly last: string;
  readonly message?: string | undefined;
  readonly unread: number;
  /** The ids that the sender gave to the latest unread messages, the oldest first; '' where there was none. */
  readonly ids: readonly string[];
  /** Their entries of the archive. */
  readonly at: readonly string[];
}

/** What an entry of the archive means to its conversation. */
export type Meaning =
  | { readonly kind: 'received'; readonly id: string }
  | { readonly kind: 'sent' }
  | { readonly kind: 'displayed'; readonly id: string }
  | { readonly kind: 'other' };

interface News {
  readonly id: string;
  readonly peer: string;
  readonly meaning: Meaning;
}

/** The key (no address is empty) under which the entry that was looked at last is kept, as if it were a conversation. */
const progress = '';

export default defineModule({
  name: 'inbox',
  summary: 'Lists the conversations of an account, with what is unread in them.',
  implements: { 'XEP-0430': '0.2.0' },
  notes: 'Rooms are not listed.',
  features: { account: [NS.inbox] },
  config: z.strictObject({
    conversations: count({ min: 1 }).default(1000).describe('Conversations of one account; the oldest make room.'),
    history: count({ min: 100 })
      .default(10_000)
      .describe('Messages of the archive that are looked through at most when an account asks again, or first.'),
    page: count({ min: 1 }).default(50).describe('Conversations in an answer that asks for no number.'),
    page_limit: count({ min: 1, max: 1000 }).default(250).describe('Most conversations in one answer.'),
  }),
  stores: {
    inbox: map<Conversation>({
      storedAs: 'inbox',
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
    /** By account: as many as sessions ask. */
    const refreshing = new Map<string, Promise<ReadonlyMap<string, Conversation>>>();

    /** What came into the archive since, the oldest first. */
    const newsSince = async (owner: Jid, after: string | undefined): Promise<News[]> => {
      const news: News[] = [];
      let before: string | undefined;
      while (news.length < config.history) {
        const limit = Math.min(pageLength, config.history - news.length);
        const { entries, complete } = await archive.read(owner, { after, before, limit, backwards: true });
        for (const entry of entries.reverse())
          news.push({ id: entry.id, peer: entry.with ?? '', meaning: meaningOf(entry, owner) });
        if (complete) break;
        before = entries.at(-1)?.id;
        await setImmediate();
      }
      return news.reverse();
    };

    const refresh = async (owner: Jid): Promise<ReadonlyMap<string, Conversation>> => {
      const known = await store.all(owner.bare);
      const since = known.get(progress)?.last;
      known.delete(progress);
      const changed = new Set<string>();
      let latest = since;
      for (const { id, peer, meaning } of await newsSince(owner, since)) {
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

    /** XEP-0490 §4.1: up to which entry of the archive clients have displayed those that are unread here. */
    const displayedIn = async (
      owner: Jid,
      known: ReadonlyMap<string, Conversation>,
    ): Promise<readonly (readonly [peer: string, entry: string])[]> => {
      if (pep === undefined) return [];
      const said = new Map<string, string>();
      for (const [peer, { unread }] of known) {
        if (unread === 0) continue;
        const id = entryIn(await pep.item(owner.bare, NS.displayed, peer), owner);
        if (id !== undefined) said.set(peer, id);
      }
      const ids = [...new Set(said.values())];
      if (ids.length === 0) return [];
      // §5.1: what is not in the conversation says nothing of it
      const { entries } = await archive.read(owner, { ids, limit: ids.length });
      const peers = new Map(entries.map(({ id, with: peer }) => [id, peer]));
      return [...said].filter(([peer, id]) => peers.get(id) === peer);
    };

    /** Nothing of them is in the archive any more, or there are too many. */
    const outdated = async (owner: Jid, known: ReadonlyMap<string, Conversation>): Promise<string[]> => {
      if (known.size === 0) return [];
      const [first] = (await archive.read(owner, { limit: 1 })).entries;
      return latestFirst(known)
        .filter(([, { last }], at) => at >= config.conversations || first === undefined || last < first.id)
        .map(([peer]) => peer);
    };

    /** Brings the conversations up to date, once at a time. */
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

/** §4: what an entry of the owner's archive means to its conversation. */
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

/** A conversation after an entry; the same one where that was counted before. */
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
    case 'sent': // whoever answers has read
      return { last, message: last, unread: 0, ids: [], at: [] };
    case 'displayed': // XEP-0333 §5: what is not there says nothing
      return without({ last, message, unread, ids, at }, ids.lastIndexOf(meaning.id));
    case 'other':
      return { last, message, unread, ids, at };
  }
}

/** A conversation that was displayed up to an entry of the archive; the same one where that was read before. */
export const readTo = (conversation: Conversation, entry: string): Conversation =>
  without(
    conversation,
    conversation.at.findLastIndex((unread) => unread <= entry),
  );

/** Without the unread messages up to this one of those that are told apart. */
function without(conversation: Conversation, read: number): Conversation {
  if (read < 0) return conversation;
  const { ids, at } = conversation;
  return { ...conversation, unread: ids.length - read - 1, ids: ids.slice(read + 1), at: at.slice(read + 1) };
}

/** XEP-0490 §4.1: the id that we gave the message; who says of none by whom it is means ours. */
function entryIn(displayed: Element | undefined, owner: Jid): string | undefined {
  const { by, id } = displayed?.getChild('stanza-id', NS.stanzaId)?.attrs ?? {};
  return by === undefined || Jid.tryParse(by)?.bare === owner.bare ? id : undefined;
}

const latestFirst = (conversations: ReadonlyMap<string, Conversation>): [string, Conversation][] =>
  [...conversations].sort(([, a], [, b]) => (a.last < b.last ? 1 : -1));

/** The part of a list of conversations that a page is (XEP-0059); items are named by their addresses. */
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
