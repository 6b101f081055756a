/**
 * XEP-0045 §17.4: IQs between occupants, relayed without revealing real addresses, and IQs to the room itself that no
 * hook answers. XEP-0410: answers self-pings.
 */

import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { monotonic } from '../../server/clock.js';
import { Holdings } from '../../server/limits/holdings.js';
import { type Maybe, type Memory, onBehalfOf } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { jid } from '../../server/stanza/stored.js';
import type { Muc } from './muc.js';
import { isOpenTo, lastOf, type Room } from './room.js';
import { readCard, writeCard } from './xep-0486-avatar.js';

/** A relayed request that has not been answered. */
interface Question {
  /** The client that asked. */
  readonly asker: Jid;
  readonly id: string | undefined;
  /** The addressed occupant, as the asker knows it. */
  readonly asked: Jid;
  /** The real address that must answer. */
  readonly answerer: Jid;
}

/** Pending requests in total, and per user or remote server; holdings.ts chooses which to evict. */
const mostQuestions = 10_000;
const mostOfOne = 100;

/** A request as it moves with its room to another node. */
const movedQuestion = z.object({
  id: z.string(),
  asker: jid,
  askerId: z.string().optional(),
  asked: jid,
  answerer: jid,
});

export function passIqs(muc: Muc) {
  const byAsker = new Holdings<Question>(mostOfOne, (_, id) => askers.delete(id));
  /** The holder of each pending id. */
  const askers = new Map<string, string>();

  const note = (id: string, question: Question): void => {
    const holder = muc.host.holderOf(question.asker);
    askers.set(id, holder);
    byAsker.set(holder, id, question, mostQuestions);
  };

  const ask = (room: Room, stanza: Stanza): void => {
    const to = stanza.to!;
    const seat = room.seat(stanza.from!);
    const isPing = stanza.type === 'get' && stanza.has(NS.ping, 'ping');
    if (seat === undefined) {
      // §6.6 for disco, XEP-0410 §3.3 for the rest
      const isDisco = stanza.has(NS.discoInfo, 'query') || stanza.has(NS.discoItems, 'query');
      throw new StanzaError(isDisco ? 'bad-request' : 'not-acceptable', 'You are not in the room.');
    }
    seat.heardAt = monotonic();
    if (isPing && seat.occupant.jid.equals(to)) {
      void muc.host.route(stanza.result());
      return;
    }
    const occupant = room.occupant(to.resource!);
    if (occupant === undefined || occupant.nick !== to.resource)
      throw new StanzaError('item-not-found', 'No occupant has that nickname.');
    // An account answers for its vCard, not its client.
    const answerer = stanza.has(NS.vcardTemp, 'vCard') ? occupant.user : lastOf(occupant).jid;
    const id = randomId();
    note(id, { asker: seat.jid, id: stanza.id, asked: to, answerer });
    const behalf = onBehalfOf([seat.jid], { isAsked: true });
    void muc.host.route(stanza.with({ from: seat.occupant.jid, to: answerer, id }), behalf);
  };

  const answer = (stanza: Stanza): void => {
    const id = stanza.id ?? '';
    const holder = askers.get(id);
    const question = holder === undefined ? undefined : byAsker.get(holder, id);
    // Accepted only from the address that was asked
    if (holder === undefined || question?.answerer.equals(stanza.from) !== true) return;
    askers.delete(id);
    byAsker.delete(holder, id);
    void muc.host.route(withoutBy(stanza).with({ from: question.asked, to: question.asker, id: question.id }));
  };

  /** Pending requests move with the room of the occupant who is asked. */
  const memory: Memory<z.output<typeof movedQuestion>> = {
    name: 'muc.requests',
    schema: movedQuestion,
    *describe(concerns) {
      for (const [, id, { asker, id: askerId, asked, answerer }] of byAsker.all())
        if (concerns(asked.bare))
          yield [asked.bare, { id, asker: asker.full, askerId, asked: asked.full, answerer: answerer.full }];
    },
    restore: (_, { id, asker, askerId, asked, answerer }) =>
      note(id, {
        asker: Jid.parse(asker),
        id: askerId,
        asked: Jid.parse(asked),
        answerer: Jid.parse(answerer),
      }),
  };

  const moved = (concerns: (bare: string) => boolean): void => {
    for (const [holder, id, { asked }] of [...byAsker.all()]) {
      if (!concerns(asked.bare)) continue;
      askers.delete(id);
      byAsker.delete(holder, id);
    }
  };

  const pass = (stanza: Stanza): Maybe<'unhandled' | void> => {
    const to = stanza.to!;
    if (stanza.type !== 'get' && stanza.type !== 'set') return answer(stanza);
    if (to.local === undefined) return answerAtService(muc, stanza);
    return muc.rooms.inRoomFor(stanza.from!, to, (room): Maybe<'unhandled' | void> => {
      // XEP-0410 §3.3: item-not-found would tell the client that it is in the room under another nickname
      const isSelfPing = to.resource !== undefined && stanza.has(NS.ping, 'ping');
      if (room === undefined || !isOpenTo(room, stanza.from!))
        throw new StanzaError(isSelfPing ? 'not-acceptable' : 'item-not-found', 'There is no such room.');
      if (to.resource !== undefined) return ask(room, stanza);
      return answerInRoom(muc, room, stanza);
    });
  };

  return { pass, memory, moved };
}

/** RFC 6120 §8.3.2: removes the real address of the entity that raised an error. */
function withoutBy(stanza: Stanza): Stanza {
  const error = stanza.child(NS.client, 'error');
  if (error?.attrs.by === undefined) return stanza;
  delete error.attrs.by;
  return stanza.without(NS.client, 'error').plus(error);
}

function answerAtService({ host }: Muc, stanza: Stanza): 'unhandled' | void {
  if (stanza.type !== 'get' || !stanza.has(NS.ping, 'ping')) return 'unhandled';
  void host.route(stanza.result());
}

function answerInRoom(muc: Muc, room: Room, stanza: Stanza): Maybe<'unhandled' | void> {
  if (stanza.type === 'get' && stanza.has(NS.ping, 'ping')) {
    void muc.host.route(stanza.result());
    return;
  }
  const card = stanza.child(NS.vcardTemp, 'vCard');
  if (card === undefined) return 'unhandled';
  const done = stanza.type === 'get' ? readCard(muc, room) : writeCard(muc, room, stanza.from!, card);
  return done.then((payload) => void muc.host.route(stanza.result(payload)));
}
