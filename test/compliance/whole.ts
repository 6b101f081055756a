/** The nodes of a cluster as one server, for dialogues that look inside it. */
import { Jid } from '../../src/server/address/jid.js';
import type { Host, Inspection, Server } from '../../src/server/index.js';
import type { Session } from '../../src/server/routing/session.js';

/** Where an address lives. */
export type HomeOf = (jid: Jid) => Server;

/**
 * What concerns an account is asked of its home, counts are those of all nodes together, and what changes a server changes
 * each. Everything else (ports, configuration, hosts) is the first node's.
 */
export function whole(nodes: readonly Server[], homeOf: HomeOf): Server {
  const [first] = nodes;
  const home = (address: string): Server => homeOf(Jid.parse(address));
  const sum = (count: (node: Server) => number): number => nodes.reduce((total, node) => total + count(node), 0);
  const each = <T>(act: (node: Server) => Promise<T>): Promise<T[]> => Promise.all(nodes.map(act));
  const of: Partial<Server> = {
    sessions: replaced(first!.sessions, {
      of: (bare) => home(bare).sessions.of(bare),
      find: (jid) => homeOf(jid).sessions.find(jid),
      add: (session) => homeOf(session.jid).sessions.add(session),
      remove: (session) => homeOf(session.jid).sessions.remove(session),
      *all() {
        for (const node of nodes) yield* node.sessions.all();
      },
      get size() {
        return sum(({ sessions }) => sessions.size);
      },
    }),
    accounts: new Proxy(first!.accounts, {
      get(accounts, name) {
        const value = Reflect.get(accounts, name, accounts) as unknown;
        if (typeof value !== 'function') return value;
        // All but a few methods begin with the address of the account.
        return (...args: unknown[]) => {
          const jid = args[0] instanceof Jid ? args[0] : Jid.tryParse(String(args[0]));
          const at = jid === undefined ? accounts : homeOf(jid).accounts;
          return Reflect.apply(Reflect.get(at, name, at) as typeof value, at, args) as unknown;
        };
      },
    }),
    metrics: replaced(first!.metrics, {
      async text() {
        const pages = await each(({ metrics }) => metrics.text());
        return { type: pages[0]!.type, text: summed(pages.map(({ text }) => text)) };
      },
    }),
    usages: replaced(first!.usages, {
      of: (owner) => home(owner).usages.of(owner),
      changed: (owner) => home(owner).usages.changed(owner),
    }),
    components: {
      get figures() {
        return first!.components.figures.map((one, at) => {
          const same = nodes.map(({ components }) => components.figures[at]!);
          const total = (count: (of: typeof one) => number) => same.reduce((so, of) => so + count(of), 0);
          return {
            domain: one.domain,
            connections: same.flatMap(({ connections }) => connections),
            received: total(({ received }) => received),
            sent: total(({ sent }) => sent),
            refusedLogins: total(({ refusedLogins }) => refusedLogins),
            waitingBytes: total(({ waitingBytes }) => waitingBytes),
          };
        });
      },
      kick: (domain) => {
        const closed = nodes.map(({ components }) => components.kick(domain));
        return closed.includes(undefined) ? undefined : closed.reduce<number>((so, count) => so + (count ?? 0), 0);
      },
    },
    writtenBy: (bare) => home(bare).writtenBy(bare),
    disk: {
      get space() {
        return first!.disk.space;
      },
      get isLow() {
        return nodes.some(({ disk }) => disk.isLow);
      },
      async look() {
        await each(({ disk }) => disk.look());
      },
    },
    get connections() {
      const kinds = Object.keys(first!.connections);
      return Object.fromEntries(kinds.map((kind) => [kind, sum(({ connections }) => connections[kind] ?? 0)]));
    },
    get hibernating() {
      return sum(({ hibernating }) => hibernating);
    },
    inspect() {
      const counts = nodes.map((node) => node.inspect());
      const names = Object.keys(counts[0]!) as (keyof Inspection)[];
      const total = (name: keyof Inspection) => counts.reduce((so, count) => so + count[name], 0);
      return Object.fromEntries(names.map((name) => [name, total(name)])) as unknown as Inspection;
    },
    host: (domain) => {
      const host = first!.host(domain);
      const at = (session: Session): Host => homeOf(session.jid).host(domain)!;
      return (
        host &&
        replaced(host, {
          fromSession: (stanza, session, origin) => at(session).fromSession(stanza, session, origin),
          sessions: (owner) => home(owner).sessions.of(owner),
        })
      );
    },
    kick: (session, text) => homeOf(session.jid).kick(session, text),
    reload: async () => (await each((node) => node.reload()))[0]!,
    stop: async () => {
      for (const node of nodes) await node.stop();
    },
  };
  return replaced(first!, of);
}

/** An object with some of its members replaced. */
function replaced<T extends object>(object: T, members: Partial<T>): T {
  return new Proxy(object, {
    get(target, name) {
      if (name in members) return Reflect.get(members, name, members);
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Pages of metrics as one: samples of the same name and labels are added. */
function summed(pages: readonly string[]): string {
  const lines = new Map<string, number | undefined>();
  for (const line of pages.flatMap((page) => page.split('\n'))) {
    const sample = /^([^#].*) (\S+)$/.exec(line);
    if (sample === null) lines.set(line, undefined);
    else lines.set(sample[1]!, (lines.get(sample[1]!) ?? 0) + Number(sample[2]));
  }
  return [...lines].map(([name, value]) => (value === undefined ? name : `${name} ${value}`)).join('\n');
}
