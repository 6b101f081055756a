/**
 * XEP-0227 §4.11: the archive of an account. Entries of a Waxwing keep their ids. Ids of other servers do not sort by time;
 * they are replaced by ids that are made of the time, the position among messages of the same time, and the old id: so the
 * same message always gets the same one.
 */
import type { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { type PartsImported, type Portable, takeEach } from '../../server/module/index.js';
import { parseDateTime } from '../../server/stanza/datetime.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { type Dated, foreignId, idsAbove, timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { stanzaFrom } from '../../server/stanza/stored.js';
import type { Element } from '../../server/xml/element.js';
import type { LogEntry, LogStore } from '../../storage/contract.js';
import { resultXml } from './results.js';

/** Entries per read. */
const page = 100;
/** How far a clock of another server may be ahead, in ms. */
const mostAhead = 86_400_000;

export function portableArchive(store: LogStore): Portable {
  const entryOf = (archive: Element, owner: Jid, before: Dated | undefined): { entry: LogEntry; at: Dated } => {
    const result = archive.getChild('result', NS.mam);
    const forwarded = result?.getChild('forwarded', NS.forward);
    const time = parseDateTime(forwarded?.getChild('delay', NS.delay)?.attrs.stamp ?? '');
    const message = forwarded?.getChildElements().find((child) => child.getName() === 'message');
    if (time === undefined || time < 0 || time > wall() + mostAhead)
      throw new StanzaError('bad-request', 'it has no valid time');
    const stanza = message && stanzaFrom(message);
    if (stanza === undefined) throw new StanzaError('bad-request', 'it has no valid message');
    const { from = owner, to = owner } = stanza;
    const peer = from.bare === owner.bare ? to : from;
    const id = result!.attrs.id ?? '';
    const at = foreignId(time, id === '' ? stanza.toXml() : id, before);
    const isOurs = timeOf(id) === time;
    const value = stanza.with({ from, to: stanza.to }).toXml(NS.client);
    return { entry: { id: isOurs ? id : at.id, with: peer.bare, value }, at };
  };

  return {
    takes: [{ ns: NS.pieMam, name: 'archive', containers: 1 }],
    async *export({ bare }) {
      for (let after: string | undefined; ; ) {
        const { entries, complete } = await store.page(bare, { after, limit: page });
        if (after === undefined && entries.length > 0) yield `<archive xmlns="${NS.pieMam}">`;
        for (const { id, value } of entries) yield resultXml(id, undefined, value);
        after = entries.at(-1)?.id ?? after;
        if (!complete) continue;
        if (after !== undefined) yield '</archive>';
        return;
      }
    },
    async import(owner, parts, memo): Promise<PartsImported> {
      let last = memo === undefined ? undefined : (JSON.parse(memo) as Dated);
      const found = new Map<string, LogEntry>();
      const refused = await takeEach(
        parts,
        () => 'an archived message',
        (archive) => {
          if (archive.getChildElements().length === 0) return;
          const { entry, at } = entryOf(archive, owner, last);
          last = at;
          found.set(entry.id, entry);
        },
      );
      const ids = [...found.keys()];
      const known = await store.page(owner.bare, { ids, limit: ids.length });
      for (const { id } of known.entries) found.delete(id);
      await Promise.all([...found.values()].map((entry) => store.append(owner.bare, entry)));
      for (const id of found.keys()) idsAbove(owner.bare, id);
      return { refused, ...(last !== undefined && { memo: JSON.stringify(last) }) };
    },
  };
}
