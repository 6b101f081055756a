/**
 * XEP-0012: Last Activity. How long an account has been away, for those who may see its presence, and how long the
 * server has been running. What a client answers for its resource passes, from those who may ask.
 */
import { z } from 'zod';
import { monotonic, wall } from '../server/clock.js';
import { admit, defineModule, document, event, every, type IqHandler, iq } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import type { Stanza } from '../server/stanza/stanza.js';
import { type Element, el } from '../server/xml/element.js';

interface Activity {
  /** When the account went, in ms; while it is there, when it came. */
  readonly at: number;
  /** Of its unavailable presence. */
  readonly status?: string;
  /** It is there, in the run of the server that began then. */
  readonly run?: number;
}

/** From the start of the server to the end, or to when it was last seen running; in ms. */
interface Run {
  readonly from: number;
  readonly to: number;
}

const minute = 60_000;
/** Runs that are remembered. */
const mostRuns = 200;
/** Of a status text, in characters. */
const longestStatus = 1024;
/** Comings and goings are written together, so many ms after the first of them or when they are so many. */
const writeAfter = 1000;
const mostUnwritten = 1000;

export default defineModule({
  name: 'last',
  summary: 'Tells contacts how long an account has been away, and anybody how long the server has been running.',
  implements: { 'XEP-0012': '2.0' },
  features: { server: [NS.last], account: [NS.last] },
  stores: {
    last_activity: document<Activity>({
      storedAs: 'last_activity',
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
    // So that a crash leaves behind when it happened, for all that were online.
    const note = () => stores.server_runs.set(host.domain, [...before, { from, to: wall() }]);
    await note();

    /** Nobody was promised these: a crash may take them, and then they have gone when the process did. */
    const unwritten = new Map<string, Activity>();
    let timer: NodeJS.Timeout | undefined;
    let isStopping = false;
    /** Never rejects. */
    const write = () => {
      clearTimeout(timer);
      const writes = [...unwritten].map(([bare, activity]) => stores.last_activity.set(bare, activity));
      unwritten.clear();
      return Promise.all(writes).catch((error: unknown) => log.error({ err: error }, 'last activity is not written'));
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
      // §3: forbidden is said for accounts that are not there too
      if (!(await host.permits('contacts', from, owner))) throw new StanzaError('forbidden');
      if (host.sessions(owner.bare).some(({ available }) => available)) return last(0);
      const activity = unwritten.get(owner.bare) ?? (await stores.last_activity.get(owner.bare));
      if (activity === undefined) throw new StanzaError('item-not-found');
      return last(Math.max(0, wall() - ended(activity)), activity.status);
    };

    return [
      iq.get('account', NS.last, 'query', answer, { access: 'anyone', absent: true }),
      iq.get('server', NS.last, 'query', () => last(monotonic() - started)), // §5
      // §4: the question to a resource is not delivered for those who may not see presence
      admit(
        ({ way, owner, peer, stanza }) => {
          if (way !== 'in' || !asksLast(stanza) || stanza.to?.resource === undefined) return undefined;
          const permitted = host.permits('contacts', peer, owner);
          return permitted instanceof Promise ? permitted.then(demand) : demand(permitted);
        },
        { after: ['strangers'] },
      ),
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
        isStopping = true; // the sessions end after this
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
