/**
 * XEP-0115: what the clients of this host can do, learned from their presence: each version is asked for once, verified,
 * and known from then on, across restarts. An answer that does not prove what was announced counts for that one session.
 * What the server says of itself is in xep-0115-caps.ts.
 */
import { z } from 'zod';
import { count } from '../server/config/units.js';
import { defineModule, event, map } from '../server/module.js';
import type { Session } from '../server/routing/session.js';
import { provesCaps, readInfo } from '../server/stanza/caps.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { type Element, el } from '../server/xml/element.js';

declare module '../server/module.js' {
  interface Services {
    clientCaps: {
      /** The features of an available session; none until they are known. Not to be changed. */
      features(session: Session): ReadonlySet<string>;
    };
  }
  interface Events {
    /** What an available session can do is known; `gained`: features that it did not have since it became available. */
    featuresKnown: { readonly session: Session; readonly gained: ReadonlySet<string> };
  }
}

interface Announced {
  readonly hash: string | undefined;
  readonly node: string;
  readonly ver: string;
}

/** A version, as it is kept. */
interface Stored {
  readonly at: number;
  readonly features: readonly string[];
}

/** What is known of one session. */
interface Known {
  /** The version that it announced. */
  readonly key: string;
  readonly caps: Announced;
  /** undefined: asked for. */
  features: ReadonlySet<string> | undefined;
  /** Those of the version before, while the answer is awaited. */
  readonly before: ReadonlySet<string>;
}

const none: ReadonlySet<string> = new Set();
/** Of one client: features, and characters of one. What is more than that is not kept. */
const mostFeatures = 500;
const longestFeature = 1000;
/** Whoever does not answer for so long is passed over. */
const patienceMs = 10_000;
/** Characters of hash, ver and node together. */
const longestKey = 2000;

export default defineModule({
  name: 'client_caps',
  summary: 'Learns what clients can do from the capabilities that they announce.',
  implements: { 'XEP-0115': '1.6.0' },
  config: z.strictObject({
    kept: count({ min: 10 })
      .default(2000)
      .describe('Versions of clients whose capabilities are kept; the oldest make room.'),
  }),
  stores: { client_caps: map<Stored>() },
  provides: ['clientCaps'],

  start: async ({ host, config, stores: { client_caps: store }, provide, log }) => {
    /** Verified versions, the oldest first. */
    const versions = new Map<string, ReadonlySet<string>>();
    const sessions = new WeakMap<Session, Known>();
    /** Sessions that wait for what the first of them answers. */
    const asking = new Map<string, Session[]>();
    /** Sessions that have been asked and have not answered: each is asked one thing at a time. */
    const busy = new WeakSet<Session>();

    const kept = [...(await store.all(host.domain))].sort(([, one], [, other]) => one.at - other.at);
    for (const [key, { features }] of kept.slice(-config.kept)) versions.set(key, new Set(features));
    if (kept.length > config.kept)
      await store.delete(
        host.domain,
        kept.slice(0, -config.kept).map(([key]) => key),
      );

    const settle = (session: Session, known: Known, features: ReadonlySet<string>): void => {
      known.features = features;
      const gained =
        known.before.size === 0 ? features : new Set([...features].filter((one) => !known.before.has(one)));
      if (gained.size > 0) void host.emit('featuresKnown', { session, gained });
    };

    const keep = (key: string, features: ReadonlySet<string>): void => {
      const failed = (error: unknown) => log.warn({ err: error }, 'capabilities could not be kept');
      versions.set(key, features);
      store.set(host.domain, [[key, { at: Date.now(), features: [...features] }]]).catch(failed);
      if (versions.size <= config.kept) return;
      const [oldest] = versions.keys();
      versions.delete(oldest!);
      store.delete(host.domain, [oldest!]).catch(failed);
    };

    /** The sessions that still announce this version and wait for its meaning. */
    const waitingFor = (key: string, all: readonly Session[]) =>
      all.flatMap((session) => {
        const known = sessions.get(session);
        return known?.key === key && known.features === undefined && session.available ? [{ session, known }] : [];
      });

    /** Asks one after the other until an answer proves what was announced: that is everybody's then. */
    const ask = async (key: string, caps: Announced): Promise<void> => {
      const queue = asking.get(key)!;
      for (let at = 0; at < queue.length; at++) {
        const asked = waitingFor(key, [queue[at]!])[0];
        if (asked === undefined) continue;
        busy.add(asked.session);
        const features = await featuresOf(asked.session, caps).finally(() => busy.delete(asked.session));
        const proven = features?.proven === true;
        if (proven) keep(key, features.features);
        for (const { session, known } of proven ? waitingFor(key, queue) : waitingFor(key, [asked.session])) {
          if (features !== undefined) settle(session, known, features.features);
          else sessions.delete(session); // asked again when it next sends presence
        }
        // It may have announced something else meanwhile.
        const now = sessions.get(asked.session);
        if (now !== undefined && now.key !== key && now.features === undefined) learn(asked.session, now);
      }
      asking.delete(key);
    };

    const featuresOf = async (
      session: Session,
      { hash, node, ver }: Announced,
    ): Promise<{ features: ReadonlySet<string>; proven: boolean } | undefined> => {
      const query = el('query', { xmlns: NS.discoInfo, node: `${node}#${ver}` });
      let answer: Element | undefined;
      try {
        const result = await host.ask(Stanza.build('iq', { type: 'get', from: host.jid, to: session.jid }, query), {
          timeoutMs: patienceMs,
        });
        answer = result.child(NS.discoInfo, 'query');
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error;
      }
      const info = answer === undefined ? null : readInfo(answer);
      if (answer === undefined || info === null) return undefined;
      const names = info.features.filter(({ length }) => length <= longestFeature).slice(0, mostFeatures);
      // A copy, so that the names do not keep alive the stanza that they were cut from.
      const features = new Set(JSON.parse(JSON.stringify(names)) as string[]);
      return { features, proven: hash !== undefined && provesCaps(answer, hash, ver) === true };
    };

    const look = (session: Session, isNew: boolean): void => {
      const caps = session.presence && announcedIn(session.presence);
      if (caps === undefined) {
        sessions.delete(session);
        return;
      }
      const key = `${caps.hash ?? ''}\n${caps.ver}\n${caps.node}`;
      const last = isNew ? undefined : sessions.get(session);
      if (last?.key === key) return;
      const known: Known = { key, caps, features: undefined, before: last?.features ?? last?.before ?? none };
      sessions.set(session, known);
      learn(session, known);
    };

    /** From what is kept, or by asking. */
    const learn = (session: Session, known: Known): void => {
      const { key, caps } = known;
      const features = versions.get(key);
      if (features !== undefined) {
        settle(session, known, features);
        return;
      }
      if (busy.has(session)) return; // afterwards
      const queue = asking.get(key);
      if (queue !== undefined) {
        if (!queue.includes(session)) queue.push(session);
        return;
      }
      asking.set(key, [session]);
      ask(key, caps).catch((error: unknown) => {
        asking.delete(key);
        log.error({ err: error }, 'capabilities could not be learned');
      });
    };

    provide('clientCaps', {
      features: (session) => {
        const known = sessions.get(session);
        return known === undefined ? none : (known.features ?? known.before);
      },
    });

    return [
      event('available', ({ session }) => look(session, true)),
      event('presenceChanged', ({ session }) => look(session, false)),
      event('unavailable', ({ session }) => void sessions.delete(session)),
    ];
  },
});

/** §4; undefined where the presence announces nothing, or more than anybody needs. */
function announcedIn(presence: Stanza): Announced | undefined {
  const c = presence.child(NS.caps, 'c');
  const { hash, node, ver } = c?.attrs ?? {};
  if (node === undefined || ver === undefined) return undefined;
  if (node.length + ver.length + (hash?.length ?? 0) > longestKey) return undefined;
  return { hash, node, ver };
}
