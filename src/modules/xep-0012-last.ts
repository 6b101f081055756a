/**
 * XEP-0012: Last Activity. Since when an account has been offline, for contacts that may see its presence, and the
 * uptime of the server. Queries to a resource are delivered only from senders that may see its presence.
 */
import { z } from 'zod';
import { monotonic, wall } from '../server/clock.js';
import { admit, defineModule, document, event, every, type IqHandler, iq } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import type { Stanza } from '../server/stanza/stanza.js';
import { type Element, el } from '../server/xml/element.js';

interface Activity {
  /** When the account went offline, in ms since 1970; while it is online, when it came online. */
  readonly at: number;
  /** The status of its unavailable presence. */
  readonly status?: string;
  /** Set while the account is online: the start of the server run in which it came online. */
  readonly run?: number;
}

/** One run of the server, from its start to its end or to the last time it was seen running; in ms since 1970. */
interface Run {
  readonly from: number;
  readonly to: number;
}

const minute = 60_000;
/** Server runs that are stored. */
const mostRuns = 200;
/** Maximum characters of a stored status. */
const longestStatus = 1024;
/** Writes are batched: flushed this many ms after the first, or when this many are pending. */
const writeAfter = 1000;
const mostUnwritten = 1000;

export default defineModule({
  name: 'last',
  summary: 'Answers when an account was last online, and the uptime of the server.',
  implements: { 'XEP-0012': '2.0' },
  features: { server: [NS.last], account: [NS.last] },
  stores: {
    last_activity: document<Activity>({
      storedAs: 'last_activity',
      isPortable: true,
      mayBeLost: {},
      value: z.object({ at: z.number(), status: z.string().exactOptional(), run: z.number().exactOptional() }),
    }),
    server_runs: document<readonly Run[]>({
      storedAs: 'server_runs',
      value: z.array(z.object({ from: z.number(), to: z.number() })),
    }),
  },

  start: async ({ host, stores, log }) => {
    const from = wall();
    const started = monotonic();
    const before = ((await stores.server_runs.get(host.domain)) ?? []).slice(-mostRuns);
    // Lets a restart after a crash work out when all online accounts went offline.
    const note = () => stores.server_runs.set(host.domain, [...before, { from, to: wall() }]);
    await note();

    /** A crash may lose these; the accounts then count as offline since the end of that run. */
    const unwritten = new Map<string, Activity>();
    let timer: NodeJS.Timeout | undefined;
    let isStopping = false;
    /** Never rejects. */
    const write = () => {
      clearTimeout(timer);
      const writes = [...unwritten].map(([bare, activity]) => stores.last_activity.set(bare, activity));
      unwritten.clear();
      return Promise.all(writes).catch((error: unknown) =>
        log.error({ err: error }, 'last activity could not be persisted'),
      );
    };
    const is = (bare: string, activity: Activity) => {
      unwritten.set(bare, activity);
      if (unwritten.size === 1) timer = setTimeout(write, writeAfter).unref();
      if (isStopping || unwritten.size >= mostUnwritten) void write();
    };

    const isElsewhereToo = (owner: string, jid: { readonly full: string }) =>
      host.sessions(owner).some((other) => other.available && other.jid.full !== jid.full);

    const ended = ({ at, run }: Activity): number =>
      run === undefined ? at : Math.max(at, before.find((other) => other.from === run)?.to ?? at);

    const answer: IqHandler = async ({ from, to: owner }) => {
      // §3: forbidden also for accounts that do not exist
      if (!(await host.permits('contacts', from, owner))) throw new StanzaError('forbidden');
      if (host.sessions(owner.bare).some(({ available }) => available)) return last(0);
      const activity = unwritten.get(owner.bare) ?? (await stores.last_activity.get(owner.bare));
      if (activity === undefined) throw new StanzaError('item-not-found');
      return last(Math.max(0, wall() - ended(activity)), activity.status);
    };

    return [
      iq.get('account', NS.last, 'query', answer, { access: 'anyone', absent: true }),
      iq.get('server', NS.last, 'query', () => last(monotonic() - started)), // §5
      // §4: a query to a resource is not delivered unless the sender may see its presence
      admit(
        ({ way, owner, peer, stanza }) => {
          if (way !== 'in' || !asksLast(stanza) || stanza.to?.resource === undefined) return undefined;
          const permitted = host.permits('contacts', peer, owner);
          return permitted instanceof Promise ? permitted.then(demand) : demand(permitted);
        },
        { after: ['strangers'] },
      ),
      event('leaving', () => write().then(() => {})),
      event('available', ({ session: { jid } }) => {
        if (!isElsewhereToo(jid.bare, jid)) is(jid.bare, { at: wall(), run: from });
      }),
      event('unavailable', ({ session: { jid }, stanza }) => {
        if (isElsewhereToo(jid.bare, jid)) return;
        const status = Array.from(stanza.text(NS.client, 'status') ?? '')
          .slice(0, longestStatus)
          .join('');
        is(jid.bare, { at: wall(), ...(status && { status }) });
      }),
      event('accountDeleted', ({ jid }) => {
        unwritten.delete(jid.bare);
        return stores.last_activity.forget(jid.bare);
      }),
      event('stopping', async () => {
        isStopping = true; // sessions end after this
        await write();
      }),
      every(minute, note),
    ];
  },
});

const last = (ms: number, text?: string): Element =>
  el('query', { xmlns: NS.last, seconds: String(Math.max(0, Math.floor(ms / 1000))) }, text);

const asksLast = (stanza: Stanza): boolean =>
  stanza.name === 'iq' && stanza.type === 'get' && stanza.has(NS.last, 'query');

function demand(permitted: boolean): void {
  if (!permitted) throw new StanzaError('forbidden');
}
