/**
 * XEP-0356: Privileged Entity, for external components (XEP-0114), in the current namespace and, for what version 0.2
 * has, in the one before. The administrator grants each component its privileges per host. Presence of contacts that a
 * component missed is sent only as far as it was received since the server started (§8, rule 1).
 *
 * Presence goes to the component whenever it changes (§7.1), not only the initial presence: a component that acts by the
 * capabilities of clients needs those of the current one.
 */

import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import {
  admit,
  answers,
  type Diversion,
  defineModule,
  defineQuestion,
  divert,
  event,
  type IqRequest,
  iq,
  metric,
  serverMessage,
} from '../../server/module/index.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { hasFrom } from '../../server/stanza/subscription.js';
import { el } from '../../server/xml/element.js';
import { Behalf, sendingFor } from './behalf.js';
import { announcement, getsPushes, includes, Permissions, type Privileges } from './permissions.js';
import { ManagedPresence } from './presence.js';

/** Asked of every node when a component has connected. */
const catchingUp = defineQuestion({
  name: 'privilege.catchUp',
  given: z.object({ component: z.string() }),
  answer: z.boolean(),
});

export default defineModule({
  name: 'privilege',
  summary: 'Lets components act for accounts as far as the configuration grants it.',
  implements: { 'XEP-0356': '0.4.1' },
  notes: 'Presence of contacts that was received before the server started.',
  needs: ['roster'],

  start: ({ host, services: { roster }, log }) => {
    let refusals = 0;
    const permissions = new Permissions({
      domain: host.domain,
      config: () => host.config,
      refused: (component, permission, isFirst) => {
        refusals++;
        if (isFirst)
          log.warn({ component, host: host.domain, permission }, 'refused a component: it has no such privilege');
      },
    });
    const behalf = new Behalf({ host, permissions });
    const failed = (error: unknown) => log.error({ err: error }, 'privileged presence failed');
    const presence = new ManagedPresence({ host, roster, permissions, failed });

    /** Connected components, with their announced privileges. */
    const announced = new Map<string, Privileges>();
    const announce = (component: string, before?: Privileges): Stanza =>
      Stanza.build(
        'message',
        { from: host.jid, to: Jid.parse(component), id: randomId() },
        ...announcement(permissions.of(component), before),
      );
    /** Each node sends the presence of the sessions that live there. */
    const catchUp = (component: string): void => {
      const asked = host.askNodes(catchingUp, { component });
      if (asked instanceof Promise) asked.catch(failed);
    };

    // --- rosters ----------------------------------------------------------------------------------------------------

    const demand = (component: string, type: 'get' | 'set'): void => {
      if (!includes(permissions.of(component).roster, type))
        throw permissions.refusal(component, 'roster', 'You may not send this request for accounts of this host.');
    };

    const readRoster = (component: string) => (request: IqRequest) => {
      demand(component, 'get');
      return roster.read(request);
    };

    /**
     * A component decides on the subscriptions of its own addresses, so it may set them: gateways add contacts that the
     * user has approved in the other network. An account that starts to be seen is seen at once.
     */
    const changeRoster = (component: string) => async (request: IqRequest) => {
      demand(component, 'set');
      const owner = request.to.toBare();
      const address = request.payload.getChild('item', NS.roster)?.attrs.jid ?? '';
      const contact = Jid.tryParse(address)?.toBare();
      const isOwn = contact?.domain === component;
      const before = isOwn && hasFrom((await roster.get(owner.bare)).get(contact.bare));
      await roster.change(request, ({ domain }) => domain === component);
      if (!isOwn || before === hasFrom((await roster.get(owner.bare)).get(contact.bare))) return;
      for (const { jid, presence: current } of host.sessions(owner.bare)) {
        if (current === undefined) continue;
        const stanza = before ? Stanza.build('presence', { from: jid, type: 'unavailable' }) : current;
        const forwarded = stanza.with({ to: contact });
        if (await host.admits(forwarded)) await host.route(forwarded);
      }
    };

    const diversion = (stanza: Stanza, to: Jid): Diversion | undefined => {
      if (to.local === undefined || !stanza.has(NS.roster, 'query')) return undefined;
      const component = permissions.componentOf(stanza.from!);
      if (component === undefined) return undefined;
      const handler = stanza.type === 'get' ? readRoster(component) : changeRoster(component);
      return { handler, access: 'anyone', asksOthers: false };
    };

    const request = (asked: IqRequest) => behalf.request(asked);
    const options = { access: 'anyone', absent: true, asksOthers: true } as const;
    return [
      divert(diversion, { before: ['delegation'] }),
      serverMessage((stanza, origin) => behalf.message(stanza, origin)),
      answers(sendingFor, ({ component, message }, owner) => behalf.send(component, owner, Stanza.parse(message))),
      ...(['account', 'server'] as const).flatMap((target) => [
        iq.get(target, NS.privilege, 'privileged_iq', request, options),
        iq.set(target, NS.privilege, 'privileged_iq', request, options),
      ]),
      // §6.3: the addressee is a bare address. A client must not get the request either.
      admit(({ way, stanza }) => {
        if (way !== 'in' || stanza.name !== 'iq' || stanza.to?.resource === undefined) return;
        if (stanza.from === undefined || !stanza.has(NS.privilege, 'privileged_iq')) return;
        const component = permissions.componentOf(stanza.from);
        if (component !== undefined)
          throw permissions.refusal(component, 'iq', 'The addressee must be a bare address.');
      }),
      // §4.4
      event('rosterChanged', ({ owner, contact, item, before }) => {
        const shown = roster.element(contact, item);
        if (shown === undefined && roster.element(contact, before) === undefined) return;
        const changed = shown ?? el('item', { jid: contact.bare, subscription: 'remove' });
        for (const [component, granted] of permissions.granted()) {
          if (!getsPushes(granted)) continue;
          const header = { type: 'set', id: randomId(), from: owner, to: Jid.parse(component) };
          void host.route(Stanza.build('iq', header, el('query', { xmlns: NS.roster }, changed)));
        }
      }),
      event('available', ({ session }) => presence.ofSession(session, session.presence!)),
      event('presenceChanged', ({ session }) => presence.ofSession(session, session.presence!)),
      event('unavailable', ({ session, stanza }) => presence.ofSession(session, stanza)),
      event('contactPresence', ({ owner, stanza }) => presence.ofContact(owner, stanza)),
      event('componentConnected', ({ domain, isFirst, send }) => {
        permissions.forget(domain);
        const granted = permissions.of(domain);
        announced.set(domain, granted);
        if (host.config.components[domain]?.privileges[host.domain] !== undefined) send(announce(domain));
        if (isFirst) catchUp(domain);
      }),
      answers(catchingUp, ({ component }) => {
        presence.catchUp(component).catch(failed);
        return true;
      }),
      event('componentGone', ({ domain }) => {
        announced.delete(domain);
        presence.stop(domain);
      }),
      event('reloaded', () => {
        for (const [component, before] of announced) {
          const granted = permissions.of(component);
          if (JSON.stringify(granted) === JSON.stringify(before)) continue;
          announced.set(component, granted);
          void host.route(announce(component, before));
          if (granted.presence !== before.presence) catchUp(component);
        }
      }),
      metric({
        name: 'waxwing_privilege_refused_total',
        help: 'Requests of components that were refused for lack of a privilege (XEP-0356)',
        read: () => refusals,
      }),
      metric({
        name: 'waxwing_privilege_messages_total',
        help: 'Messages that components sent for accounts (XEP-0356)',
        read: () => behalf.counts.messages,
      }),
      metric({
        name: 'waxwing_privilege_requests_total',
        help: 'Requests that components sent for accounts (XEP-0356)',
        read: () => behalf.counts.requests,
      }),
    ];
  },
});
