/**
 * Cost of a stanza on its way through the host, µs of CPU, on memory storage and without sockets. `routed`: from a
 * stanza to the link of its recipient; `in all`: including reading it from text and writing it to a buffer. Eight
 * stanzas per turn of the event loop. `node dist/bench/router.js [part of the name of a case]`
 */
import { setImmediate } from 'node:timers/promises';
import { standardModules } from '../src/modules/index.js';
import presence from '../src/modules/rfc-6121-presence/index.js';
import roster from '../src/modules/rfc-6121-roster/index.js';
import disco from '../src/modules/xep-0030-disco.js';
import blocking from '../src/modules/xep-0191-blocking.js';
import ping from '../src/modules/xep-0199-ping.js';
import carbons, { enabled as copied } from '../src/modules/xep-0280-carbons.js';
import mam from '../src/modules/xep-0313-mam/index.js';
import type { Jid } from '../src/server/address/jid.js';
import type { ModuleDefinition } from '../src/server/module/index.js';
import type { Origin } from '../src/server/routing/passage.js';
import { Session } from '../src/server/routing/session.js';
import { NS } from '../src/server/stanza/ns.js';
import { Stanza } from '../src/server/stanza/stanza.js';
import type { SavedSm } from '../src/server/stream/xep-0198-record.js';
import { Resumables } from '../src/server/stream/xep-0198-resumables.js';
import { Sm } from '../src/server/stream/xep-0198-sm.js';
import { XmlReader } from '../src/server/xml/reader.js';
import { startHost } from '../test/unit/module-host.js';
import { median } from './measure.js';

const wanted = process.argv[2] ?? '';
const perTurn = 8;
const rounds = 5;
const limits = { stanzaBytes: 1 << 18, depth: 100, attributes: 100 };
const buffer = Buffer.alloc(1 << 16);
let delivered = 0;

/** Writes to the buffer only if `isWriting`. */
const outlet = {
  hasRoom: true,
  isWriting: true,
  writeStanza(stanza: Stanza): void {
    delivered++;
    if (outlet.isWriting) buffer.write(stanza.toXml());
  },
  write(xml: string): void {
    if (outlet.isWriting) buffer.write(xml);
  },
  close(): void {},
  stopTaking: () => Promise.resolve(),
};

type Host = Awaited<ReturnType<typeof startHost>>;

/** A bound client, optionally with stream management. */
function connect({ host, directory, storage }: Host, jid: Jid, managed: boolean) {
  const session = new Session(jid, { send: outlet.writeStanza }, 'SCRAM-SHA-256');
  let sm: Sm | undefined;
  if (managed) {
    const resumables = new Resumables(storage.document<SavedSm>('stream_management'), () => {});
    const queue = { queue_stanzas: 1e6, queue_bytes: 1e9 };
    sm = new Sm(
      session,
      host,
      300,
      () => queue,
      () => {},
      resumables,
    );
    sm.attach(outlet);
    session.link = sm;
    session.acknowledges = true;
  }
  directory.add(session);
  const origin: Origin = {
    session,
    acknowledges: managed,
    acknowledgeAfter: (durable) => sm?.waitFor(durable),
  };
  let sent = 0;
  const reader = new XmlReader('stream', limits);
  reader.push(Buffer.from(`<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}'>`));
  reader.next();
  return {
    session,
    says(stanza: Stanza): void | Promise<void> {
      sm?.begin();
      const done = host.fromSession(stanza, session, origin);
      return done === undefined ? sm?.handled() : done.then(() => sm?.handled());
    },
    /** Sends it as text. */
    sends(chunk: Buffer): void | Promise<void> {
      reader.push(chunk);
      const item = reader.next();
      if (item?.kind !== 'element') throw new Error('no whole stanza');
      return this.says(Stanza.fromTopLevel(item, session.jid));
    },
    /** Acknowledges received stanzas and requests acknowledgement. */
    acknowledges(): void {
      if (sm === undefined) return;
      sent += sm.waiting;
      sm.acknowledged(sent);
      sm.requested();
    },
  };
}
type Client = ReturnType<typeof connect>;

const rows: Record<string, Record<string, string>> = {};

/** Measures the first client sending the stanza repeatedly. */
async function measure(what: string, xml: string, clients: readonly Client[]): Promise<void> {
  if (!what.includes(wanted)) return;
  const sender = clients[0]!;
  const chunk = Buffer.from(xml);
  const stanza = Stanza.parse(xml.replace(' ', ` xmlns='${NS.client}' `)).with({ from: sender.session.jid });
  const ways = { routed: () => sender.says(stanza), 'in all': () => sender.sends(chunk) };
  let runs = 0;
  /** µs of CPU per stanza. */
  const repeat = async (say: () => void | Promise<void>, milliseconds: number): Promise<number> => {
    let said = 0;
    const before = process.cpuUsage();
    for (const end = performance.now() + milliseconds; performance.now() < end; said += perTurn) {
      for (let n = 0; n < perTurn; n++) {
        const done = say();
        if (done !== undefined) await done;
      }
      await setImmediate();
      for (const client of clients) client.acknowledges();
    }
    const { user, system } = process.cpuUsage(before);
    runs = said;
    return (user + system) / said;
  };
  const figures: Record<keyof typeof ways, number[]> = { routed: [], 'in all': [] };
  for (let round = -2; round < rounds; round++) {
    for (const [way, say] of Object.entries(ways) as [keyof typeof ways, () => void][]) {
      outlet.isWriting = way === 'in all';
      delivered = 0;
      const figure = await repeat(say, 80);
      if (round >= 0) figures[way].push(figure);
    }
  }
  const [routed, all] = [median(figures.routed), median(figures['in all'])];
  const deliveries = delivered / runs;
  rows[what] = {
    deliveries: deliveries.toFixed(1),
    'routed µs': routed.toFixed(2),
    'in all µs': all.toFixed(2),
    'in all, µs a delivery': (all / deliveries).toFixed(2),
  };
}

/** Runs work with a host of these modules. */
async function run(modules: readonly ModuleDefinition[], work: (host: Host) => Promise<void>): Promise<void> {
  const host = await startHost(modules);
  try {
    await work(host);
  } finally {
    host.stop();
  }
}

/** Available clients of two users with a mutual subscription. Romeo's first resource is `orchard`. */
async function friends(host: Host, devices: number, managed: boolean): Promise<Client[]> {
  const clients: Client[] = [];
  for (const [name, friend] of [
    ['juliet', 'romeo'],
    ['romeo', 'juliet'],
  ] as const) {
    const jid = await host.account(name, { [`${friend}@example.org`]: 'both' });
    for (let device = 0; device < devices; device++)
      clients.push(connect(host, jid.withResource(device === 0 ? 'orchard' : `phone${device}`), managed));
  }
  for (const client of clients) {
    if (copied.slot >= 0) client.session.set(copied, true);
    await client.says(Stanza.build('presence', { from: client.session.jid }));
  }
  return clients;
}

const message =
  "<message to='romeo@example.org/orchard' type='chat' id='b7c1a2f0-93d4-4e57-8a6b-0c1d2e3f4a5b' xml:lang='en'><body>Wherefore art thou, Romeo? Deny thy father.</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>";
const pinging = "<iq to='example.org' type='get' id='ping1'><ping xmlns='urn:xmpp:ping'/></iq>";
const away = `<presence id='p1'><show>away</show><c xmlns='${NS.caps}' hash='sha-1' node='https://conversations.im' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>`;

const everything = `message with ${standardModules.length} modules and acknowledgements`;

await run([], async (host) => {
  const clients = await friends(host, 1, false);
  await measure('message to a full address, no modules', message, clients);
});
await run([roster, disco, blocking, presence, mam, carbons, ping], async (host) => {
  const clients = await friends(host, 1, true);
  await measure('message with archive, carbons and acknowledgements', message, clients);
  await measure('ping of the server', pinging, clients);
});
await run([roster, disco, blocking, presence, mam, carbons], async (host) => {
  await measure('the same message, two devices each', message, await friends(host, 2, true));
});
await run(standardModules, async (host) => {
  await measure(everything, message, await friends(host, 1, true));
});
for (const [what, modules] of [
  ['presence to 50 contacts', [roster, disco, blocking, presence]],
  ['presence to 50 contacts, all modules', standardModules],
] as const) {
  await run(modules, async (host) => {
    const names = Array.from({ length: 50 }, (_, n) => `contact${n}`);
    const juliet = await host.account(
      'juliet',
      Object.fromEntries(names.map((name) => [`${name}@example.org`, 'both'])),
    );
    const clients = [connect(host, juliet.withResource('balcony'), false)];
    for (const name of names) {
      const contact = await host.account(name, { 'juliet@example.org': 'both' });
      clients.push(connect(host, contact.withResource('orchard'), false));
    }
    for (const client of clients) await client.says(Stanza.build('presence', { from: client.session.jid }));
    await measure(what, away, clients);
  });
}
console.table(rows);
