/**
 * Stanzas for addresses of this server that live at another node, and those that come from there. What passes between two
 * nodes passes as between two servers: the sender's session stays behind, a refusal comes back as an error stanza.
 */
import { z } from 'zod';
import type { Away } from '../cluster/homes.js';
import type { Delivery, Receiver } from '../cluster/inbox.js';
import { ParcelError } from '../cluster/parcel.js';
import { StanzaError } from '../stanza/errors.js';
import { Jid } from '../stanza/jid.js';
import type { Behalf } from '../stanza/speaker.js';
import { Stanza } from '../stanza/stanza.js';
import { errorOf } from './asks.js';
import type { LocalHost } from './host.js';
import type { Origin } from './passage.js';
import { type Router, serverOrigin } from './router.js';

/** What goes with a stanza where it is more than the stanza: in JSON, on a line before it. */
const besides = z.object({
  /** For whom a service of this server speaks. */
  speakers: z.array(z.string()).min(1).optional(),
  isAsked: z.boolean().optional(),
  /** The host that asks the question. */
  asks: z.string().optional(),
});
type Besides = z.output<typeof besides>;

export interface ElsewhereParts {
  readonly router: Router;
  /** Of a domain, or of the domain of a service; some host where there is none. */
  host(domain: string): LocalHost;
}

export class Elsewhere implements Receiver {
  readonly #parts: ElsewhereParts;
  /** The stanza that was written last, and what it was written as: what goes to many is written once. */
  #written: { readonly stanza: Stanza; readonly behalf: Behalf | undefined; readonly payload: string } | undefined;

  constructor(parts: ElsewhereParts) {
    this.#parts = parts;
  }

  /**
   * Sends a stanza to the home of these full addresses of one account. The acknowledgement of the stanza waits until it is
   * durable there. Where much waits for that node, the result resolves once there is room: for streams, which can wait.
   */
  send(away: Away, stanza: Stanza, to: readonly Jid[], origin: Origin): void | Promise<void> {
    const isOnce = stanza.name === 'iq' && (stanza.type === 'get' || stanza.type === 'set');
    const { confirmed, room } = away.send(to, this.#write(stanza, origin.behalf), { isOnce });
    const told = confirmed.catch((error: unknown) => this.#refuse(stanza, error));
    if (origin.acknowledges) origin.acknowledgeAfter(told, 'network');
    if (room !== undefined && origin.session !== undefined) return room;
  }

  /** Asks at the home of `to`, for a host here. Rejects with StanzaError. */
  async ask(away: Away, request: Stanza, to: Jid, domain: string, timeoutMs: number): Promise<Stanza> {
    const asked = `${JSON.stringify({ asks: domain } satisfies Besides)}\n${request.with({ to: undefined }).toXml()}`;
    const answer = await away.ask(to, asked, timeoutMs).catch((error: unknown) => {
      throw refusalOf(error);
    });
    const stanza = Stanza.parse(answer);
    if (stanza.type === 'error') throw errorOf(stanza);
    return stanza;
  }

  // --- from another node ----------------------------------------------------------------------------------------------

  receive(delivery: Delivery): void | Promise<void> {
    const { stanza, behalf } = read(delivery.payload);
    const [to, ...more] = delivery.to.map((full) => Jid.parse(full));
    if (to === undefined) throw new Error('a stanza came from another node without an addressee');
    const origin: Origin = {
      session: undefined,
      acknowledges: true,
      acknowledgeAfter: (durable) => delivery.acknowledgeAfter(durable),
      behalf,
    };
    const host = this.#parts.host(to.domain);
    return more.length === 0
      ? host.routeHere(stanza.with({ to }), origin)
      : host.routeAllHere(stanza, [to, ...more], origin);
  }

  async answer(delivery: Delivery, timeoutMs: number): Promise<string> {
    const { stanza, asks } = read(delivery.payload);
    const request = stanza.with({ to: Jid.parse(delivery.to[0] ?? '') });
    if (asks === undefined) throw new Error('a question came from another node without a host that asks');
    try {
      return (await this.#parts.host(asks).ask(request, { timeoutMs })).toXml();
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      return request.error(error).toXml();
    }
  }

  // --------------------------------------------------------------------------------------------------------------------

  #write(stanza: Stanza, behalf: Behalf | undefined): string {
    const last = this.#written;
    if (last !== undefined && last.behalf === behalf && isSameBut(last.stanza, stanza)) return last.payload;
    const xml = stanza.with({ to: undefined }).toXml();
    const payload = behalf === undefined ? xml : `${JSON.stringify(writtenBehalf(behalf))}\n${xml}`;
    this.#written = { stanza, behalf, payload };
    return payload;
  }

  /** What became of it comes to the sender as from any other server. */
  #refuse(stanza: Stanza, error: unknown): void {
    const { from } = stanza;
    if (from !== undefined) this.#parts.host(from.domain).refuse(stanza, refusalOf(error), serverOrigin);
  }
}

/** Whether two stanzas differ in nothing but their addressees. */
const isSameBut = (a: Stanza, b: Stanza): boolean =>
  a.name === b.name &&
  a.id === b.id &&
  a.type === b.type &&
  a.lang === b.lang &&
  (a.from === b.from || a.from?.equals(b.from) === true) &&
  a.content === b.content;

const writtenBehalf = ({ speakers, isAsked }: Behalf): Besides => ({
  speakers: speakers.map(({ full }) => full),
  isAsked,
});

/** Throws what is no payload of ours. */
function read(payload: string): { stanza: Stanza; behalf: Behalf | undefined; asks: string | undefined } {
  if (payload.startsWith('<')) return { stanza: Stanza.parse(payload), behalf: undefined, asks: undefined };
  const end = payload.indexOf('\n');
  const { speakers, isAsked = false, asks } = besides.parse(JSON.parse(payload.slice(0, end)));
  const stanza = Stanza.parse(payload.slice(end + 1));
  if (speakers === undefined) return { stanza, behalf: undefined, asks };
  const [first, ...others] = speakers.map((full) => Jid.parse(full));
  return { stanza, behalf: { speakers: [first!, ...others], isAsked }, asks };
}

function refusalOf(error: unknown): unknown {
  if (!(error instanceof ParcelError)) return error;
  // Its home is gone, and may have dealt with it: only the sender knows whether to ask again.
  if (error.reason === 'lost') return new StanzaError('remote-server-timeout');
  return new StanzaError('resource-constraint', 'Another node of this server does not keep up.', { type: 'wait' });
}
