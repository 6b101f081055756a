/**
 * XEP-0060: Publish-Subscribe, and XEP-0163: Personal Eventing Protocol. The same nodes exist at a service and at every
 * account, whose contacts are notified without subscribing. Published items are durable before the publisher gets the
 * result. XEP-0222 and XEP-0223 (persistent storage of public and private data) follow from publish options, as does
 * what XEP-0503 (spaces) requires of nodes.
 *
 * Left out: digests; transformations, which are only passed on to clients; the publishing resource (XEP-0163 §4.3.1.3).
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import {
  answers,
  command,
  defineModule,
  defineQuestion,
  disco,
  document,
  event,
  type Hook,
  type IqHandler,
  type IqRequest,
  iq,
  type Maybe,
  map,
  message,
  moves,
  portable,
  service,
  type Target,
} from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { whole } from '../../server/stanza/stored.js';
import { hasFrom } from '../../server/stanza/subscription.js';
import type { Element } from '../../server/xml/element.js';
import { affiliationOf, entryIn, entryOf, ownersOf } from './access.js';
import { associate } from './collections.js';
import { accountFeatures, serviceFeatures, sources } from './discovery.js';
import { Holders } from './holders.js';
import { retrieve } from './items.js';
import {
  greet,
  greetSubscriber,
  greetVisitor,
  introduce,
  lastItems,
  sendLastItems,
  wishes,
  wishesOf,
} from './last-items.js';
import type { Found, Published, StoredItem, StoredNode, Subscription, Usage } from './node.js';
import { countWanting, wanting } from './notify.js';
import {
  changeAffiliations,
  configure,
  create,
  listAffiliations,
  offerConfig,
  offerDefaults,
  remove,
  removeNode,
} from './owner.js';
import { paces } from './pace.js';
import { pendingCommand } from './pending.js';
import { pep } from './pep.js';
import { portableNodes } from './portable.js';
import { clientLeft, leaves, purgeOf } from './presence.js';
import { publish, purge, retract } from './publish.js';
import type { Action } from './request.js';
import { settings } from './settings.js';
import {
  authorize,
  bounced,
  changeSubscriptions,
  drop,
  dropBarred,
  listSubscriptions,
  offerDefaultOptions,
  offerOptions,
  ownAffiliations,
  ownSubscriptions,
  setOptions,
  subscribe,
  unsubscribe,
} from './subscriptions.js';
import { answerArchive, answerAtService } from './xep-0442-archive.js';

type Handler = (action: Action, isAccount: boolean) => Maybe<Element | undefined>;

/** Keyed by the type of the IQ and the namespace and name of the first child. */
const handlers: Readonly<Record<string, Handler>> = {
  [`get ${NS.pubsub} items`]: retrieve,
  [`set ${NS.pubsubOwner} collection`]: associate,
  [`get ${NS.pubsub} subscriptions`]: ownSubscriptions,
  [`get ${NS.pubsub} affiliations`]: ownAffiliations,
  [`get ${NS.pubsub} options`]: offerOptions,
  [`get ${NS.pubsub} default`]: offerDefaultOptions,
  [`set ${NS.pubsub} publish`]: publish,
  [`set ${NS.pubsub} retract`]: retract,
  [`set ${NS.pubsub} create`]: create,
  [`set ${NS.pubsub} subscribe`]: subscribe,
  [`set ${NS.pubsub} unsubscribe`]: unsubscribe,
  [`set ${NS.pubsub} options`]: setOptions,
  [`get ${NS.pubsubOwner} configure`]: offerConfig,
  [`get ${NS.pubsubOwner} default`]: offerDefaults,
  [`get ${NS.pubsubOwner} affiliations`]: listAffiliations,
  [`get ${NS.pubsubOwner} subscriptions`]: listSubscriptions,
  [`set ${NS.pubsubOwner} configure`]: configure,
  [`set ${NS.pubsubOwner} delete`]: remove,
  [`set ${NS.pubsubOwner} purge`]: purge,
  [`set ${NS.pubsubOwner} affiliations`]: changeAffiliations,
  [`set ${NS.pubsubOwner} subscriptions`]: changeSubscriptions,
};

/** Asked at the service: changes of local accounts. */
const atService = {
  arrived: defineQuestion({ name: 'pubsub.arrived', given: z.object({ jid: z.string() }), answer: z.null() }),
  purged: defineQuestion({ name: 'pubsub.purged', given: z.object({ publisher: z.string() }), answer: z.null() }),
  forgotten: defineQuestion({
    name: 'pubsub.forgotten',
    given: z.object({ account: z.string(), isAnonymous: z.boolean() }),
    answer: z.null(),
  }),
};

const done = (work: Promise<unknown>): Promise<null> => work.then(() => null);

function ignoreRefusal(error: unknown): undefined {
  if (!(error instanceof StanzaError)) throw error;
  return undefined;
}

import { Guests, shown, shownBy, showOf } from './guests.js';
import type { PubSub } from './pubsub.js';
import { closedNode, storedItem, storedNode, storedSubscription, subscriptionKey } from './stored.js';

export default defineModule({
  name: 'pubsub',
  summary: 'Publish-subscribe nodes at accounts (PEP) and at a service.',
  implements: {
    'XEP-0060': '1.30.0',
    'XEP-0163': '1.2.2',
    'XEP-0222': '1.0',
    'XEP-0223': '1.1.1',
    'XEP-0248': '0.5.0',
    'XEP-0413': '0.2.1',
    'XEP-0442': '0.2.0',
    'XEP-0462': '0.1.1',
    'XEP-0465': '0.1.1',
    'XEP-0470': '0.2.0',
    'XEP-0503': '0.3.0',
  },
  notes: "Left out: digests, transformations. The list of an account's own public subscriptions needs the module pam.",
  features: { account: accountFeatures, service: serviceFeatures },
  config: settings,
  stores: {
    pubsub_nodes: map<StoredNode>({ storedAs: 'pubsub_nodes', value: storedNode, damaged: closedNode }),
    pubsub_items: map<StoredItem>({ storedAs: 'pubsub_items', value: storedItem }),
    pubsub_subscriptions: map<Subscription>({
      storedAs: 'pubsub_subscriptions',
      value: storedSubscription,
      key: subscriptionKey,
    }),
    pubsub_usage: document<Usage>({
      storedAs: 'pubsub_usage',
      value: z.object({ items: whole, bytes: whole, byPublisher: z.boolean().optional() }),
    }),
    pubsub_publishers: map<Published>({ storedAs: 'pubsub_publishers', value: z.object({ bytes: whole }) }),
  },
  needs: ['roster', 'clientCaps'],
  wants: ['archive'],
  provides: ['pep'],

  start: ({ host, config, stores, services, provide, log }) => {
    const own = Jid.parse(`${config.subdomain}.${host.domain}`);
    const pubsub: PubSub = {
      host,
      settings: config,
      stores,
      roster: services.roster,
      caps: services.clientCaps,
      holders: new Holders(stores, config, own),
      wellKnown: new Map(),
      guests: new Guests(() => host.limitHit('pubsub.guests')),
      summaries: new Map(),
      end: (holder, node, subscriber) => drop(pubsub, holder, node, subscriber),
      aside: (work) => {
        if (!(work instanceof Promise)) return;
        work.catch((error: unknown) => {
          // The node of the subscriber is gone, or moves on.
          const isRefusal = error instanceof StanzaError;
          log[isRefusal ? 'debug' : 'error']({ err: error }, 'a pubsub notification failed');
        });
      },
    };

    // Queries to accounts that do not exist must not create nodes or fill the cache.
    const absent: PubSub = { ...pubsub, holders: Holders.ofNobody(config, own) };

    const demandPace = paces(host, config);
    provide(
      'pep',
      pep(pubsub, (owner) => demandPace('publish', owner)),
    );

    const answer = async (request: IqRequest, isAccount: boolean): Promise<Element | undefined> => {
      const { from, to, payload, stanza, isAbsent } = request;
      const { bare } = to;
      const element = payload.getChildElements()[0];
      const ns = payload.getNS() ?? '';
      const handler = element?.getNS() === ns ? handlers[`${stanza.type} ${ns} ${element.getName()}`] : undefined;
      if (element === undefined || handler === undefined) throw new StanzaError('bad-request');
      if (stanza.type === 'set') demandPace(element.getName(), from);
      const acting = isAccount || ns !== NS.pubsubOwner ? from : await actorFor(from, element.attrs.node ?? '');
      return handler({ pubsub: isAbsent ? absent : pubsub, request, from: acting, bare, element }, isAccount);
    };

    /** Administrators of the host act in the name of an owner at nodes of the service. */
    const actorFor = async (from: Jid, name: string): Promise<Jid> => {
      if (!(await host.isAdmin(from))) return from;
      const holder = await pubsub.holders.get(own.bare);
      const node = holder.nodes.get(name);
      if (node === undefined || affiliationOf(holder, node, from.bare) === 'owner') return from;
      const [owner] = ownersOf(holder, node);
      return owner === undefined ? from : Jid.parse(owner);
    };

    const hooksFor = (target: Target): Hook[] => {
      const isAccount = target === 'account';
      const handler: IqHandler = (request) => {
        if (!isAccount && request.to.full !== own.full) throw new StanzaError('item-not-found');
        return answer(request, isAccount);
      };
      const access = { access: 'anyone', absent: true } as const;
      return [
        ...[NS.pubsub, NS.pubsubOwner].flatMap((ns) => [
          iq.get(target, ns, 'pubsub', handler, access),
          iq.set(target, ns, 'pubsub', handler, access),
        ]),
        ...sources(pubsub, isAccount).map((source) => disco(target, source)),
      ];
    };

    /**
     * Removes a deleted account's rights, so that a new account of the same name does not inherit them. Nodes of which
     * it was the only owner are removed.
     */
    const dropAccount = async ({ bare }: Jid, isAnonymous: boolean): Promise<void> => {
      const { holders } = pubsub;
      const leave = async ({ holder, node, items }: Found): Promise<void> => {
        if (node === undefined) return;
        const owners = ownersOf(holder, node);
        const isLast = owners.length === 1 && owners[0] === bare;
        if (isLast || (isAnonymous && node.stored.creator === bare)) return removeNode(pubsub, holder, node, items!);
        const { [bare]: gone, ...affiliations } = node.stored.affiliations;
        const writes: Promise<unknown>[] = [];
        if (gone !== undefined && gone !== 'outcast') writes.push(holders.change(holder, node, { affiliations }));
        for (const one of [...node.subscriptions.values()])
          if (one.jid.bare === bare || one.by === bare)
            writes.push(holders.setSubscription(holder, node, one, undefined));
        await holders.commit(holder, ...writes);
      };
      for (const name of [...(await holders.get(own.bare)).nodes.keys()])
        await holders.inTurn(own.bare, name, () => undefined, leave);
    };

    const greetAtService = async (jid: Jid): Promise<void> =>
      greetSubscriber(pubsub, await pubsub.holders.get(own.bare), jid);

    const { archive } = services;
    const answering = archive && answerArchive(({ isAbsent }) => (isAbsent ? absent : pubsub), archive);
    if (answering !== undefined) archive?.nodes(answering);
    const archives =
      answering === undefined
        ? []
        : [
            iq.set('service', NS.mam, 'query', answerAtService(answering)),
            iq.get('service', NS.mam, 'query', answerAtService(answering)),
            disco('service', { features: () => archive?.features ?? [] }),
          ];

    return [
      portable(portableNodes(stores, config)),
      event('moved', ({ concerns }) => {
        pubsub.holders.moved(concerns);
        if (concerns(own.bare)) pubsub.guests.clear();
      }),
      moves(pubsub.holders.memory),
      moves(pubsub.guests.memory(own)),
      ...archives,
      command(pendingCommand(pubsub, 'service')),
      command(pendingCommand(pubsub, 'account')),
      ...hooksFor('account'),
      ...hooksFor('service'),
      // XEP-0222 §5, XEP-0223 §5; some clients query only the server for the features of accounts (XEP-0163 §6)
      disco('server', {
        identities: () => [{ category: 'pubsub', type: 'pep' }],
        features: () => accountFeatures.filter((name) => name.startsWith(NS.pubsub)),
      }),
      service({
        subdomain: config.subdomain,
        message: async (stanza) => {
          if (stanza.type === 'error') return bounced(pubsub, own.bare, stanza);
          const isAnswer = stanza.to!.full === own.full && (await authorize(pubsub, own.bare, stanza));
          if (!isAnswer && stanza.type !== 'headline') throw new StanzaError('service-unavailable');
        },
        // Presence at the service matters for presence-based notifications
        presence: (stanza) => {
          const { from, type } = stanza;
          if (from === undefined || stanza.to!.full !== own.full) return undefined;
          if (type === 'unavailable') {
            pubsub.guests.leaves(from);
            return leaves(pubsub, from, pubsub.guests.of(from.bare) === undefined);
          }
          const isNew =
            type === undefined && from.domain !== host.domain && pubsub.guests.arrives(from, showOf(stanza));
          if (isNew) pubsub.aside(greetAtService(from));
          return undefined;
        },
      }),
      // §8.6: an owner's answer to a subscription request for a node of their account
      message(
        'clean',
        ({ way, owner, peer, stanza }) => {
          if (stanza.to?.resource !== undefined || !stanza.has(NS.dataForms, 'x')) return undefined;
          if (way === 'out' && peer.full !== owner.bare) return undefined;
          const answered = authorize(pubsub, owner.bare, stanza).then((was) =>
            was ? ('handled' as const) : undefined,
          );
          // Senders who do not own the node must not learn whether it exists.
          return way === 'out' ? answered : answered.catch(ignoreRefusal);
        },
        { after: ['strangers'], skips: (stanza) => !stanza.has(NS.dataForms, 'x') },
      ),
      // §12.3: bounced notifications
      message(
        'clean',
        ({ way, owner, stanza }) => {
          if (way !== 'in' || stanza.type !== 'error' || !stanza.has(NS.pubsubEvent, 'event')) return undefined;
          if (stanza.to?.resource !== undefined) return undefined;
          return bounced(pubsub, owner.bare, stanza).then(() => 'handled');
        },
        { after: ['strangers'], skips: ({ type }) => type !== 'error' },
      ),
      event('featuresKnown', ({ session, gained }) => pubsub.aside(greet(pubsub, session, gained))),
      event('visitorKnown', ({ owner, visitor, gained }) =>
        pubsub.aside(greetVisitor(pubsub, owner, visitor.jid, gained)),
      ),
      event('visitorGone', ({ owner, jid }) => {
        if (jid.domain === host.domain) return; // handled by the event "unavailable"
        const others = [...pubsub.caps.visitors(owner.bare).values()].some((one) => one.jid.bare === jid.bare);
        pubsub.aside(leaves(pubsub, jid, !others));
      }),
      event('available', ({ session: { jid } }) =>
        pubsub.aside(host.askHome(atService.arrived, own, { jid: jid.full })),
      ),
      event('unavailable', ({ session: { jid } }) => {
        const owner = jid.toBare();
        const isLast = !host.sessions(owner.bare).some((other) => other.available && other.jid.full !== jid.full);
        pubsub.aside(host.askNodes(clientLeft, { jid: jid.full, isLast }));
        if (!isLast) return;
        pubsub.aside(purgeOf(pubsub, jid.bare, jid.bare));
        pubsub.aside(host.askHome(atService.purged, own, { publisher: jid.bare }));
      }),
      event('rosterChanged', async ({ owner, contact, item, before }) => {
        if (item !== undefined && hasFrom(item)) pubsub.aside(introduce(pubsub, owner, contact, item, before));
        if (before === undefined || !hasFrom(before)) return;
        // XEP-0163 §7: groups may have changed, or the subscription
        const holder = await pubsub.holders.get(owner.bare);
        for (const node of [...holder.nodes.values()])
          if (node.subscriptions.size > 0) await dropBarred(pubsub, holder, node, contact.bare);
      }),
      event('accountDeleted', async ({ jid, isAnonymous = false }) => {
        pubsub.holders.invalidate(jid.bare);
        await host.askHome(atService.forgotten, own, { account: jid.bare, isAnonymous });
      }),
      answers(lastItems, (given, owner) => sendLastItems(pubsub, owner, given)),
      answers(wishes, (_, owner) => wishesOf(pubsub, owner)),
      answers(shown, (given, owner) => shownBy(pubsub, owner, given)),
      answers(wanting, (given) => countWanting(pubsub, given)),
      answers(entryOf, (given, owner) => entryIn(pubsub, owner, given)),
      answers(clientLeft, ({ jid, isLast }) => done(leaves(pubsub, Jid.parse(jid), isLast))),
      answers(atService.arrived, ({ jid }) => done(greetAtService(Jid.parse(jid)))),
      answers(atService.purged, ({ publisher }) => done(purgeOf(pubsub, own.bare, publisher))),
      answers(atService.forgotten, ({ account, isAnonymous }) => done(dropAccount(Jid.parse(account), isAnonymous))),
    ];
  },
});
