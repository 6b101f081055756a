/** §5, §6: messages and requests that a component sends as an account. */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { defineQuestion, type Host, type IqRequest, type Maybe } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el, parse, serialize } from '../../server/xml/element.js';
import { includes, type Permissions } from './permissions.js';

/** Asked at the home of an account: sends a message for it. */
export const sendingFor = defineQuestion({
  name: 'privilege.message',
  given: z.object({ component: z.string(), message: z.string() }),
  answer: z.null(),
});

export interface BehalfParts {
  readonly host: Host;
  readonly permissions: Permissions;
}

export class Behalf {
  readonly #parts: BehalfParts;
  readonly counts = { messages: 0, requests: 0 };

  constructor(parts: BehalfParts) {
    this.#parts = parts;
  }

  // --- messages -----------------------------------------------------------------------------------------------------

  /** §5.3. Leaves messages of others to other modules. */
  message(outer: Stanza, origin: Origin): Maybe<'handled' | undefined> {
    const privilege = outer.child(NS.privilege, 'privilege') ?? outer.child(NS.privilegeOld, 'privilege');
    if (privilege === undefined || outer.type === 'error') return undefined;
    const { host, permissions } = this.#parts;
    const component = permissions.componentOf(outer.from!);
    if (component === undefined) return undefined;
    const refuse = (text: string) => permissions.refusal(component, 'message', text);
    if (permissions.of(component).message !== 'outgoing')
      throw refuse('You may not send messages for accounts of this host.');
    const inner = only(privilege.getChild('forwarded', NS.forward), 'message');
    const { from } = inner.attrs;
    const owner = from === undefined ? undefined : Jid.tryParse(from);
    if (owner?.isBare !== true || owner.domain !== host.domain)
      throw refuse('The sender of the message must be the bare address of an account of this host.');
    const message = stanzaOf(inner, owner);
    if (owner.local === undefined) {
      if (message.to === undefined) throw new StanzaError('bad-request', 'A message of the host needs an addressee.');
      this.counts.messages++;
      const routed = host.route(message, originFor(component));
      return routed === undefined ? 'handled' : routed.then(() => 'handled');
    }
    // The account lives at its home.
    const sent = host.askHome(sendingFor, owner, { component, message: message.toXml() });
    if (sent instanceof Promise) host.acknowledgeAfter(outer, origin, sent);
    return 'handled';
  }

  /** At the home of the account. Resolves once the message is durable. Throws StanzaError. */
  send(component: string, owner: Jid, message: Stanza): Maybe<null> {
    const writes: Promise<unknown>[] = [];
    const origin: Origin = {
      ...originFor(component),
      acknowledgeAfter: (done, what = 'disk') => {
        if (what === 'disk') writes.push(done);
      },
    };
    const written = (): Maybe<null> => (writes.length === 0 ? null : Promise.all(writes).then(() => null));
    const go = (isActive: boolean): Maybe<null> => {
      if (!isActive)
        throw this.#parts.permissions.refusal(
          component,
          'message',
          'The sender of the message is not an active account.',
        );
      this.counts.messages++;
      const sent = this.#parts.host.sendFor(owner, message, origin);
      return sent === undefined ? written() : sent.then(written);
    };
    const isActive = this.#isActive(owner);
    return typeof isActive === 'boolean' ? go(isActive) : isActive.then(go);
  }

  /** §9, 4: a component may do no more than the account, and a disabled account can send nothing. */
  #isActive({ bare }: Jid): Maybe<boolean> {
    const { accounts } = this.#parts.host;
    const exists = accounts.exists(bare);
    const account = accounts.get(bare);
    if (typeof exists === 'boolean' && !(account instanceof Promise)) return exists && account?.disabled !== true;
    return Promise.all([exists, account]).then(([is, found]) => is && found?.disabled !== true);
  }

  // --- IQs ----------------------------------------------------------------------------------------------------------

  /** §6.3, with the conditions for `forbidden` in its order. */
  async request({ from, to, payload, stanza, isAbsent }: IqRequest): Promise<Element> {
    const { host, permissions } = this.#parts;
    const component = permissions.componentOf(from);
    if (component === undefined) throw new StanzaError('service-unavailable');
    const refuse = (text: string) => permissions.refusal(component, 'iq', text);
    const { iq } = permissions.of(component);
    if (Object.keys(iq).length === 0) throw refuse('You may not send requests for accounts of this host.');
    if (isAbsent || to.local === undefined || stanza.to?.isBare !== true)
      throw refuse('The addressee is not an account of this host.');
    const inner = only(payload, 'iq');
    const [asked, ...more] = inner.getChildElements();
    if (asked === undefined || more.length > 0 || inner.attrs.id === undefined)
      throw new StanzaError('bad-request', 'An IQ request must have an id and exactly one child.');
    const granted = Object.hasOwn(iq, asked.getNS() ?? '') ? iq[asked.getNS()!] : undefined;
    if (!includes(granted, inner.attrs.type)) throw refuse('You may not send this request.');
    const sender = inner.attrs.from;
    if (sender !== undefined && Jid.tryParse(sender)?.full !== to.bare)
      throw refuse('The sender of the request is not its addressee.');
    if (inner.attrs.type !== stanza.type) throw refuse('The types of the two requests differ.');
    const owner = to.toBare();
    if (!(await this.#isActive(owner))) throw refuse('The addressee is not an active account.');
    const sent = stanzaOf(inner, owner);
    // RFC 6120 §10.3.3
    const request = sent.to === undefined ? sent.with({ to: owner }) : sent;
    if (request.to!.bare !== owner.bare && !(await host.admits(request)))
      throw refusalOf(request, new StanzaError('not-acceptable'));
    this.counts.requests++;
    try {
      const answer = await host.ask(request, { origin: originFor(component) });
      return forwarded(answer.with({ id: request.id, to: owner }));
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      throw refusalOf(request, error);
    }
  }
}

/** The origin of what a component sends for an account. */
const originFor = (component: string): Origin => ({
  session: undefined,
  acknowledges: false,
  acknowledgeAfter() {},
  component,
});

/** The only child of an element, which must be a stanza of this name in `jabber:client`. */
function only(around: Element | undefined, name: 'message' | 'iq'): Element {
  const [inner, ...more] = around?.getChildElements() ?? [];
  if (inner === undefined || more.length > 0)
    throw new StanzaError('bad-request', `Exactly one ${name} must be enclosed.`);
  // §6.3
  if (!inner.is(name, NS.client))
    throw new StanzaError('forbidden', `The enclosed stanza must be a ${name} of a client.`);
  return inner;
}

/** Throws StanzaError for an invalid addressee. */
function stanzaOf(inner: Element, from: Jid): Stanza {
  const { to } = inner.attrs;
  if (to !== undefined && Jid.tryParse(to) === undefined) throw new StanzaError('jid-malformed');
  return Stanza.parse(serialize(inner)).with({ from });
}

const forwarded = (stanza: Stanza): Element =>
  el('privilege', { xmlns: NS.privilege }, el('forwarded', { xmlns: NS.forward }, parse(stanza.toXml(NS.client))));

/** An error answer is enclosed like a result. Its condition is repeated outside, where an error must have one. */
const refusalOf = (request: Stanza, error: StanzaError): StanzaError =>
  new StanzaError(error.condition, error.text, {
    ...error.options,
    instead: forwarded(request.error(error)),
  });
