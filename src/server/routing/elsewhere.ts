/**
 * Stanzas for addresses of this server that live at another node, and those that come from there. What passes between two
 * nodes passes as between two servers: the sender's session stays behind, a refusal comes back as an error stanza.
 */
import { z } from 'zod';
import type { Away, Homes } from '../cluster/homes.js';
import type { Delivery, Receiver } from '../cluster/inbox.js';
import { ParcelError } from '../cluster/parcel.js';
import { StanzaError } from '../stanza/errors.js';
import { Jid } from '../stanza/jid.js';
import { Stanza } from '../stanza/stanza.js';
import { errorOf } from './asks.js';
import type { LocalHost } from './host.js';
import type { Origin } from './passage.js';
import { answerWritten } from './questions.js';
import { type Router, serverOrigin, type WrittenQuestion } from './router.js';

const audienceSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('present') }),
  z.object({ kind: z.enum(['willing', 'unwilling']), feature: z.string(), except: z.array(z.string()) }),
]);

/** What goes with a stanza where it is more than the stanza: in JSON, on a line before it. */
const besides = z.object({
  /** For whom a service of this server speaks. */
  speakers: z.array(z.string()).min(1).optional(),
  isAsked: z.boolean().optional(),
  /** The sessions that it is for. */
  audience: audienceSchema.optional(),
  /** The network address that an anonymous sender (XEP-0175) is counted by. */
  anonymous: z.string().optional(),
  /** The host that asks the question. */
  asks: z.string().optional(),
  /** Which question modules ask; what is given with it is no stanza, and JSON. */
  question: z.string().optional(),
});
type Besides = z.output<typeof besides>;

export interface ElsewhereParts {
  readonly router: Router;
  /** Of a domain, or of the domain of a service; some host where there is none. */
  host(domain: string): LocalHost;
  /** By what network address an anonymous account (XEP-0175) is counted that is there, or spoke from another node. */
  anonymous(): { blockOf(bare: string): string | undefined; heard(bare: string, block: string): void };
}

export class Elsewhere implements Receiver {
  readonly #parts: ElsewhereParts;
  /** The stanza that was written last, and what it was written as: what goes to many is written once. */
  #written: (Pick<Origin, 'behalf' | 'audience'> & { readonly stanza: Stanza; readonly payload: string }) | undefined;

  constructor(parts: ElsewhereParts) {
    this.#parts = parts;
  }

  /**
   * Sends a stanza to the home of these full addresses of one account. The acknowledgement of the stanza waits until it is
   * durable there. Where much waits for that node, the result resolves once there is room: for streams, which can wait.
   */
  send(away: Away, stanza: Stanza, to: readonly Jid[], origin: Origin): void | Promise<void> {
    const isOnce = stanza.name === 'iq' && (stanza.type === 'get' || stanza.type === 'set');
    const { confirmed, room } = away.send(to, this.#write(stanza, origin), { isOnce });
    const told = confirmed.catch((error: unknown) => this.#refuse(stanza, error));
    if (origin.acknowledges) origin.acknowledgeAfter(told, 'network');
    if (room !== undefined && origin.session !== undefined) return room;
  }

  /** Asks at the home of `to`, for a host here. Rejects with StanzaError. */
  async ask(away: Away, request: Stanza, to: Jid, domain: string, timeoutMs: number): Promise<Stanza> {
    const asked = `${JSON.stringify({ asks: domain } satisfies Besides)}\n${request.with({ to: undefined }).toXml()}`;
    const answer = await away.ask(to, asked, timeoutMs).catch(refused);
    const stanza = Stanza.parse(answer);
    if (stanza.type === 'error') throw errorOf(stanza);
    return stanza;
  }

  /** Asks modules at the home of `owner`. Rejects with StanzaError. */
  consult(away: Away, question: WrittenQuestion, owner: Jid, timeoutMs: number): Promise<string> {
    return away.ask(owner, written(question), timeoutMs).catch(refused);
  }

  /** Asks modules at all other nodes. Each rejects with StanzaError. */
  consultOthers(homes: Homes, question: WrittenQuestion, host: Jid, timeoutMs: number): readonly Promise<string>[] {
    return homes.askOthers(host, written(question), timeoutMs).map((answer) => answer.catch(refused));
  }

  // --- from another node ----------------------------------------------------------------------------------------------

  receive(delivery: Delivery): void | Promise<void> {
    const { stanza, behalf, audience, anonymous } = read(delivery.payload);
    if (anonymous !== undefined && stanza.from !== undefined)
      this.#parts.anonymous().heard(stanza.from.bare, anonymous);
    const [to, ...more] = delivery.to.map((full) => Jid.parse(full));
    if (to === undefined) throw new Error('a stanza came from another node without an addressee');
    const origin: Origin = {
      session: undefined,
      acknowledges: true,
      acknowledgeAfter: (durable) => delivery.acknowledgeAfter(durable),
      behalf,
      audience,
    };
    const host = this.#parts.host(to.domain);
    return more.length === 0
      ? host.routeHere(stanza.with({ to }), origin)
      : host.routeAllHere(stanza, [to, ...more], origin);
  }

  async answer(delivery: Delivery, timeoutMs: number): Promise<string> {
    const { header, body } = divided(delivery.payload);
    const { asks, question } = header;
    if (asks === undefined) throw new Error('a question came from another node without a host that asks');
    const to = Jid.parse(delivery.to[0] ?? '');
    if (question !== undefined)
      return answerWritten(this.#parts.host(asks).hooks.questions, { domain: asks, name: question, given: body }, to);
    const request = Stanza.parse(body).with({ to });
    try {
      return (await this.#parts.host(asks).ask(request, { timeoutMs })).toXml();
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      return request.error(error).toXml();
    }
  }

  // --------------------------------------------------------------------------------------------------------------------

  #write(stanza: Stanza, { behalf, audience }: Origin): string {
    const last = this.#written;
    const isSame = last?.behalf === behalf && last?.audience === audience;
    if (last !== undefined && isSame && isSameBut(last.stanza, stanza)) return last.payload;
    const xml = stanza.with({ to: undefined }).toXml();
    const anonymous = stanza.from && this.#parts.anonymous().blockOf(stanza.from.bare);
    const isPlain = behalf === undefined && audience === undefined && anonymous === undefined;
    const header = isPlain ? '' : writtenHeader({ behalf, audience }, anonymous);
    const payload = `${header}${xml}`;
    this.#written = { stanza, behalf, audience, payload };
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

function writtenHeader({ behalf, audience }: Pick<Origin, 'behalf' | 'audience'>, anonymous?: string): string {
  const speakers = behalf?.speakers.map(({ full }) => full);
  const header = {
    speakers,
    isAsked: behalf?.isAsked,
    audience: audience && z.encode(audienceSchema, audience as never),
    anonymous,
  };
  return `${JSON.stringify(header satisfies Besides)}\n`;
}

/** The line before what is sent, if there is one, and what is sent. Throws what is no payload of ours. */
function divided(payload: string): { readonly header: Besides; readonly body: string } {
  if (payload.startsWith('<')) return { header: {}, body: payload };
  const end = payload.indexOf('\n');
  return { header: besides.parse(JSON.parse(payload.slice(0, end))), body: payload.slice(end + 1) };
}

interface Read extends Pick<Origin, 'behalf' | 'audience'> {
  readonly stanza: Stanza;
  readonly anonymous: string | undefined;
}

function read(payload: string): Read {
  const { header, body } = divided(payload);
  const { speakers, isAsked = false, audience, anonymous } = header;
  const stanza = Stanza.parse(body);
  if (speakers === undefined) return { stanza, audience, anonymous };
  const [first, ...others] = speakers.map((full) => Jid.parse(full));
  return { stanza, behalf: { speakers: [first!, ...others], isAsked }, audience, anonymous };
}

const written = ({ domain, name, given }: WrittenQuestion): string =>
  `${JSON.stringify({ asks: domain, question: name } satisfies Besides)}\n${given}`;

function refused(error: unknown): never {
  throw refusalOf(error);
}

function refusalOf(error: unknown): unknown {
  if (!(error instanceof ParcelError)) return error;
  // Its home is gone, and may have dealt with it: only the sender knows whether to ask again.
  if (error.reason === 'lost') return new StanzaError('remote-server-timeout');
  return new StanzaError('resource-constraint', 'Another node of this server does not keep up.', { type: 'wait' });
}
