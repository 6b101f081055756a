/**
 * XEP-0424: Message Retraction. What its author takes back is replaced by a tombstone in the archives of both sides,
 * with the corrections of it (XEP-0308); the retraction itself is archived as any message. Rooms do it for theirs.
 *
 * A message is looked for among the last with the other party: one that is older keeps its place and its words.
 */
import { setImmediate } from 'node:timers/promises';
import { defineModule, message } from '../server/module/index.js';
import { formatDateTime } from '../server/stanza/datetime.js';
import { timeOf } from '../server/stanza/ids.js';
import type { Jid } from '../server/stanza/jid.js';
import { NS } from '../server/stanza/ns.js';
import { type ChildName, Stanza } from '../server/stanza/stanza.js';
import { el, escapeAttribute } from '../server/xml/element.js';

/** Messages that are read at once, and in which a retracted one is looked for. */
const pageLength = 100;
const mostLookedAt = 1000;
/** Characters of entries that are looked through before others have their turn. */
const mostAtOnce = 200_000;
/** Retractions that wait for their turn. */
const mostWaiting = 1000;

interface Retraction {
  readonly owner: Jid;
  readonly peer: Jid;
  readonly stanza: Stanza;
  /** Of the message that is taken back. */
  readonly id: string;
  readonly archivedAs: string;
}

export default defineModule({
  name: 'retraction',
  summary: 'Replaces messages in archives that their authors took back.',
  implements: { 'XEP-0424': '0.4.2' },
  features: { server: [NS.retract], account: [NS.retract, NS.retractTombstone] },
  needs: ['archive'],

  start: ({ host, services: { archive }, log }) => {
    const waiting: Retraction[] = [];
    let isRunning = false;

    const bury = async ({ owner, peer, stanza, id, archivedAs }: Retraction): Promise<void> => {
      // §4: told by which retraction, and when.
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

    /** Retracts one after the other, so that retractions of missing messages cost little at a time. Never rejects. */
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
          // §5: without the retraction in the archive nobody could make sense of the tombstone.
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

/** §5: by the same account; the occupants of a room have one bare address between them. */
export function isByAuthor(original: Stanza, retraction: Stanza): boolean {
  const { from } = original;
  if (from === undefined || from.bare !== retraction.from?.bare) return false;
  const isPrivate = original.has(NS.mucUser, 'x') || retraction.has(NS.mucUser, 'x');
  return !isPrivate || from.full === retraction.from.full;
}

const isAboutSender = ({ ns }: ChildName): boolean => ns === NS.mucUser || ns === NS.occupantId;
