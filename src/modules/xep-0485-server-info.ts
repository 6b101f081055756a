/**
 * XEP-0485: PubSub Server Information: publishes the domain of the host, its software and the servers it is connected
 * with, at the node `serverinfo` of its publish-subscribe service. Disabled by default: whoever publishes it allows
 * other servers to name this one (§7), which only the administrator can decide.
 */
import { z } from 'zod';
import { Jid } from '../server/address/jid.js';
import { monotonic } from '../server/clock.js';
import { seconds } from '../server/config/units.js';
import { answers, defineModule, defineQuestion, event, every, type PeerStream } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { form } from '../server/stanza/forms.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { type Element, el, serialize } from '../server/xml/element.js';
import { Recent } from '../storage/recent.js';

const node = 'serverinfo';
/** §5: open, with one item. */
const nodeOptions = { 'pubsub#access_model': 'open', 'pubsub#max_items': '1', 'pubsub#persist_items': 'true' };
/** Domains whose decision about being named is remembered, and for how long in ms. */
const mostRemembered = 2000;
const rememberedMs = 6 * 3_600_000;
const unreachableMs = 3_600_000;
/** Domains that are asked in one round; others stay unnamed until the next. */
const mostAsked = 50;
const askTimeoutMs = 20_000;

const peerStream = z.object({ local: z.string(), remote: z.string(), direction: z.enum(['in', 'out']) });

/** Asked of every node: its streams with other servers. */
const streamsOf = defineQuestion({ name: 'server_info.streams', given: z.null(), answer: z.array(peerStream) });

export default defineModule({
  name: 'server_info',
  summary: 'Publishes the domain of the host, its software and its connections with other servers.',
  implements: { 'XEP-0485': '1.0.0' },
  optional: true,
  features: { server: [NS.publicServerInfo] },
  needs: ['serverInfo', 'pep'],
  config: z.strictObject({
    software: z.boolean().default(true).describe('Whether to publish the name and version of the server.'),
    remote_domains: z
      .enum(['none', 'counted', 'named'])
      .default('named')
      .describe(
        'Servers that are connected now: "counted" publishes no names; "named" publishes the names of those that publish this information themselves, and counts the others.',
      ),
    update_seconds: seconds({ min: 1 })
      .default(300)
      .describe('How often the information is updated if it has changed.'),
  }),

  start: ({ host, config, services: { serverInfo }, log }) => {
    /** The address of the service. Undefined if there is none. */
    const service = () => host.declared.services().find(({ module }) => module === 'pubsub')?.domain;
    const consents = new Recent<{ readonly until: number; readonly isGiven: boolean }>(mostRemembered);
    /** The published information, as text. */
    let published: string | undefined;
    let isLogged = false;

    /** §2: the node. It is announced once it exists. */
    serverInfo.add(() =>
      published === undefined
        ? undefined
        : { var: 'serverinfo-pubsub-node', type: 'text-single', value: `xmpp:${service()}?;node=${node}` },
    );

    /** §7: whether a server announces that it publishes this information. */
    const consentOf = async (remote: string): Promise<boolean> => {
      const request = Stanza.build('iq', { type: 'get', to: Jid.parse(remote) }, el('query', { xmlns: NS.discoInfo }));
      try {
        const answer = await host.ask(request, { timeoutMs: askTimeoutMs });
        const features = answer.child(NS.discoInfo, 'query')?.getChildren('feature', NS.discoInfo) ?? [];
        const isGiven = features.some(({ attrs }) => attrs.var === NS.publicServerInfo);
        consents.set(remote, { until: monotonic() + rememberedMs, isGiven });
        return isGiven;
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error;
        consents.set(remote, { until: monotonic() + unreachableMs, isGiven: false });
        return false;
      }
    };

    /** Those of the domains that may be named. */
    const named = async (domains: readonly string[]): Promise<ReadonlySet<string>> => {
      if (config.remote_domains !== 'named') return new Set();
      const known = (remote: string) => {
        const consent = consents.get(remote);
        return consent !== undefined && consent.until > monotonic() ? consent.isGiven : undefined;
      };
      const unknown = domains.filter((remote) => known(remote) === undefined).slice(0, mostAsked);
      await Promise.all(unknown.map(consentOf));
      return new Set(domains.filter((remote) => known(remote) === true));
    };

    /** §4. */
    const describe = async (): Promise<Element> => {
      const isOwn = ({ local }: PeerStream) => local === host.domain || local.endsWith(`.${host.domain}`);
      const all = config.remote_domains === 'none' ? [] : (await host.askNodes(streamsOf, null)).flat().filter(isOwn);
      const directions = new Map<string, Set<PeerStream['direction']>>();
      for (const { remote, direction } of all)
        directions.set(remote, (directions.get(remote) ?? new Set()).add(direction));
      const remotes = [...directions.keys()].sort();
      const names = await named(remotes);
      const remoteDomains = remotes.map((remote) => {
        const found = directions.get(remote)!;
        return el(
          'remote-domain',
          { name: names.has(remote) ? remote : undefined },
          found.has('in') ? el('connection', { type: 'incoming' }) : undefined,
          found.has('out') ? el('connection', { type: 'outgoing' }) : undefined,
        );
      });
      const federation = config.remote_domains === 'none' ? undefined : el('federation', null, ...remoteDomains);
      const { name, version } = host.software;
      return el(
        'serverinfo',
        { xmlns: NS.publicServerInfo },
        el('domain', { name: host.domain }, federation),
        config.software
          ? el('query', { xmlns: NS.version }, el('name', null, name), el('version', null, version))
          : undefined,
      );
    };

    /** §5. The service creates the node with the first item. */
    const update = async (): Promise<void> => {
      const domain = service();
      if (domain === undefined) return;
      const information = await describe();
      const text = serialize(information);
      if (text === published) return;
      const options = form({
        type: 'submit',
        formType: `${NS.pubsub}#publish-options`,
        fields: Object.entries(nodeOptions).map(([name, value]) => ({ var: name, type: 'text-single', value })),
      });
      const request = el(
        'pubsub',
        { xmlns: NS.pubsub },
        el('publish', { node }, el('item', { id: 'current' }, information)),
        el('publish-options', null, options),
      );
      try {
        await host.ask(Stanza.build('iq', { type: 'set', to: Jid.parse(domain) }, request));
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error;
        if (isLogged) return;
        isLogged = true;
        log.warn({ err: error, service: domain, node }, 'the information about the server cannot be published');
        return;
      }
      isLogged = false;
      const isFirst = published === undefined;
      published = text;
      if (isFirst) await host.emit('discoChanged', {});
    };

    return [
      answers(streamsOf, () => [...host.peerStreams()]),
      event('started', update),
      every(config.update_seconds * 1000, update, { job: 'server_info' }),
    ];
  },
});
