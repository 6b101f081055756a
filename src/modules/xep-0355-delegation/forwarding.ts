/** §4.3: delegated requests on their way to the managing entity, and its answers. */
import { Jid } from '../../server/address/jid.js';
import { Portions } from '../../server/limits/portions.js';
import type { Host, IqRequest } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el, parse } from '../../server/xml/element.js';

export interface ForwardingParts {
  readonly host: Host;
  /** Most requests that wait for one component. */
  readonly pending: number;
  readonly timeoutMs: number;
  /** The component sent an answer that does not belong to the request. */
  wrong(component: string, problem: string): void;
}

export class Forwarding {
  readonly #parts: ForwardingParts;
  readonly #places: Portions;
  readonly counts = { forwarded: 0, failed: 0 };

  constructor(parts: ForwardingParts) {
    this.#parts = parts;
    this.#places = new Portions(() => ({ all: Number.POSITIVE_INFINITY, each: parts.pending }));
  }

  /** Returns the payload of the answer. */
  async forward(component: string, { stanza, to }: IqRequest): Promise<Element | undefined> {
    const { host, timeoutMs } = this.#parts;
    if (this.#places.take(component) !== undefined) {
      host.limitHit('delegation.pending');
      throw new StanzaError('resource-constraint', 'Too many requests wait for the component that answers them.');
    }
    this.counts.forwarded++;
    try {
      const around = el(
        'delegation',
        { xmlns: NS.delegation },
        el('forwarded', { xmlns: NS.forward }, parse(stanza.toXml(NS.client))),
      );
      const header = { type: 'set', from: host.jid, to: Jid.parse(component) };
      const answer = await host.ask(Stanza.build('iq', header, around), { timeoutMs });
      return this.#payload(component, answer, stanza, to);
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      this.counts.failed++;
      // N.B. 1 and 2: whatever the reason is
      throw new StanzaError('service-unavailable');
    } finally {
      this.#places.give(component);
    }
  }

  /** Checks the enclosed result. Throws StanzaError if it does not answer the request. */
  #payload(component: string, answer: Stanza, request: Stanza, owner: Jid): Element | undefined {
    const result = answer
      .child(NS.delegation, 'delegation')
      ?.getChild('forwarded', NS.forward)
      ?.getChild('iq', NS.client);
    const problem = result === undefined ? 'it encloses no IQ' : problemOf(result, request, owner);
    if (problem === undefined) return result!.getChildElements()[0];
    this.#parts.wrong(component, problem);
    throw new StanzaError('service-unavailable');
  }
}

/** §4.3: a result has the id of the request, and its addresses exchanged. Examples of §7 leave out `from`. */
function problemOf(result: Element, request: Stanza, owner: Jid): string | undefined {
  const { type, id, to, from } = result.attrs;
  if (type !== 'result') return `its type is ${type ?? 'missing'}`;
  if (id !== request.id) return 'it has another id';
  if (to === undefined || Jid.tryParse(to)?.full !== request.from!.full) return 'it is for another address';
  if (from !== undefined && Jid.tryParse(from)?.full !== (request.to ?? owner).full)
    return 'it is from another address';
  return result.getChildElements().length > 1 ? 'it has more than one child' : undefined;
}
