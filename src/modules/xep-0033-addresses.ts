/**
 * XEP-0033: Extended Stanza Addressing: a stanza to the host with a list of addresses is sent to each of them. Only
 * users of the host reach other servers this way. A message for several users of another server that announces the
 * feature is one stanza. Left out: services of other servers than the server itself; addresses that are not JIDs.
 */
import { z } from 'zod';
import { Jid } from '../server/address/jid.js';
import { count } from '../server/config/units.js';
import { Rates } from '../server/limits/rates.js';
import {
  defineModule,
  event,
  type Maybe,
  message,
  moves,
  serverMessage,
  serverPresence,
  session,
} from '../server/module/index.js';
import type { Origin } from '../server/routing/passage.js';
import { demandFew } from '../server/stanza/addresses.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { type Element, el } from '../server/xml/element.js';

const minute = 60_000;
/** Each delivery counts once per this many characters: long stanzas cost their recipients more. */
const counted = 8192;
/** Most addresses in one stanza for another server: ejabberd accepts as many. */
const mostTogether = 20;

export default defineModule({
  name: 'addresses',
  summary: 'Sends a stanza to many addresses at once.',
  implements: { 'XEP-0033': '1.2.1' },
  notes: 'Multicast services of other servers than the server itself; addresses that are not JIDs.',
  features: { server: [NS.addresses] },
  config: z.strictObject({
    limit: count({ min: 1, max: 1000 }).default(50).describe('Maximum addresses in one stanza.'),
    per_minute: count({ min: 1, unlimited: true })
      .default(600)
      .describe(
        'Deliveries per minute for one user, or for all users of another server: one per address, and for long stanzas one per 8 KiB.',
      ),
    access: z
      .enum(['users', 'anyone'])
      .default('anyone')
      .describe(
        'Who may use it: only users of the host, or also others, who reach only users and services of this host.',
      ),
    presences: count({ min: 10 }).default(500).describe('Addresses to which one session can be available this way.'),
  }),

  wants: ['disco'],

  start: ({ host, config, services: { disco } }) => {
    const announced = disco?.announced([NS.addresses], 'addresses.asking');
    const rates = new Rates(config.per_minute, minute);
    /** §5.1: addresses to which a session sent available presence this way, by the session's full JID. */
    const present = new Map<string, Map<string, Jid>>();

    const isUser = ({ domain, local }: Jid) => domain === host.domain && local !== undefined;
    const isHere = ({ domain }: Jid) =>
      domain === host.domain || host.declared.services().some((service) => service.domain === domain);

    /** Permits all deliveries or none (§2.2, §6). */
    const permit = ({ from: sender, content }: Stanza, recipients: readonly Jid[]): void => {
      const from = sender!;
      if (!isUser(from) && (config.access === 'users' || !recipients.every(isHere))) throw new StanzaError('forbidden');
      const cost = recipients.length * Math.ceil((content.length + 1) / counted);
      if (rates.take(host.holderOf(from), cost)) return;
      host.limitHit('addresses.per_minute');
      throw new StanzaError('resource-constraint', 'Too many addresses in too short a time.');
    };

    /** Whether the sender may send it. If not, it is refused. */
    const admits = (stanza: Stanza, origin: Origin | undefined): Maybe<boolean> => {
      const answer = (isAdmitted: boolean): boolean => {
        // Answered directly: an error from a recipient that the sender has blocked would be blocked too.
        if (!isAdmitted && stanza.name === 'message')
          origin?.session?.send(stanza.error(new StanzaError('not-acceptable')));
        return isAdmitted;
      };
      const admitted = isUser(stanza.from!) ? host.admits(stanza) : true;
      return admitted instanceof Promise ? admitted.then(answer) : answer(admitted);
    };

    const deliver = (stanza: Stanza, origin: Origin | undefined): Maybe<void> => {
      const go = (isAdmitted: boolean): Maybe<void> => (isAdmitted ? host.route(stanza, origin) : undefined);
      const admitted = admits(stanza, origin);
      return admitted instanceof Promise ? admitted.then(go) : go(admitted);
    };

    /** §6: the stanzas for users of one other server as one. */
    const deliverTogether = async (stanzas: readonly Stanza[], origin: Origin | undefined): Promise<void> => {
      const admitted: Stanza[] = [];
      for (const stanza of stanzas) if (await admits(stanza, origin)) admitted.push(stanza);
      for (let at = 0; at < admitted.length; at += mostTogether) {
        const some = admitted.slice(at, at + mostTogether);
        await host.route(some.length === 1 ? some[0]! : together(some), origin);
      }
    };

    /** Other servers with several of the recipients, if they deliver to them. */
    const groupsOf = (stanzas: readonly Stanza[]): ReadonlyMap<string, readonly Stanza[]> => {
      const groups = new Map<string, Stanza[]>();
      for (const stanza of stanzas) {
        const { domain, local } = stanza.to!;
        if (local === undefined || host.isLocal(domain)) continue;
        const same = groups.get(domain);
        if (same === undefined) groups.set(domain, [stanza]);
        else same.push(stanza);
      }
      for (const [domain, same] of groups)
        if (same.length === 1 || announced?.has(domain, NS.addresses) !== true) groups.delete(domain);
      return groups;
    };

    const deliverMessage = ({ seen, blind }: Deliveries, origin: Origin): Maybe<void> => {
      const groups = groupsOf(seen);
      const grouped = new Set([...groups.values()].flat());
      const alone = [...seen.filter((stanza) => !grouped.has(stanza)), ...blind];
      const delivered = deliverAll(alone, origin);
      if (groups.size === 0) return delivered;
      const rest = async () => {
        await delivered;
        for (const group of groups.values()) await deliverTogether(group, origin);
      };
      return rest();
    };

    /** Delivers in order (RFC 6120 §10.1). Synchronous unless a delivery is asynchronous. */
    const deliverAll = (deliveries: readonly Stanza[], origin?: Origin): Maybe<void> => {
      for (let index = 0; index < deliveries.length; index++) {
        const waiting = deliver(deliveries[index]!, origin);
        if (waiting !== undefined) return waiting.then(() => deliverAll(deliveries.slice(index + 1), origin));
      }
    };

    const becomePresent = ({ full }: Jid, recipients: readonly Jid[]): void => {
      const all = new Map([...(present.get(full) ?? []), ...recipients.map((to) => [to.full, to] as const)]);
      if (all.size > config.presences) {
        host.limitHit('addresses.presences');
        throw new StanzaError('resource-constraint', 'You have sent presence to too many addresses.');
      }
      present.set(full, all);
    };

    const directed = (stanza: Stanza, origin: Origin): Maybe<void> => {
      const { type } = stanza;
      const from = stanza.from!;
      const isSent = type === undefined || type === 'unavailable';
      if (!isSent || !isUser(from) || !stanza.has(NS.addresses, 'addresses')) return;
      // A user's stanzas to the host are handled on the user's home node.
      const owner = from.toBare();
      const isOnline = host.sessions(owner.bare).some(({ jid }) => jid.equals(from));
      if (!isOnline) return; // it has ended: nothing would send unavailable presence later
      const deliveries = allOf(readDeliveries(stanza, host.jid, config.limit));
      host.demandFanOut(stanza.content, deliveries.length);
      const recipients = deliveries.map(({ to }) => to!);
      const known = present.get(from.full);
      if (type === 'unavailable') {
        permit(
          stanza,
          recipients.filter(({ full }) => !known?.has(full)),
        );
        for (const { full } of recipients) known?.delete(full);
      } else {
        permit(stanza, recipients);
        becomePresent(from, recipients);
      }
      return deliverAll(deliveries, origin);
    };

    /** §5.1: sends unavailable presence to those addresses that got available presence and that `isMeant` selects. */
    const over = (stanza: Stanza, isMeant: (to: Jid) => boolean = () => true): Maybe<void> => {
      const { full } = stanza.from!;
      const known = present.get(full);
      if (known === undefined) return;
      const recipients = [...known.values()].filter(isMeant);
      for (const to of recipients) known.delete(to.full);
      if (known.size === 0) present.delete(full);
      return deliverAll(recipients.map((to) => stanza.with({ to })));
    };

    return [
      moves(rates.memory('addresses.rates')),
      moves<string[]>({
        name: 'addresses.present',
        schema: z.array(z.string()),
        *describe(concerns) {
          for (const [full, all] of present) {
            const { bare } = Jid.parse(full);
            if (concerns(bare)) yield [bare, [full, ...all.keys()]];
          }
        },
        restore: (_, [full, ...all]) => {
          present.set(full!, new Map(all.map((to) => [to, Jid.parse(to)])));
        },
      }),
      event('moved', ({ concerns }) => {
        for (const full of present.keys()) if (concerns(Jid.parse(full).bare)) present.delete(full);
      }),
      serverMessage(
        (stanza, origin) => {
          const isOurs = stanza.to!.resource === undefined && stanza.has(NS.addresses, 'addresses');
          if (!isOurs || stanza.type === 'error') return;
          const deliveries = readDeliveries(stanza, host.jid, config.limit);
          const all = allOf(deliveries);
          host.demandFanOut(stanza.content, all.length);
          permit(
            stanza,
            all.map(({ to }) => to!),
          );
          return deliverMessage(deliveries, origin)?.then(() => 'handled' as const) ?? 'handled';
        },
        { after: ['rtbl', 'reports'] },
      ),
      serverPresence(directed),
      message(
        'clean',
        ({ way, stanza, peer }) => {
          // The other server serves fewer than it announces. The sender learns of it by this error.
          const isRefusal = way === 'in' && stanza.type === 'error' && peer.full === peer.domain;
          if (isRefusal && stanza.has(NS.addresses, 'addresses')) announced?.none(peer.domain);
        },
        { skips: ({ type }) => type !== 'error' },
      ),
      event('unavailable', ({ session, stanza }) => over(stanza.with({ from: session.jid }))),
      // for sessions that were never available: 'presence' emits nothing for them
      session('gone', ({ jid }) => over(unavailable(jid)), { after: ['presence'] }),
      // XEP-0191 §3.2: before they are blocked, while stanzas to them still pass
      event('blocking', async ({ owner, covers }) => {
        for (const { jid } of host.sessions(owner.bare)) await over(unavailable(jid), covers);
      }),
    ];
  },
});

const unavailable = (from: Jid): Stanza => Stanza.build('presence', { type: 'unavailable', from });

const isSentTo = ({ type }: Element['attrs']) => type === 'to' || type === 'cc' || type === 'bcc';
const isDelivered = ({ delivered }: Element['attrs']) => delivered === 'true' || delivered === '1';

/** The stanzas for recipients whom all see, and for those of blind copies. */
interface Deliveries {
  readonly seen: readonly Stanza[];
  readonly blind: readonly Stanza[];
}

const allOf = ({ seen, blind }: Deliveries): readonly Stanza[] => [...seen, ...blind];

/**
 * The stanza for each address that has not had it yet, as of §6: marked as delivered, and without blind copies except
 * the recipient's own. `service` is the address it was sent to. Throws StanzaError.
 */
function readDeliveries(stanza: Stanza, service: Jid, limit: number): Deliveries {
  const addresses = stanza.child(NS.addresses, 'addresses')!.getChildren('address', NS.addresses);
  if (addresses.length > limit)
    throw new StanzaError('not-acceptable', `A stanza can have at most ${limit} addresses.`);
  demandFew(addresses.map(({ attrs }) => attrs.jid));
  const shown: Element[] = [];
  const open = new Map<string, Jid>();
  const blind = new Map<string, { readonly to: Jid; readonly address: Element }>();
  for (const address of addresses) {
    const { attrs } = address;
    checkAddress(attrs);
    if (!isSentTo(attrs)) {
      shown.push(address);
      continue;
    }
    const to = recipient(attrs, service);
    if (attrs.type === 'bcc') {
      if (!isDelivered(attrs)) blind.set(to.full, { to, address });
      continue;
    }
    if (!isDelivered(attrs)) open.set(to.full, to);
    attrs.delivered = 'true';
    shown.push(address);
  }
  const bare = stanza.without(NS.addresses, 'addresses');
  const seen = bare.plus(el('addresses', { xmlns: NS.addresses }, ...shown));
  const copies = [...blind.values()].filter(({ to }) => !open.has(to.full));
  return {
    seen: [...open.values()].map((to) => seen.with({ to })),
    blind: copies.map(({ to, address }) =>
      bare.with({ to }).plus(el('addresses', { xmlns: NS.addresses }, ...shown, address)),
    ),
  };
}

/** §6: for the server that all these are for, which delivers them: the addresses of its users are not marked. */
function together(stanzas: readonly Stanza[]): Stanza {
  const open = new Set(stanzas.map(({ to }) => to!.full));
  const [first] = stanzas as readonly [Stanza];
  const addresses = first.child(NS.addresses, 'addresses')!.getChildren('address', NS.addresses);
  for (const { attrs } of addresses)
    if (isSentTo(attrs) && open.has(Jid.tryParse(attrs.jid ?? '')?.full ?? '')) delete attrs.delivered;
  return first
    .without(NS.addresses, 'addresses')
    .with({ to: Jid.parse(first.to!.domain) })
    .plus(el('addresses', { xmlns: NS.addresses }, ...addresses));
}

/** §4. */
function checkAddress({ type, jid, uri, node, desc }: Element['attrs']): void {
  if (!type) throw new StanzaError('bad-request', 'An address needs a type.');
  if (jid !== undefined && uri !== undefined)
    throw new StanzaError('bad-request', 'An address cannot have both a JID and a URI.');
  if (type !== 'noreply' && [jid, uri, node, desc].every((value) => value === undefined))
    throw new StanzaError('bad-request', 'An address needs a JID, a node or a description.');
}

function recipient({ jid, uri }: Element['attrs'], service: Jid): Jid {
  if (uri !== undefined) throw new StanzaError('jid-malformed', 'URIs are not supported.'); // §4.2
  if (jid === undefined) throw new StanzaError('bad-request', 'An address needs a JID.');
  const to = Jid.tryParse(jid);
  // Blind copies are not marked as delivered: sent to the service itself, they would loop.
  if (to === undefined || to.bare === service.bare)
    throw new StanzaError('jid-malformed', 'An address is not a valid recipient.');
  return to;
}
