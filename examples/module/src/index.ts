/**
 * XEP-0109: Out-of-Office Messages. Clients publish when they are away, with a note for their contacts (node
 * `urn:xmpp:ooo:0`, by PEP). This module sends the note to contacts who write while none of the account's clients is
 * online: at a limited rate, and only within the times of the note.
 *
 * Left out: notes published under item ids other than `current` (§4.2).
 */
import { count, defineModule, el, type Jid, map, message, metric, NS, Stanza, wall, z } from 'waxwing/module';

/** The module's own namespace. */
export const ns = 'urn:xmpp:ooo:0';

declare module 'waxwing/module' {
  interface Services {
    outOfOffice: {
      /** The note that contacts get now. Returns undefined if there is none. */
      noteOf(owner: Jid): Promise<string | undefined>;
    };
  }
  interface Events {
    /** A contact was answered with the note. */
    absenceTold: { readonly owner: Jid; readonly contact: Jid };
  }
}

const hour = 3_600_000;

export default defineModule({
  name: 'out_of_office',
  summary: 'Answers contacts while a user is away.',
  implements: { 'XEP-0109': '0.3.2' },
  config: z.strictObject({
    repeat_hours: count({ min: 1 }).default(24).describe('How long after an answer the same contact gets no other.'),
    characters: count({ min: 1 }).default(500).describe('Maximum characters of a note; longer ones are truncated.'),
  }),
  // The time each contact was answered. Bounded by the roster, since only contacts are answered.
  stores: { told: map<number>({ value: z.number() }) },
  needs: ['pep', 'roster'],
  provides: ['outOfOffice'],

  start: ({ host, config, stores: { told }, services: { pep, roster }, provide, log }) => {
    let answers = 0;

    const noteOf = async (owner: Jid): Promise<string | undefined> => {
      const note = await pep.item(owner.bare, ns, 'current');
      const text = note?.is('ooo', ns) ? note.getChildText('message', ns)?.trim() : undefined;
      if (!note || !text) return undefined;
      const { start, end } = {
        start: timeIn(note.getChildText('start', ns)),
        end: timeIn(note.getChildText('end', ns)),
      };
      const now = wall();
      // §4.2: an empty time counts as none
      if ((start !== undefined && now < start) || (end !== undefined && now >= end)) return undefined;
      return Array.from(text).slice(0, config.characters).join('');
    };

    const answer = async (owner: Jid, contact: Jid): Promise<void> => {
      if (!(await roster.sees(owner.bare, contact))) return;
      const note = await noteOf(owner);
      if (note === undefined) return;
      const last = await told.get(owner.bare, contact.bare);
      if (last !== undefined && wall() - last < config.repeat_hours * hour) return;
      // Persisted before it is sent, so that two servers cannot answer each other in a loop.
      await told.set(owner.bare, [[contact.bare, wall()]]);
      answers++;
      await host.route(Stanza.build('message', { from: owner, to: contact, type: 'chat' }, el('body', null, note)));
      await host.emit('absenceTold', { owner, contact });
    };

    provide('outOfOffice', { noteOf });

    return [
      message(
        'absent',
        ({ way, owner, peer, stanza }) => {
          const isPersonal = stanza.type === 'chat' || stanza.type === undefined || stanza.type === 'normal';
          if (way !== 'in' || !isPersonal || !stanza.has(NS.client, 'body') || peer.local === undefined) return;
          // Does not delay the message.
          answer(owner, peer).catch((error: unknown) => log.error({ err: error }, 'a contact could not be answered'));
        },
        // 'offline' ends the step for messages that it stores.
        { before: ['offline'] },
      ),
      metric({
        name: 'waxwing_out_of_office_answers_total',
        help: 'Contacts answered with a note',
        read: () => answers,
      }),
    ];
  },
});

/** A time of XEP-0082 in ms since 1970. Returns undefined if it is missing or invalid. */
function timeIn(text: string | null | undefined): number | undefined {
  const at = text ? Date.parse(text.trim()) : Number.NaN;
  return Number.isNaN(at) ? undefined : at;
}
