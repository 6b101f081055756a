/**
 * XEP-0065: SOCKS5 Bytestreams: a proxy for file transfers between clients that cannot connect to each other. Both
 * connect to it and name the stream by a hash; bytes flow once the requester, authenticated by their session, activates
 * it. All hosts of a server share the same ports. Left out: UDP (§8), which is optional.
 */
import { createHash } from 'node:crypto';
import type { Accounts } from '../../server/accounts/index.js';
import { Jid } from '../../server/address/jid.js';
import {
  defineModule,
  disco,
  event,
  every,
  type IqHandler,
  type IqRequest,
  iq,
  listens,
  metric,
  service,
} from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { el } from '../../server/xml/element.js';
import { Relay } from './relay.js';
import { settings } from './settings.js';

const retryMs = 60_000;
const longestSid = 1024;

/** One relay per server, keyed by an object that its hosts share. */
const relays = new WeakMap<Accounts, Relay>();

export default defineModule({
  name: 'proxy65',
  summary: 'A proxy for sending files between clients that cannot reach each other.',
  implements: { 'XEP-0065': '1.8.2' },
  notes: 'UDP.',
  features: { service: [NS.bytestreams] },
  config: settings,

  start: ({ host, config, log }) => {
    if (config.listen.length === 0) return [];
    const own = Jid.parse(`${config.subdomain}.${host.domain}`);
    const relay = relays.get(host.accounts) ?? new Relay(config, log, (limit) => host.limitHit(limit));
    relays.set(host.accounts, relay);
    const counts = { streams: 0, bytes: 0, active: 0 };

    const permit = ({ from, to }: IqRequest): void => {
      if (!to.equals(own)) throw new StanzaError('service-unavailable');
      const isOurs =
        from.local !== undefined &&
        (config.access === 'server' ? host.isLocal(from.domain) : from.domain === host.domain);
      if (config.access !== 'anyone' && !isOurs) throw new StanzaError('forbidden');
    };

    /** §4. */
    const address: IqHandler = (request) => {
      permit(request);
      const { ports } = relay;
      if (ports.length === 0) throw new StanzaError('not-allowed', 'The proxy is not running.');
      const hosts = config.public_hosts.length === 0 ? [host.domain] : config.public_hosts;
      const reached = config.public_port === 0 ? ports : [config.public_port];
      return el(
        'query',
        { xmlns: NS.bytestreams },
        ...hosts.flatMap((name) =>
          reached.map((port) => el('streamhost', { jid: own.full, host: name, port: String(port) })),
        ),
      );
    };

    /** §6.3.5. */
    const activate: IqHandler = (request) => {
      permit(request);
      const { from, payload } = request;
      const { sid } = payload.attrs;
      const target = Jid.tryParse(payload.getChildText('activate', NS.bytestreams)?.trim() ?? '');
      if (!sid || sid.length > longestSid || target === undefined) throw new StanzaError('bad-request');
      const hash = hashOf(sid, from, target);
      const connected = relay.waiting(hash);
      // Whether the stream is another user's or does not exist is not revealed: its hash differs.
      if (connected === 0) throw new StanzaError('item-not-found', 'No client is connected for this stream.');
      if (connected === 1) throw new StanzaError('not-allowed', 'Only one of the two clients is connected.');
      const user = host.holderOf(from);
      const refused = relay.streams.take(user);
      if (refused !== undefined) {
        host.limitHit(refused === 'all' ? 'proxy65.connections' : 'proxy65.streams_per_user');
        throw new StanzaError('resource-constraint', 'You have too many open streams.');
      }
      counts.streams++;
      counts.active++;
      relay.activate(hash, {
        moved: (bytes) => {
          counts.bytes += bytes;
        },
        ended: () => {
          counts.active--;
          relay.streams.give(user);
        },
      });
    };

    return [
      listens(() => relay.bound),
      service({ subdomain: config.subdomain }),
      disco('service', {
        identities: ({ to }) =>
          to.equals(own) ? [{ category: 'proxy', type: 'bytestreams', name: 'File transfer proxy' }] : [],
      }),
      iq.get('service', NS.bytestreams, 'query', address),
      iq.set('service', NS.bytestreams, 'query', activate),
      event('started', () => relay.open()),
      event('stopping', () => relay.close()),
      every(retryMs, () => relay.retry()),
      metric({
        name: 'waxwing_proxy65_streams_total',
        help: 'Streams activated at the file transfer proxy',
        read: () => counts.streams,
      }),
      metric({
        name: 'waxwing_proxy65_bytes_total',
        help: 'Bytes relayed by the file transfer proxy',
        read: () => counts.bytes,
      }),
      metric({
        name: 'waxwing_proxy65_streams',
        help: 'Open streams of the file transfer proxy',
        read: () => counts.active,
      }),
    ];
  },
});

/** §6.3.2: the SHA-1 over the normalised addresses, in hexadecimal. */
export const hashOf = (sid: string, requester: Jid, target: Jid): string =>
  createHash('sha1').update(`${sid}${requester.full}${target.full}`).digest('hex');
