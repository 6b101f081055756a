/** §5, §6: messages and requests that a component sends as an account. */
import { Jid } from '../../server/address/jid.js';
import type { Host, IqRequest, Maybe } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el, parse, serialize } from '../../server/xml/element.js';
import { includes, type Permissions } from './permissions.js';

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
    const component = this.#parts.permissions.componentOf(outer.from!);
    if (component === undefined) return undefined;
    const sent = this.#messageIn(component, privilege, originFor(component, origin));
    return sent instanceof Promise ? sent.then(() => 'handled') : 'handled';
  }

  #messageIn(component: string, privilege: Element, origin: Origin): Maybe<void> {
    const { host, permissions } = this.#parts;
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
      return host.route(message, origin);
    }
    const send = (exists: boolean): Maybe<void> => {
      if (!exists) throw refuse('The sender of the message is not an account of this host.');
      this.counts.messages++;
      return host.sendFor(owner, message, origin);
    };
    const exists = host.accounts.exists(owner.bare);
    return typeof exists === 'boolean' ? send(exists) : exists.then(send);
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

/** The origin of what a component sends for an account; `outer` is that of the request. */
const originFor = (component: string, outer?: Origin): Origin => ({
  session: undefined,
  acknowledges: outer?.acknowledges ?? false,
  acknowledgeAfter: (done, what) => outer?.acknowledgeAfter(done, what),
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
