/**
 * XEP-0376: Pubsub Account Management. The account subscribes to nodes of any service, and its clients share the list
 * of subscriptions; with it the public part of that list (XEP-0465 §4.2, §4.3). Disabled by default: other servers may
 * assume that an account with it wants no notifications by interest (`+notify`).
 *
 * Left out: subscriptions made by the server for clients' interests (§3.5), filters (§3.6). Missed changes are sent as
 * the whole list rather than one by one (§3.4).
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { flat } from '../server/address/flat.js';
import { Jid } from '../server/address/jid.js';
import { count } from '../server/config/units.js';
import { defineModule, document, type IqHandler, iq, map, message } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { randomId, stanzaId } from '../server/stanza/ids.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { type Element, el, parse, serialize } from '../server/xml/element.js';

/** A subscription, by service address and node. */
interface Subscription {
  readonly state: string;
  readonly subid?: string;
  /** XEP-0465: visible to others. */
  readonly public?: true;
}

/** Cannot occur in an address: XML does not allow it. */
const separator = '\u0001';
const keyOf = (service: string, node: string): string => `${service}${separator}${node}`;
/** XEP-0060 §4.2, without 'none'. */
const states: readonly string[] = ['subscribed', 'pending', 'unconfigured'];
const longestSubid = 200;
/** XEP-0465 §4.2. */
const publicNode = NS.pps.replace(/:0$/, ':subscriptions:0');
const asPublic = {
  'pubsub#access_model': 'open',
  'pubsub#max_items': 'max',
  'pubsub#send_last_published_item': 'never',
} as const;

export default defineModule({
  name: 'pam',
  summary: 'Manages pubsub subscriptions for an account, shared by its clients.',
  implements: { 'XEP-0376': '0.2', 'XEP-0465': '0.1.1' },
  notes: "Subscriptions for clients' interests, filters.",
  optional: true,
  features: { account: [NS.pam, NS.pps] },
  config: z.strictObject({
    subscriptions: count({ min: 1 }).default(1000).describe('Maximum subscriptions of one account.'),
  }),
  stores: {
    pam: map<Subscription>({
      storedAs: 'pam',
      isPortable: true,
      value: z.object({
        state: z.string(),
        subid: z.string().exactOptional(),
        public: z.literal(true).exactOptional(),
      }),
      key: z.string().includes(separator),
    }),
    pam_version: document<string>({ storedAs: 'pam_version', isPortable: true, value: z.string() }),
  },
  needs: ['pep', 'clientCaps'],

  start: ({ host, config, stores, services: { pep, clientCaps } }) => {
    /** Persists the new state of a subscription, and notifies the clients that support this (§3.2). */
    const persist = async (
      owner: Jid,
      service: string,
      node: string,
      changed: Subscription | undefined,
    ): Promise<void> => {
      const key = keyOf(service, node);
      const ver = stanzaId(owner.bare);
      await Promise.all([
        changed === undefined ? stores.pam.delete(owner.bare, [key]) : stores.pam.set(owner.bare, [[key, changed]]),
        stores.pam_version.set(owner.bare, ver),
      ]);
      await publish(owner, service, node, changed?.public === true && changed.state === 'subscribed');
      const subscription = el('subscription', {
        xmlns: NS.pubsub,
        node,
        jid: owner.bare,
        subid: changed?.subid,
        subscription: changed?.state ?? 'none',
      });
      const notify = el('notify', { xmlns: NS.pam, ver, service }, subscription);
      const notification = Stanza.build('message', { from: owner, type: 'headline', id: randomId() }, notify);
      for (const session of host.sessions(owner.bare))
        if (clientCaps.features(session).has(NS.pam)) session.send(notification.with({ to: session.jid }));
    };

    /** XEP-0465 §4.2. */
    const publish = async (owner: Jid, service: string, node: string, isPublic: boolean): Promise<void> => {
      const id = createHash('sha1').update(keyOf(service, node)).digest('base64url');
      if (!isPublic) {
        if (await pep.has(owner.bare, publicNode, id)) await pep.change(owner, publicNode, { retract: [id] });
        return;
      }
      const item = el('subscription', { xmlns: NS.pps, node, jid: service });
      await pep.change(owner, publicNode, { publish: new Map([[id, item]]) }, { make: asPublic });
    };

    /** §3.2, §3.3. */
    const manage: IqHandler = async ({ to: owner, payload }) => {
      const refused = (text: string, extra?: Element) =>
        new StanzaError('bad-request', text, { by: owner.bare, extra: extra && [extra] });
      const service = Jid.tryParse(payload.attrs.jid ?? payload.attrs.service ?? '');
      const [asked, ...others] = payload.getChildElements();
      const name = asked?.getNS() === NS.pubsub ? asked.getName() : undefined;
      if (service === undefined || asked === undefined || others.length > 0)
        throw refused('Name one service, with one subscribe or unsubscribe element.');
      if (name !== 'subscribe' && name !== 'unsubscribe')
        throw refused('The element must be subscribe or unsubscribe.');
      const { node, jid } = asked.attrs;
      if (node === undefined || node === '') throw refused('Name a node.');
      if (jid !== owner.bare)
        throw refused('The jid must be your bare address.', el('invalid-jid', { xmlns: NS.pubsubErrors }));
      const key = keyOf(service.full, node);
      const before = await stores.pam.get(owner.bare, key);
      if (
        name === 'subscribe' &&
        before === undefined &&
        (await stores.pam.count(owner.bare)) >= config.subscriptions
      ) {
        host.limitHit('pam.subscriptions');
        throw new StanzaError(
          'resource-constraint',
          `An account can have at most ${config.subscriptions} subscriptions.`,
        );
      }
      const request = el('pubsub', { xmlns: NS.pubsub }, parse(serialize(asked)));
      const answer = await ask(Stanza.build('iq', { type: 'set', from: owner, to: service }, request));
      const attributes = answer.child(NS.pubsub, 'pubsub')?.getChild('subscription')?.attrs;
      const state = attributes?.subscription ?? (name === 'subscribe' ? 'subscribed' : 'none');
      if (!states.includes(state)) {
        await persist(owner, service.full, flat(node), undefined);
        return;
      }
      const { subid } = attributes ?? {};
      const isPublic = asked.getChild('public', NS.pps) !== undefined;
      await persist(owner, service.full, flat(node), {
        state: flat(state),
        ...(subid === undefined || subid.length > longestSubid ? {} : { subid: flat(subid) }),
        ...(isPublic ? { public: true } : {}),
      });
    };

    /** §3.2: errors of the service are passed on, with its address in `by`. */
    const ask = async (request: Stanza): Promise<Stanza> => {
      try {
        return await host.ask(request);
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error;
        throw new StanzaError(error.condition, error.text, { by: request.to!.full, ...error.options });
      }
    };

    /** §3.4. */
    const list: IqHandler = async ({ to: owner, payload }) => {
      const ver = (await stores.pam_version.get(owner.bare)) ?? '0';
      if (payload.attrs.ver === ver) return undefined;
      const all = [...(await stores.pam.all(owner.bare))].map(([key, { state, subid }]) => {
        const [service, node] = key.split(separator);
        return el('subscription', { service, node, jid: owner.bare, subid, subscription: state });
      });
      return el('subscriptions', { xmlns: NS.pam, ver }, ...all);
    };

    /**
     * Handles a service's notification that a subscription has changed (XEP-0060 §12.21), or that the node was deleted.
     */
    const follow = async (owner: Jid, service: Jid, event: Element): Promise<void> => {
      const [what] = event.getChildElements();
      const { node, subscription, jid } = what?.attrs ?? {};
      const isOver = what?.getName() === 'delete' || subscription === 'none';
      const isChange = what?.getName() === 'subscription' && jid === owner.bare;
      if (node === undefined || !(isChange || what?.getName() === 'delete')) return;
      const before = await stores.pam.get(owner.bare, keyOf(service.full, node));
      if (before === undefined) return;
      const state = states.find((one) => one === subscription);
      if (isOver) await persist(owner, service.full, flat(node), undefined);
      else if (state !== undefined && state !== before.state)
        await persist(owner, service.full, flat(node), { ...before, state });
    };

    return [
      iq.set('account', NS.pam, 'pam', manage, { asksOthers: true }),
      iq.get('account', NS.pam, 'subscriptions', list),
      message(
        'clean',
        ({ way, owner, peer, stanza }) => {
          if (way !== 'in' || stanza.to?.resource !== undefined || stanza.type === 'error') return undefined;
          const event = stanza.child(NS.pubsubEvent, 'event');
          return event === undefined ? undefined : follow(owner, peer, event);
        },
        { after: ['strangers', 'pubsub'], skips: (stanza) => !stanza.has(NS.pubsubEvent, 'event') },
      ),
    ];
  },
});
