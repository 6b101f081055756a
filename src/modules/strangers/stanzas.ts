/** Classifies stanzas from senders that the recipient does not know. */

import { Jid } from '../../server/address/jid.js';
import { demandFew } from '../../server/stanza/addresses.js';
import { isStanzaErrorCondition } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';

/** A deliberate attempt to make contact, unlike stanzas that clients send by themselves, such as receipts. */
export const isApproach = (stanza: Stanza): boolean =>
  stanza.name === 'message' ? isWritten(stanza) : stanza.type === 'subscribe';

/** Whether sending this makes the recipient known to the sender. */
export function makesKnown(stanza: Stanza): boolean {
  const { name, type } = stanza;
  if (name === 'presence') return type === undefined || type === 'subscribe';
  return name === 'iq' ? type === 'set' : type !== 'groupchat' && type !== 'error' && isWritten(stanza);
}

/** XEP-0045 §7.8.2: the addresses that a room is asked to invite. */
export function invitedBy(stanza: Stanza): readonly Jid[] {
  if (stanza.name !== 'message' || stanza.type === 'groupchat' || !stanza.has(NS.mucUser, 'x')) return [];
  const invitations = stanza.child(NS.mucUser, 'x')!.getChildren('invite', NS.mucUser);
  demandFew(invitations.map(({ attrs }) => attrs.to));
  return invitations.flatMap(({ attrs }) => Jid.tryParse(attrs.to ?? '') ?? []);
}

/** The presence with its capabilities only, without text. */
export const presenceAlone = (stanza: Stanza): Stanza => {
  const { from, to, type, id } = stanza;
  const caps = type === undefined ? stanza.child(NS.caps, 'c') : undefined;
  return Stanza.build('presence', { from, to, type, id }, caps);
};

const shows: readonly (string | undefined)[] = [undefined, 'away', 'chat', 'dnd', 'xa'];

/** Whether the presence has content that a client may show. */
export function showsSomething(stanza: Stanza): boolean {
  for (const { ns, name } of stanza.childNames()) {
    const isPlain = (ns === NS.caps && name === 'c') || (ns === NS.client && (name === 'show' || name === 'priority'));
    if (!isPlain) return true;
  }
  return !shows.includes(stanza.text(NS.client, 'show')) || (stanza.child(NS.caps, 'c')?.children.length ?? 0) > 0;
}

/** The error with its defined condition only, without text and payload. */
export function errorAlone(stanza: Stanza): Stanza {
  const { name, from, to, id } = stanza;
  const error = stanza.child(NS.client, 'error');
  const condition = error
    ?.getChildElements()
    .find((child) => child.getNS() === NS.stanzas && isStanzaErrorCondition(child.getName()));
  const type = errorTypes.find((one) => one === error?.attrs.type) ?? 'cancel';
  return Stanza.build(
    name,
    { from, to, id, type: 'error' },
    el('error', { type }, el(condition?.getName() ?? 'undefined-condition', { xmlns: NS.stanzas })),
  );
}
const errorTypes = ['auth', 'cancel', 'continue', 'modify', 'wait'] as const;

const isWritten = (stanza: Stanza): boolean =>
  stanza.has(NS.client, 'body') ||
  stanza.has(NS.encryption, 'encryption') ||
  stanza.has(NS.conference, 'x') ||
  stanza.has(NS.jingleMessage, 'propose') ||
  stanza.has(NS.jingleMessage, 'proceed');

/** A chat state (XEP-0085) without content. From an unknown sender it is not a message. */
export function isChatState(stanza: Stanza): boolean {
  const names = stanza
    .childNames()
    .filter(({ ns, name }) => ns !== NS.hints && !(ns === NS.client && name === 'thread'));
  return names.length > 0 && names.every(({ ns }) => ns === NS.chatStates);
}
