/** A report: as received, as stored, and as shown to others. */

import { formatDateTime } from '../../server/stanza/datetime.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el, parse, serialize } from '../../server/xml/element.js';
import type { NewReport } from './services.js';

/** Stored as JSON. Optional fields were not stored by earlier versions. */
export interface StoredReport {
  /** The reporter: a bare address, or the domain that forwarded the report. */
  readonly by: string;
  readonly jid: string;
  /** The room to which it was reported. */
  readonly room?: string;
  readonly reason: string;
  readonly text: string;
  /** The language of the text. */
  readonly lang?: string;
  /** XEP-0359 ids of the reported messages. */
  readonly messages: readonly string[];
  /** The messages that were found, as XML, without `to`. */
  readonly evidence?: readonly string[];
}

/** Limits of one report: characters of its text, and messages that it names. */
const longestText = 1000;
const mostMessages = 50;
export const mostEvidence = 10;
const longestEvidence = 8192;

/** §5: the ids of the messages that a report names. */
export const idsIn = (report: Element): string[] =>
  report
    .getChildren('stanza-id', NS.stanzaId)
    .slice(0, mostMessages)
    .flatMap(({ attrs }) => (attrs.id === undefined ? [] : [shortened(attrs.id)]));

/** `messages`: those that were found, by any sender. Only those by the reported address are stored (§5). */
export function made({ by, about, room, element }: NewReport, messages: readonly Stanza[]): StoredReport {
  const text = element.getChild('text', NS.reporting);
  const lang = text?.attrs['xml:lang'];
  return {
    by: by.bare,
    jid: about.full,
    ...(room !== undefined && { room: room.bare }),
    reason: shortened(element.attrs.reason ?? ''),
    text: shortened(text?.getText() ?? ''),
    ...(lang !== undefined && { lang: shortened(lang).slice(0, 35) }),
    messages: idsIn(element),
    evidence: messages.slice(0, mostEvidence).map(shown),
  };
}

/** §4: without `to` and the archive ids, so that it does not reveal its recipient. */
function shown(message: Stanza): string {
  const { from, type, id } = message;
  const whole = message.with({ to: undefined }).without(NS.stanzaId, 'stanza-id').toXml(NS.client);
  if (whole.length <= longestEvidence) return whole;
  const body = message.text(NS.client, 'body');
  const cut = body === undefined ? undefined : el('body', null, shortened(body));
  return Stanza.build('message', { from, type, id }, cut).toXml(NS.client);
}

const reasonOf = ({ reason }: StoredReport): string => reason.replace(/^urn:xmpp:reporting:/, '') || 'no reason';

/** The report with the reported address, as servers forward reports to each other. */
export function reportElement({ reason, jid, text, lang }: StoredReport): Element {
  return el(
    'report',
    { xmlns: NS.reporting, reason },
    el('jid', { xmlns: NS.jid }, jid),
    text === '' ? undefined : el('text', { 'xml:lang': lang }, text),
  );
}

/** §4 and XEP-0297: the messages, without other payloads that reveal the reporter (XEP-0033, XEP-0461). */
export function forwardedElements({ by, evidence = [] }: StoredReport, at: number): Element[] {
  const delay = () => el('delay', { xmlns: NS.delay, stamp: formatDateTime(at) });
  return evidence.map((xml) => {
    const message = parse(xml, NS.client);
    for (const child of message.getChildElements())
      if (!child.is('body') && serialize(child).toLowerCase().includes(by)) message.remove(child);
    return el('forwarded', { xmlns: NS.forward }, delay(), message);
  });
}

/** The report as plain text, for clients without support. */
export function wordsOf(report: StoredReport): string {
  const { by, jid, room, text, evidence = [] } = report;
  const where = room === undefined ? '' : ` in ${room}`;
  const bodies = evidence.map((xml) => Stanza.parse(xml).text(NS.client, 'body')).filter((body) => body !== undefined);
  return [`${by} reports ${jid}${where} (${reasonOf(report)})`, text, ...bodies.map((body) => `> ${shortened(body)}`)]
    .filter((line) => line !== '')
    .join('\n');
}

const shortened = (text: string): string => Array.from(text.trim()).slice(0, longestText).join('');
