/**
 * Stanzas to and from addresses of this server whose home is another node. Nodes exchange stanzas as servers do: the
 * sender's session is not passed on, and refusals come back as error stanzas.
 */

import { z } from 'zod';
import { Jid } from '../address/jid.js';
import type { Away, Homes } from '../cluster/homes.js';
import type { Delivery, Receiver } from '../cluster/inbox.js';
import { ParcelError } from '../cluster/parcel.js';
import type { Maybe } from '../maybe.js';
import { StanzaError } from '../stanza/errors.js';
import { Stanza } from '../stanza/stanza.js';
import { errorOf } from './asks.js';
import type { LocalHost } from './host.js';
import type { FirstFrame, Origin } from './passage.js';
import { answerWritten } from './questions.js';
import { type AwayAsk, type Router, serverOrigin, type WrittenQuestion } from './router.js';

const audienceSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('present') }),
  z.object({ kind: z.enum(['willing', 'unwilling']), feature: z.string(), except: z.array(z.string()) }),
]);

/** Header of a stanza between nodes: a line of JSON before it, if there is anything to say. */
const headerSchema = z.object({
  /** The entities that a service of this server speaks for. */
  speakers: z.array(z.string()).min(1).optional(),
  isAsked: z.boolean().optional(),
  /** For the session alone: its account has handled it already. */
  isForSession: z.boolean().optional(),
  /** The sessions that get it. */
  audience: audienceSchema.optional(),
  /** An error that the server raised for a session that is still there. */
  isRaised: z.boolean().optional(),
  /** An error that the server wrote. */
  isByServer: z.boolean().optional(),
  /** The question is whether the stanza, for another server or a component, was sent. */
  departs: z.boolean().optional(),
  /** It is a user's, not one of the server or a service. */
  isUsers: z.boolean().optional(),
  /** It has arrived from another server, whose domain lives at the addressed node. */
  arrives: z.boolean().optional(),
  /** The first frame that carried it, and whether that was sent again. */
  frame: z.object({ id: z.string(), isRepeated: z.boolean() }).optional(),
  /** The network address that an anonymous sender (XEP-0175) is counted by. */
  anonymous: z.string().optional(),
  /** The host that asks. */
  asks: z.string().optional(),
  /** The request was sent before its addressee moved. */
  isSent: z.boolean().optional(),
  /** The name of a module's question; its argument follows as JSON instead of a stanza. */
  question: z.string().optional(),
});
type Header = z.output<typeof headerSchema>;

/** The origin of a stanza, from the header. */
type About = Pick<Origin, 'behalf' | 'audience' | 'isRaised' | 'isByServer' | 'frame'>;

/** Ms; far longer than a queue for another server keeps a stanza. */
const longestDeparture = 24 * 3600 * 1000;

export interface ElsewhereParts {
  readonly router: Router;
  /** The host of a domain or of a service's domain; any host if there is none. */
  host(domain: string): LocalHost;
  /** The network addresses by which anonymous accounts (XEP-0175), here or at other nodes, are counted. */
  anonymous(): { blockOf(bare: string): string | undefined; seen(bare: string, block: string): void };
}

export class Elsewhere implements Receiver {
  readonly #parts: ElsewhereParts;
  /** The last stanza and its serialization: a stanza for many is serialized once. */
  #written: (About & { readonly stanza: Stanza; readonly payload: string }) | undefined;

  constructor(parts: ElsewhereParts) {
    this.#parts = parts;
  }

  /**
   * Sends a stanza to the home of full addresses of one account. The stanza is acknowledged once it is durable there.
   * If too much is queued for that node, resolves once there is room, for streams, which can wait.
   */
  send(away: Away, stanza: Stanza, to: readonly Jid[], origin: Origin): Maybe<void> {
    const { confirmed, room } = away.send(to, this.#write(stanza, origin), { isOnce: isRequest(stanza) });
    const confirmedOrRefused = confirmed.catch((error: unknown) => this.#refuse(stanza, error));
    if (origin.acknowledges) origin.acknowledgeAfter(confirmedOrRefused, 'network');
    if (room !== undefined && origin.session !== undefined) return room;
  }

  /** Sends a stanza that its account has handled to a session, whose home may be here again. */
  forward(away: Away | undefined, stanza: Stanza, to: Jid): void {
    if (away === undefined) {
      this.#parts.host(to.domain).session(to)?.send(stanza);
      return;
    }
    const payload = `${JSON.stringify({ isForSession: true } satisfies Header)}\n${stanza.toXml()}`;
    // Its sender is not told: it was delivered to the account.
    away.send([to], payload, { isOnce: false }).confirmed.catch(() => {});
  }

  /** Asks at the home of `to`, for a host here. Rejects with StanzaError. */
  async ask(away: Away, request: Stanza, to: Jid, about: AwayAsk, home?: Jid): Promise<Stanza> {
    const { domain, timeoutMs, isSent } = about;
    const asked = headed({ asks: domain, ...(isSent && { isSent }) }, request);
    const answer = await away.ask(to, asked, timeoutMs, { home }).catch(refused);
    const stanza = Stanza.parse(answer);
    if (stanza.type === 'error') throw errorOf(stanza);
    return stanza;
  }

  depart(away: Away, stanza: Stanza, home: Jid, isUsers: boolean): Promise<unknown> {
    const payload = headed({ departs: true, ...(isUsers && { isUsers }) }, stanza);
    return away.ask(stanza.to!, payload, longestDeparture, { home, isPatient: true });
  }

  move(away: Away, stanza: Stanza, home: Jid): Promise<void> {
    return away.send([stanza.to!], headed({ departs: true }, stanza), { isOnce: isSentOnce(stanza), home }).confirmed;
  }

  arrive(away: Away, stanza: Stanza, home: Jid, origin: Origin): Maybe<void> {
    const { frame } = origin;
    const payload = headed({ arrives: true, ...(frame && { frame }) }, stanza);
    const { confirmed, room } = away.send([stanza.to!], payload, { isOnce: isRequest(stanza), home });
    const confirmedOrRefused = confirmed.catch((error: unknown) =>
      this.#parts.host(stanza.to!.domain).refuse(stanza, refusalOf(error), origin),
    );
    if (origin.acknowledges) origin.acknowledgeAfter(confirmedOrRefused, 'network');
    return room;
  }

  /** Asks modules at the home of `owner`. Rejects with StanzaError. */
  consult(away: Away, question: WrittenQuestion, owner: Jid, timeoutMs: number): Promise<string> {
    return away.ask(owner, written(question), timeoutMs).catch(refused);
  }

  /** Asks modules at all other nodes. Each rejects with StanzaError. */
  consultOthers(homes: Homes, question: WrittenQuestion, host: Jid, timeoutMs: number): readonly Promise<string>[] {
    return homes.askOthers(host, written(question), timeoutMs).map((answer) => answer.catch(refused));
  }

  // --- from other nodes ----------------------------------------------------------------------------------------------

  receive(delivery: Delivery): Maybe<void> {
    const { stanza, anonymous, isForSession, departs, arrives, ...about } = read(delivery.payload);
    const frame = about.frame === undefined ? firstFrame(delivery) : repeatedWith(about.frame, delivery);
    if (anonymous !== undefined && stanza.from !== undefined) this.#parts.anonymous().seen(stanza.from.bare, anonymous);
    const [to, ...more] = delivery.to.map((full) => Jid.parse(full));
    if (to === undefined) throw new Error('a stanza from another node has no addressee');
    const origin: Origin = {
      session: undefined,
      acknowledges: true,
      // The home of another server's domain has accepted a stanza that moves there, whenever it is sent.
      acknowledgeAfter: (durable) => departs !== true && delivery.acknowledgeAfter(durable),
      ...about,
      frame,
    };
    const host = this.#parts.host(to.domain);
    if (isForSession) return host.session(to)?.send(stanza);
    // The addressee may live at a third node.
    if (arrives === true) return host.route(stanza.with({ to }), origin);
    return more.length === 0
      ? host.routeHere(stanza.with({ to }), origin)
      : host.routeAllHere(stanza, [to, ...more], origin);
  }

  async answer(delivery: Delivery, timeoutMs: number): Promise<string> {
    const { header, body } = divided(delivery.payload);
    const { asks, question, departs, isUsers, isSent } = header;
    if (departs === true)
      return this.#depart(Stanza.parse(body).with({ to: Jid.parse(delivery.to[0] ?? '') }), isUsers);
    if (asks === undefined) throw new Error('a request from another node names no host that asks');
    const to = Jid.parse(delivery.to[0] ?? '');
    if (question !== undefined)
      return answerWritten(this.#parts.host(asks).hooks.questions, { domain: asks, name: question, given: body }, to);
    const request = Stanza.parse(body).with({ to });
    try {
      const options = isSent === true ? { timeoutMs, id: request.id!, isSent } : { timeoutMs };
      return (await this.#parts.host(asks).ask(request, options)).toXml();
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      return request.error(error).toXml();
    }
  }

  /** Sends a stanza of another node over a stream of this one. Resolves once it was sent or refused. */
  async #depart(stanza: Stanza, isUsers: boolean | undefined): Promise<string> {
    const waiting: Promise<unknown>[] = [];
    const acknowledgeAfter = (done: Promise<unknown>) => void waiting.push(done);
    const origin: Origin = { session: undefined, acknowledges: true, acknowledgeAfter, isUsers };
    // Not after a wait: it would be overtaken.
    await this.#parts.host(stanza.from?.domain ?? '').routeHere(stanza, origin);
    await Promise.all(waiting);
    return '';
  }

  // --------------------------------------------------------------------------------------------------------------------

  #write(stanza: Stanza, { session, behalf, audience, frame, ...origin }: Origin): string {
    const last = this.#written;
    const isRaised =
      stanza.type === 'error' && session === undefined && this.#hasSession(stanza.from) ? true : undefined;
    const isByServer = stanza.type === 'error' && origin.isByServer === true ? true : undefined;
    const isSame =
      last?.behalf === behalf &&
      last?.audience === audience &&
      last?.frame === frame &&
      last?.isRaised === isRaised &&
      last?.isByServer === isByServer;
    if (last !== undefined && isSame && isSameBut(last.stanza, stanza)) return last.payload;
    const xml = stanza.with({ to: undefined }).toXml();
    const anonymous = stanza.from && this.#parts.anonymous().blockOf(stanza.from.bare);
    const payload = `${writtenHeader({ behalf, audience, isRaised, isByServer, frame }, anonymous)}${xml}`;
    this.#written = { stanza, behalf, audience, isRaised, isByServer, frame, payload };
    return payload;
  }

  #hasSession(jid: Jid | undefined): boolean {
    if (jid?.resource === undefined) return false;
    return this.#parts
      .host(jid.domain)
      .sessions(jid.bare)
      .some((session) => session.jid.equals(jid));
  }

  /** The sender gets an error as from any other server. */
  #refuse(stanza: Stanza, error: unknown): void {
    const { from } = stanza;
    if (from !== undefined) this.#parts.host(from.domain).refuse(stanza, refusalOf(error), serverOrigin);
  }
}

/** Whether two stanzas differ only in their addressees. */
const isSameBut = (a: Stanza, b: Stanza): boolean =>
  a.name === b.name &&
  a.id === b.id &&
  a.type === b.type &&
  a.lang === b.lang &&
  (a.from === b.from || a.from?.equals(b.from) === true) &&
  a.content === b.content;

function writtenHeader(about: About, anonymous: string | undefined): string {
  const { behalf, audience, isRaised, isByServer, frame } = about;
  if ([behalf, audience, isRaised, isByServer, frame, anonymous].every((field) => field === undefined)) return '';
  const speakers = behalf?.speakers.map(({ full }) => full);
  const header = {
    speakers,
    isAsked: behalf?.isAsked,
    audience: audience && z.encode(audienceSchema, audience as never),
    isRaised,
    isByServer,
    frame,
    anonymous,
  };
  return `${JSON.stringify(header satisfies Header)}\n`;
}

/** Splits a payload into its header, if any, and its body. Throws if the header is invalid. */
function divided(payload: string): { readonly header: Header; readonly body: string } {
  if (payload.startsWith('<')) return { header: {}, body: payload };
  const end = payload.indexOf('\n');
  return { header: headerSchema.parse(JSON.parse(payload.slice(0, end))), body: payload.slice(end + 1) };
}

const headed = (header: Header, stanza: Stanza): string =>
  `${JSON.stringify(header)}\n${stanza.with({ to: undefined }).toXml()}`;

const isRequest = ({ name, type }: Stanza): boolean => name === 'iq' && (type === 'get' || type === 'set');

/** XEP-0198 §4: whether it must not be sent to another server again if nobody knows whether it has arrived. */
export const isSentOnce = (stanza: Stanza): boolean =>
  isRequest(stanza) || (stanza.name === 'message' && stanza.type !== 'error');

/** The frame is the first that carries the stanza. */
const firstFrame = ({ mark, isRepeated }: Delivery): FirstFrame | undefined =>
  mark && { id: `${mark.epoch} ${mark.number} ${mark.id}`, isRepeated };

/** Each frame on the way may be repeated. */
const repeatedWith = (first: FirstFrame, { isRepeated }: Delivery): FirstFrame =>
  isRepeated ? { ...first, isRepeated } : first;

interface Read extends About, Pick<Header, 'departs' | 'arrives'> {
  readonly stanza: Stanza;
  readonly anonymous: string | undefined;
  readonly isForSession: boolean;
}

function read(payload: string): Read {
  const { header, body } = divided(payload);
  const { speakers, isAsked = false, anonymous, isForSession = false, ...rest } = header;
  const { audience, isRaised, isByServer, frame, departs, arrives } = rest;
  const about = { audience, isRaised, isByServer, frame, departs, arrives };
  const read = { stanza: Stanza.parse(body), anonymous, isForSession, ...about };
  if (speakers === undefined) return read;
  const [first, ...others] = speakers.map((full) => Jid.parse(full));
  return { ...read, behalf: { speakers: [first!, ...others], isAsked } };
}

const written = ({ domain, name, given }: WrittenQuestion): string =>
  `${JSON.stringify({ asks: domain, question: name } satisfies Header)}\n${given}`;

function refused(error: unknown): never {
  throw refusalOf(error);
}

function refusalOf(error: unknown): unknown {
  if (!(error instanceof ParcelError)) return error;
  // The home is gone and may have processed it: only the sender knows whether to retry.
  if (error.reason === 'lost') return new StanzaError('remote-server-timeout');
  return new StanzaError('resource-constraint', 'Another node of this server is overloaded. Try again later.', {
    type: 'wait',
  });
}
