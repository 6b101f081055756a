/**
 * XEP-0355: Namespace Delegation, in admin mode: an external component (XEP-0114) answers requests of configured
 * namespaces to a host and its accounts. Left out: client mode (§5; §9, note 1, allows it). Other requests continue while
 * one waits for the component (§9, note 3).
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { count, seconds } from '../../server/config/units.js';
import {
  answers,
  type Diversion,
  defineModule,
  defineQuestion,
  disco,
  divert,
  event,
  type IqRequest,
  metric,
} from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import { Forwarding } from './forwarding.js';
import { formsOf, Nesting, type Place } from './nesting.js';
import { announcement, Delegations, remainingInfo, remainingItems } from './table.js';

/** Notifies every node that a component has connected or disconnected. */
const presenceOf = defineQuestion({
  name: 'delegation.component',
  given: z.object({ component: z.string(), isConnected: z.boolean() }),
  answer: z.boolean(),
});

export default defineModule({
  name: 'delegation',
  summary: 'Lets components answer requests of configured namespaces.',
  implements: { 'XEP-0355': '0.5' },
  notes: 'Client mode.',
  features: { server: [NS.delegation] },
  config: z.strictObject({
    pending: count({ min: 1 })
      .default(1000)
      .describe('Maximum requests of one host that wait for one component; further ones are refused.'),
    timeout_seconds: seconds({ min: 1, max: 600 })
      .default(30)
      .describe('How long a component has to answer a request.'),
  }),

  start: ({ host, config, log }) => {
    const delegations = new Delegations(host);
    const timeoutMs = config.timeout_seconds * 1000;
    const failed = (error: unknown) => log.error({ err: error }, 'delegation: a component could not be asked');
    let wrongAnswers = 0;
    /** Components whose wrong answer was logged since they connected. */
    const logged = new Set<string>();
    const wrong = (component: string, problem: string) => {
      wrongAnswers++;
      if (logged.has(component)) return;
      logged.add(component);
      log.warn({ component, host: host.domain, problem }, 'a component answered a delegated request wrongly');
    };
    const forwarding = new Forwarding({ host, pending: config.pending, timeoutMs, wrong });
    const nesting = new Nesting({ host, timeoutMs, changed: () => void host.emit('discoChanged', {}) });

    // --- requests -------------------------------------------------------------------------------------------------

    const to = (component: string, access: Diversion['access'] = 'anyone'): Diversion => ({
      handler: (request) => forwarding.forward(component, request),
      access,
      asksOthers: true,
    });

    /** §4.3.1: what the managing entity sends, or another entity for it, is not sent back to it. */
    const isFrom = (component: string, { from }: Stanza, origin: Origin): boolean =>
      from?.domain === component || origin.component === component;

    /** Whether a module that was not replaced answers for this node of an account. */
    const isManaged = (node: string): boolean => {
      const replaced = new Set(delegations.described.flatMap(({ ns }) => host.declared.answering(ns)));
      return host.declared
        .modules()
        .filter(({ name }) => !replaced.has(name))
        .some(({ name }) =>
          host.declared
            .disco('account', name)
            .some((source) => (typeof source.node === 'function' ? source.node(node) : source.node === node)),
        );
    };

    /** §7.2.5. Others than contacts must not learn from an error that the account exists (XEP-0030 §8). */
    const listItems = (component: string) => async (request: IqRequest) => {
      try {
        return await forwarding.forward(component, request);
      } catch (error) {
        if (!(error instanceof StanzaError) || (await host.permits('contacts', request.from, request.to))) throw error;
        return el('query', { xmlns: NS.discoItems, node: request.payload.attrs.node });
      }
    };

    /** §7.2.4, §7.2.5: service discovery at an account. */
    const discovery = (stanza: Stanza, origin: Origin): Diversion | undefined => {
      const info = delegations.all.get(remainingInfo)?.component;
      if (info !== undefined && stanza.has(NS.discoInfo, 'query') && !isFrom(info, stanza, origin)) {
        const node = stanza.child(NS.discoInfo, 'query')!.attrs.node ?? '';
        return node === '' || isManaged(node) ? undefined : to(info, 'contacts');
      }
      const items = delegations.all.get(remainingItems)?.component;
      if (items === undefined || !stanza.has(NS.discoItems, 'query') || isFrom(items, stanza, origin)) return undefined;
      const node = stanza.child(NS.discoItems, 'query')!.attrs.node ?? '';
      if (node !== '' && isManaged(node)) return undefined;
      return { handler: listItems(items), access: 'anyone', asksOthers: true };
    };

    const diversion = (stanza: Stanza, owner: Jid, origin: Origin): Diversion | undefined => {
      const found = delegations.for(stanza);
      if (found !== undefined && !isFrom(found.component, stanza, origin)) return to(found.component);
      if (owner.local === undefined || stanza.type !== 'get' || delegations.all.size === 0) return undefined;
      return discovery(stanza, origin);
    };

    // --- service discovery ----------------------------------------------------------------------------------------

    const describes = (place: Place) =>
      disco(place, {
        replaces: () => delegations.described.map(({ ns }) => ns),
        identities: () => nesting.all(place, delegations.described).flatMap(({ identities }) => identities),
        features: () => nesting.all(place, delegations.described).flatMap(({ features }) => features),
        forms: () => nesting.all(place, delegations.described).flatMap(formsOf),
      });

    const ask = (component: string): void => {
      const described = delegations.of(component).filter((one) => delegations.described.includes(one));
      if (described.length > 0) nesting.ask(component, described).catch(failed);
      else nesting.forget(component);
    };

    const tellNodes = (component: string, isConnected: boolean): void => {
      const told = host.askNodes(presenceOf, { component, isConnected });
      if (told instanceof Promise) told.catch(failed);
    };

    /** Connected components, with their announced namespaces. */
    const announced = new Map<string, string>();
    const announce = (component: string): Stanza =>
      Stanza.build(
        'message',
        { from: host.jid, to: Jid.parse(component), id: randomId() },
        announcement(delegations.of(component)),
      );
    const summaryOf = (component: string): string => JSON.stringify(delegations.of(component));

    return [
      divert(diversion),
      describes('server'),
      describes('account'),
      event('componentConnected', ({ domain, isFirst, send }) => {
        logged.delete(domain);
        announced.set(domain, summaryOf(domain));
        if (delegations.of(domain).length === 0) return;
        send(announce(domain));
        if (isFirst) tellNodes(domain, true);
      }),
      event('componentGone', ({ domain }) => {
        announced.delete(domain);
        if (delegations.of(domain).length > 0) tellNodes(domain, false);
      }),
      answers(presenceOf, ({ component, isConnected }) => {
        if (isConnected) ask(component);
        else nesting.forget(component);
        return true;
      }),
      // §8, rule 3
      event('reloaded', () => {
        for (const [component, before] of announced) {
          const summary = summaryOf(component);
          if (summary === before) continue;
          announced.set(component, summary);
          void host.route(announce(component));
          tellNodes(component, true);
        }
      }),
      metric({
        name: 'waxwing_delegation_requests_total',
        help: 'Requests that were passed on to components (XEP-0355)',
        read: () => forwarding.counts.forwarded,
      }),
      metric({
        name: 'waxwing_delegation_failed_total',
        help: 'Delegated requests that a component did not answer, or refused',
        read: () => forwarding.counts.failed,
      }),
      metric({
        name: 'waxwing_delegation_wrong_answers_total',
        help: 'Answers of components that did not belong to the delegated request',
        read: () => wrongAnswers,
      }),
    ];
  },
});
