/**
 * A process of its own for the federation benchmark: servers of any number of domains behind one port, and local users of
 * a real server who talk to them; or a DNS server. The parent process calls its functions by messages.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { constants, setPriority } from 'node:os';
import type { SecureContext } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { NS } from '../../src/server/stanza/ns.js';
import type { Pem } from '../../src/server/tls/self-signed.js';
import { DnsServer } from '../../test/dns-server.js';
import type { Place } from '../../test/interop/federation/peer.js';
import { within } from '../../test/interop/server.js';
import { accept, attribute, contextOf, type Line, login, messages, open } from './line.js';

const host = '127.0.1.100';
/** Domains begin with their kind: streams to `both-…` may carry stanzas both ways. */
export type Kind = 'both' | 'one';
export const domainsOf = (kind: Kind, label: string, count: number): string[] =>
  Array.from({ length: count }, (_, n) => `${kind}-${label}-${n}.doubles.example`);
export const certified = '*.doubles.example';

/** Patience with one task, in ms. */
const patience = 60_000;
/** How many streams are opened at once. */
const window = 10;

const body = (text: string): string => `<body>${text}</body>`;

class Doubles {
  #dns!: DnsServer;
  #context!: SecureContext;
  /** Established streams by domain, of those that carry stanzas to the server. */
  readonly #carriers = new Map<string, Line>();
  readonly #lines = new Set<Line>();
  readonly #users: { readonly bare: string; readonly line: Line }[] = [];
  /** Called with the domain of each message that arrived where it should. */
  #arrived: (domain: string) => void = () => {};
  #failed: (error: Error) => void = () => {};
  /** Characters that other servers have sent to domains. */
  #read = 0;
  /** Messages to domains that came back. */
  #returned: string[] = [];

  /** Returns the address of a DNS server. */
  async resolve(): Promise<string> {
    this.#dns = await DnsServer.open({});
    return this.#dns.address;
  }

  /** Returns where the servers of all domains listen. */
  async serve(pem: Pem): Promise<Place> {
    this.#context = contextOf(pem);
    const listener = createServer((socket) => {
      socket.setNoDelay(true);
      accept(socket, this.#context, (domain) => domain.startsWith('both-')).then(
        ({ line, domain, isBidirectional }) => {
          this.#lines.add(line);
          if (isBidirectional) this.#carriers.set(domain, line);
          const came = this.#messages((head) => this.#came(line, head));
          line.listens((text) => {
            this.#read += text.length;
            came(text);
          });
        },
        (error: Error) => this.#failed(error),
      );
    }).listen({ port: 0, host, backlog: 2000 });
    await once(listener, 'listening');
    return { host, port: (listener.address() as AddressInfo).port };
  }

  /** DNS names a place for domains. The target is an address, since ejabberd asks the system for names. */
  publish({ host: target, port }: Place, domains: readonly string[]): void {
    const { addresses, srv } = this.#dns.zone;
    const records = domains.map((domain) => [`_xmpp-server._tcp.${domain}`, [`0 0 ${port} ${target}`]]);
    this.#dns.zone = {
      addresses: { ...addresses, [target]: [target] },
      srv: { ...srv, ...Object.fromEntries(records) },
    };
  }

  /** Leaves the cores to the servers, as if it ran on another machine. */
  yields(): void {
    setPriority(constants.priority.PRIORITY_LOW);
  }

  #messages(came: (head: string) => void): (text: string) => void {
    return messages(came, (stanza) => {
      this.#returned.push(stanza);
      this.#arrived(attribute(stanza, 'from').split('@')[1]!);
    });
  }

  /** A message for a domain: it is answered if the stream allows. */
  #came(line: Line, head: string): void {
    const [to, from] = [attribute(head, 'to'), attribute(head, 'from')];
    const domain = to.split(/[@/]/)[1]!;
    if (this.#carriers.get(domain) !== line) this.#arrived(domain);
    else line.says(`<message type='chat' from='${to}' to='${from}'>${body('And to thee.')}</message>`);
  }

  /** The users of a server who talk. */
  async logIn(place: Place, bares: readonly string[], password: string): Promise<void> {
    for (const { line } of this.#users.splice(0)) line.ends();
    for (const bare of bares) {
      const line = await login(place, bare, password);
      line.listens(this.#messages((head) => this.#arrived(attribute(head, 'from').split('@')[1]!)));
      this.#users.push({ bare, line });
    }
  }

  /**
   * Users write to each domain, `atOnce` at a time. Resolves when all messages have arrived, were answered, or came back:
   * with those that came back.
   */
  async write(domains: readonly string[], atOnce = window): Promise<readonly string[]> {
    this.#returned = [];
    await this.#each(domains, atOnce, async (domain, n) => {
      const { line } = this.#users[n % this.#users.length]!;
      line.says(`<message type='chat' to='juliet@${domain}'>${body('Good morrow.')}</message>`);
    });
    return this.#returned;
  }

  /** Domains open streams and write to the users. Resolves when all have arrived. */
  async visit(place: Place, domains: readonly string[]): Promise<void> {
    await this.#each(domains, window, async (domain, n) => {
      const { bare } = this.#users[n % this.#users.length]!;
      const line = await open(place, this.#context, domain, bare.split('@')[1]!);
      this.#lines.add(line);
      line.listens(() => {});
      line.says(`<message type='chat' from='juliet@${domain}' to='${bare}/r'>${body('Good morrow.')}</message>`);
    });
  }

  /** The first user opens a room, and a user of each domain enters it. Resolves when all have got a message there. */
  async enter(place: Place, domains: readonly string[], room: string): Promise<void> {
    const { line } = this.#users[0]!;
    const joins = (from: string, nick: string) =>
      `<presence ${from}to='${room}/${nick}'><x xmlns='${NS.muc}'/></presence>`;
    const form = `<x xmlns='${NS.dataForms}' type='submit'/>`;
    line.says(joins('', 'owner'));
    line.says(`<iq type='set' id='open' to='${room}'><query xmlns='${NS.mucOwner}'>${form}</query></iq>`);
    await this.#each(domains, window, async (domain) => {
      const stream = await open(place, this.#context, domain, room.split('@')[1]!);
      this.#lines.add(stream);
      stream.listens(() => {});
      stream.says(joins(`from='juliet@${domain}/r' `, domain));
      stream.says(`<message from='juliet@${domain}/r' to='${room}' type='groupchat'>${body('Here.')}</message>`);
    });
  }

  /** The first user says so many things in a room, each when the one before has arrived. Returns the characters read. */
  async speak(domains: readonly string[], room: string, count: number): Promise<number> {
    const before = this.#read;
    for (let n = 0; n < count; n++)
      await this.#each(domains, 1, async (_, at) => {
        if (at === 0)
          this.#users[0]!.line.says(`<message to='${room}' type='groupchat'>${body(`Say ${n}.`)}</message>`);
      });
    return this.#read - before;
  }

  /** Begins something for each domain, and waits until a message has arrived for all. */
  #each(
    domains: readonly string[],
    atOnce: number,
    begin: (domain: string, n: number) => Promise<void>,
  ): Promise<void> {
    const missing = new Set(domains);
    let next = 0;
    return within(
      patience,
      `messages with ${domains.length} domains`,
      () =>
        new Promise<void>((resolve, reject) => {
          this.#failed = reject;
          const go = (): void => {
            const n = next++;
            if (n < domains.length) begin(domains[n]!, n).catch(reject);
          };
          this.#arrived = (domain) => {
            if (!missing.delete(domain)) return;
            if (missing.size === 0) resolve();
            go();
          };
          for (let n = 0; n < atOnce; n++) go();
        }),
    );
  }

  /** Users write to the domains in turn, evenly, for so many ms. Returns how many messages arrived or were answered. */
  talk(domains: readonly string[], perSecond: number, ms: number): Promise<number> {
    let [sent, arrived] = [0, 0];
    const start = performance.now();
    this.#arrived = () => arrived++;
    return new Promise((resolve) => {
      const timer = setInterval(() => {
        const elapsed = performance.now() - start;
        for (const due = (Math.min(elapsed, ms) * perSecond) / 1000; sent < due; sent++) {
          const { line } = this.#users[sent % this.#users.length]!;
          line.says(
            `<message type='chat' to='juliet@${domains[sent % domains.length]}'>${body('And again.')}</message>`,
          );
        }
        if (elapsed < ms + 500) return;
        clearInterval(timer);
        resolve(arrived);
      }, 2);
    });
  }

  /** Ends all streams of domains. */
  hangUp(): void {
    for (const line of this.#lines) line.ends();
    this.#lines.clear();
    this.#carriers.clear();
  }
}

interface Call {
  readonly id: number;
  readonly name: keyof Doubles;
  readonly args: readonly unknown[];
}

type Promised<F> = F extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>> : never;
export type Remote = { readonly [K in keyof Doubles]: Promised<Doubles[K]> } & { readonly end: () => void };

/** Starts the process. */
export function startDoubles(): Remote {
  const child = fork(fileURLToPath(import.meta.url), ['doubles']);
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  let last = 0;
  child.on('message', ({ id, value, error }: { id: number; value?: unknown; error?: string }) => {
    const { resolve, reject } = waiting.get(id)!;
    waiting.delete(id);
    if (error === undefined) resolve(value);
    else reject(new Error(error));
  });
  child.on('exit', () => {
    for (const { reject } of waiting.values()) reject(new Error('the doubles have ended'));
  });
  const call = (name: string, args: readonly unknown[]): Promise<unknown> =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      child.send({ id: last, name, args });
    });
  return new Proxy({} as Remote, {
    get: (_, name: string) =>
      name === 'end' ? () => void child.kill() : (...args: readonly unknown[]) => call(name, args),
  });
}

if (process.argv[2] === 'doubles') {
  const doubles = new Doubles();
  process.on('disconnect', () => process.exit());
  process.on('message', ({ id, name, args }: Call) => {
    Promise.resolve()
      .then(() => (doubles[name] as (...all: readonly unknown[]) => unknown)(...args))
      .then(
        (value) => process.send!({ id, value }),
        (error: unknown) => process.send!({ id, error: String((error as Error).stack ?? error) }),
      );
  });
}
