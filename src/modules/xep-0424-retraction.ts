/**
 * XEP-0424: Message Retraction. A retracted message and its corrections (XEP-0308) are replaced by a tombstone in the
 * archives of both sides; the retraction itself is archived like any message. Rooms handle their own archives.
 *
 * Only recent messages with the same peer are searched: an older message is not replaced.
 */
import { setImmediate } from 'node:timers/promises';
import type { Jid } from '../server/address/jid.js';
import { defineModule, message } from '../server/module/index.js';
import { formatDateTime } from '../server/stanza/datetime.js';
import { timeOf } from '../server/stanza/ids.js';
import { NS } from '../server/stanza/ns.js';
import { type ChildName, Stanza } from '../server/stanza/stanza.js';
import { el, escapeAttribute } from '../server/xml/element.js';

/** Messages per page, and the maximum number searched for a retracted message. */
const pageLength = 100;
const mostLookedAt = 1000;
/** Characters searched before yielding to other work. */
const mostAtOnce = 200_000;
/** Maximum pending retractions. */
const mostWaiting = 1000;

interface Retraction {
  readonly owner: Jid;
  readonly peer: Jid;
  readonly stanza: Stanza;
  /** Of the retracted message. */
  readonly id: string;
  readonly archivedAs: string;
}

export default defineModule({
  name: 'retraction',
  summary: 'Replaces retracted messages in archives by tombstones.',
  implements: { 'XEP-0424': '0.4.2' },
  features: { server: [NS.retract], account: [NS.retract, NS.retractTombstone] },
  needs: ['archive'],

  start: ({ host, services: { archive }, log }) => {
    const waiting: Retraction[] = [];
    let isRunning = false;

    const bury = async ({ owner, peer, stanza, id, archivedAs }: Retraction): Promise<void> => {
      // §4: with the id of the retraction and its time.
      const retracted = el('retracted', {
        xmlns: NS.retract,
        id: stanza.id,
        stamp: formatDateTime(timeOf(archivedAs)),
      });
      const words = escapeAttribute(id);
      let looked = 0;
      let before: string | undefined = archivedAs;
      for (let left = mostLookedAt; left > 0; left -= pageLength) {
        const { entries, complete } = await archive.read(owner, {
          with: peer.bare,
          before,
          limit: pageLength,
          backwards: true,
        });
        for (const entry of entries.reverse()) {
          looked += entry.value.length;
          if (looked > mostAtOnce) {
            looked = 0;
            await setImmediate();
          }
          if (!entry.value.includes(`"${words}"`) && !entry.value.includes(`'${words}'`)) continue;
          const original = Stanza.parse(entry.value);
          if (!isByAuthor(original, stanza)) continue;
          if (original.id === id) {
            await archive.tombstone(owner, entry.id, retracted, isAboutSender);
            return;
          }
          if (original.child(NS.correct, 'replace')?.attrs.id === id)
            await archive.tombstone(owner, entry.id, retracted, isAboutSender);
        }
        if (complete) return;
        before = entries.at(-1)?.id;
        await setImmediate();
      }
    };

    /** Runs pending retractions one at a time, so that those of missing messages cost little at once. Never rejects. */
    const run = async (): Promise<void> => {
      isRunning = true;
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
        await bury(next).catch((error: unknown) => log.error({ err: error }, 'a message could not be retracted'));
      isRunning = false;
    };

    return [
      message(
        'archive',
        ({ owner, peer, stanza, archivedAs }) => {
          // §5: a tombstone makes no sense unless the retraction is archived.
          if (archivedAs === undefined || stanza.id === undefined || !stanza.has(NS.retract, 'retract')) return;
          const { id } = stanza.child(NS.retract, 'retract')!.attrs;
          if (id === undefined || id === '') return;
          if (waiting.length >= mostWaiting) return host.limitHit('retractions');
          waiting.push({ owner, peer, stanza, id, archivedAs });
          if (!isRunning) void run();
        },
        { after: ['mam'] },
      ),
    ];
  },
});

/** §5: by the same account; occupants of a room share its bare address. */
export function isByAuthor(original: Stanza, retraction: Stanza): boolean {
  const { from } = original;
  if (from === undefined || from.bare !== retraction.from?.bare) return false;
  const isPrivate = original.has(NS.mucUser, 'x') || retraction.has(NS.mucUser, 'x');
  return !isPrivate || from.full === retraction.from.full;
}

const isAboutSender = ({ ns }: ChildName): boolean => ns === NS.mucUser || ns === NS.occupantId;
