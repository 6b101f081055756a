/**
 * XEP-0376: Pubsub Account Management. An account subscribes to nodes wherever they are, and its clients share the list;
 * with it the public part of that list (XEP-0465 §4.2, §4.3). It runs only when it is asked for: by the specification other
 * servers may take an account that has it for one that wants no notifications by interest (`+notify`).
 *
 * Left out: subscriptions that the server makes for clients' interests (§3.5), filters (§3.6); what was missed is not told
 * piece by piece but as the whole list (§3.4).
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { count } from '../server/config/units.js';
import { defineModule, document, type IqHandler, iq, map, message } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { flat } from '../server/stanza/flat.js';
import { randomId, stanzaId } from '../server/stanza/ids.js';
import { Jid } from '../server/stanza/jid.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { type Element, el, parse, serialize } from '../server/xml/element.js';

/** Under the address of the service and the node. */
interface Kept {
  readonly state: string;
  readonly subid?: string;
  /** XEP-0465: others may know of it. */
  readonly public?: true;
}

/** No address has this character: XML does not. */
const separator = '\u0001';
const keyOf = (service: string, node: string): string => `${service}${separator}${node}`;
/** XEP-0060 §4.2, without those that are none. */
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
  summary: 'Subscribes to nodes for an account, and lets its clients share the list.',
  implements: { 'XEP-0376': '0.2', 'XEP-0465': '0.1.1' },
  notes: "Subscriptions for clients' interests, filters.",
  optional: true,
  features: { account: [NS.pam, NS.pps] },
  config: z.strictObject({
    subscriptions: count({ min: 1 }).default(1000).describe('Subscriptions that are kept of one account.'),
  }),
  stores: {
    pam: map<Kept>({
      storedAs: 'pam',
      value: z.object({
        state: z.string(),
        subid: z.string().exactOptional(),
        public: z.literal(true).exactOptional(),
      }),
      key: z.string().includes(separator),
    }),
    pam_version: document<string>({ storedAs: 'pam_version', value: z.string() }),
  },
  needs: ['pep', 'clientCaps'],

  start: ({ host, config, stores, services: { pep, clientCaps } }) => {
    /** Writes down what became of a subscription, and tells the clients that know of this (§3.2). */
    const keep = async (owner: Jid, service: string, node: string, kept: Kept | undefined): Promise<void> => {
      const key = keyOf(service, node);
      const ver = stanzaId(owner.bare);
      await Promise.all([
        kept === undefined ? stores.pam.delete(owner.bare, [key]) : stores.pam.set(owner.bare, [[key, kept]]),
        stores.pam_version.set(owner.bare, ver),
      ]);
      await publish(owner, service, node, kept?.public === true && kept.state === 'subscribed');
      const subscription = el('subscription', {
        xmlns: NS.pubsub,
        node,
        jid: owner.bare,
        subid: kept?.subid,
        subscription: kept?.state ?? 'none',
      });
      const notify = el('notify', { xmlns: NS.pam, ver, service }, subscription);
      const told = Stanza.build('message', { from: owner, type: 'headline', id: randomId() }, notify);
      for (const session of host.sessions(owner.bare))
        if (clientCaps.features(session).has(NS.pam)) session.send(told.with({ to: session.jid }));
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
      if (service === undefined || asked === undefined || others.length > 0) throw refused('One thing of one service.');
      if (name !== 'subscribe' && name !== 'unsubscribe') throw refused('One subscribes or unsubscribes.');
      const { node, jid } = asked.attrs;
      if (node === undefined || node === '') throw refused('There is no node.');
      if (jid !== owner.bare) throw refused('Not your address.', el('invalid-jid', { xmlns: NS.pubsubErrors }));
      const key = keyOf(service.full, node);
      const before = await stores.pam.get(owner.bare, key);
      if (
        name === 'subscribe' &&
        before === undefined &&
        (await stores.pam.count(owner.bare)) >= config.subscriptions
      ) {
        host.limitHit('pam.subscriptions');
        throw new StanzaError('resource-constraint', `At most ${config.subscriptions} subscriptions are kept.`);
      }
      const request = el('pubsub', { xmlns: NS.pubsub }, parse(serialize(asked)));
      const answer = await ask(Stanza.build('iq', { type: 'set', from: owner, to: service }, request));
      const said = answer.child(NS.pubsub, 'pubsub')?.getChild('subscription')?.attrs;
      const state = said?.subscription ?? (name === 'subscribe' ? 'subscribed' : 'none');
      if (!states.includes(state)) {
        await keep(owner, service.full, flat(node), undefined);
        return;
      }
      const { subid } = said ?? {};
      const isPublic = asked.getChild('public', NS.pps) !== undefined;
      await keep(owner, service.full, flat(node), {
        state: flat(state),
        ...(subid === undefined || subid.length > longestSubid ? {} : { subid: flat(subid) }),
        ...(isPublic ? { public: true } : {}),
      });
    };

    /** §3.2: what another refuses is passed on, with who it was. */
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

    /** A service says that a subscription is another now (XEP-0060 §12.21), or that the node is gone. */
    const follow = async (owner: Jid, service: Jid, event: Element): Promise<void> => {
      const [what] = event.getChildElements();
      const { node, subscription, jid } = what?.attrs ?? {};
      const isOver = what?.getName() === 'delete' || subscription === 'none';
      const isChange = what?.getName() === 'subscription' && jid === owner.bare;
      if (node === undefined || !(isChange || what?.getName() === 'delete')) return;
      const before = await stores.pam.get(owner.bare, keyOf(service.full, node));
      if (before === undefined) return;
      const state = states.find((one) => one === subscription);
      if (isOver) await keep(owner, service.full, flat(node), undefined);
      else if (state !== undefined && state !== before.state)
        await keep(owner, service.full, flat(node), { ...before, state });
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
