/** XEP-0492: when a user wants to be notified of messages in a room, and which messages mention them. */
import { Jid } from '../../server/address/jid.js';
import { isEncrypted } from '../../server/stanza/attention.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import type { Element } from '../../server/xml/element.js';

export const notifications = ['always', 'mentions', 'never'] as const;
export type Notifications = (typeof notifications)[number];

const elements: Readonly<Record<string, Notifications>> = {
  always: 'always',
  'on-mention': 'mentions',
  never: 'never',
};

/** "Business Rules": by the element that fits a phone best. Undefined if there is none. */
export function settingIn(extensions: readonly Element[]): Notifications | undefined {
  const notify = extensions.find((one) => one.is('notify', NS.notificationSettings));
  let best: Notifications | undefined;
  let rank = -1;
  for (const child of notify?.getChildElements() ?? []) {
    const found = child.getNS() === NS.notificationSettings ? elements[child.getName()] : undefined;
    const fit = fitOf(child.attrs);
    if (found === undefined || fit <= rank) continue;
    best = found;
    rank = fit;
  }
  return best;
}

/** How well an element fits a phone: 2 as one, 1 as a client, 0 as anything; less than 0 not at all. */
function fitOf({ 'identity-category': category, 'identity-type': type }: Element['attrs']): number {
  if (category === undefined) return type === undefined ? 0 : -1;
  if (category !== 'client') return -1;
  return type === undefined ? 1 : type === 'phone' ? 2 : -1;
}

const mentioning: readonly string[] = [NS.reference, NS.reply, NS.explicitMentions];

/** The user in the room. */
export interface Mentioned {
  /** The bare address. */
  readonly account: Jid;
  readonly nick: string;
}

/**
 * Whether a message of a room concerns the user: by a reference (XEP-0372), a reply (XEP-0461), a mention of a group
 * (XEP-0513), or the nickname as a word. What is encrypted may.
 */
export function mentions(stanza: Stanza, user: Mentioned): boolean {
  if (isEncrypted(stanza)) return true;
  const room = stanza.from!;
  const isUser = (text: string | undefined): boolean => {
    const jid = text === undefined ? undefined : Jid.tryParse(text);
    if (jid === undefined) return false;
    return jid.sameBare(room) ? jid.resource === user.nick : jid.sameBare(user.account);
  };
  const isMention = (element: Element): boolean => {
    const { attrs } = element;
    if (element.is('reference', NS.reference)) return attrs.type === 'mention' && isUser(addressIn(attrs.uri));
    if (element.is('reply', NS.reply)) return isUser(attrs.to);
    return element.is('mention', NS.explicitMentions) && attrs.mentions !== undefined;
  };
  // Few messages have such an element, and need to be parsed.
  if (stanza.childNames().some(({ ns }) => mentioning.includes(ns)) && stanza.children().some(isMention)) return true;
  return hasWord(stanza.text(NS.client, 'body') ?? '', user.nick);
}

/** The address in an XMPP URI (RFC 5122). */
function addressIn(uri = ''): string | undefined {
  if (!uri.startsWith('xmpp:')) return undefined;
  try {
    return decodeURIComponent(uri.slice(5).split(/[?#]/)[0]!);
  } catch {
    return undefined;
  }
}

const isPartOfWord = (character: string | undefined): boolean =>
  character !== undefined && /[\p{L}\p{M}\p{N}_]/u.test(character);

/** Whether a text has this name, in any case, and not as part of a longer word. */
export function hasWord(text: string, name: string): boolean {
  if (name === '') return false;
  const all = text.toLowerCase();
  const wanted = name.toLowerCase();
  for (let at = all.indexOf(wanted); at >= 0; at = all.indexOf(wanted, at + 1)) {
    const after = all.codePointAt(at + wanted.length);
    const next = after === undefined ? undefined : String.fromCodePoint(after);
    if (!isPartOfWord(before(all, at)) && !isPartOfWord(next)) return true;
  }
  return false;
}

/** The character before an index. */
function before(text: string, at: number): string | undefined {
  if (at === 0) return undefined;
  const isPair = at > 1 && /[\uDC00-\uDFFF]/.test(text[at - 1]!);
  return text.slice(isPair ? at - 2 : at - 1, at);
}
