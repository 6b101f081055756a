/**
 * Cost of a page from archives of different lengths on SQLite, and cost of archiving a message.
 *
 *     node dist/bench/mam.js [messages of the longest archive]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import pino from 'pino';
import roster from '../src/modules/rfc-6121-roster/index.js';
import mam from '../src/modules/xep-0313-mam/index.js';
import retraction from '../src/modules/xep-0424-retraction.js';
import inbox from '../src/modules/xep-0430-inbox.js';
import preferences from '../src/modules/xep-0441-mam-prefs.js';
import { Accounts } from '../src/server/accounts/index.js';
import { Jid } from '../src/server/address/jid.js';
import { loadConfig } from '../src/server/config/load.js';
import { chooseModules, startModules } from '../src/server/loader.js';
import { exportOf } from '../src/server/portable/export.js';
import { SessionDirectory } from '../src/server/routing/directory.js';
import { LocalHost } from '../src/server/routing/host.js';
import { Router, serverOrigin } from '../src/server/routing/router.js';
import { Session } from '../src/server/routing/session.js';
import { idAt } from '../src/server/stanza/ids.js';
import { NS } from '../src/server/stanza/ns.js';
import { Stanza } from '../src/server/stanza/stanza.js';
import { openFiles } from '../src/storage/files/index.js';
import { openSqlite } from '../src/storage/sqlite/index.js';

const longest = Number(process.argv[2] ?? 1_000_000);
const lengths = [1000, 100_000, 1_000_000].filter((length) => length <= longest);
const rounds = 400;
const peers = 50;

const modules = [roster, mam, preferences, retraction, inbox];
const folder = mkdtempSync(join(tmpdir(), 'mam-'));
const storage = await openSqlite({ file: join(folder, 'waxwing.db') });
const settings = loadConfig({
  text: '[hosts."example.org"]',
  modules,
  overrides: { data: folder, modules: { mam: { keep_messages: Number.POSITIVE_INFINITY } } },
});
const log = pino({ level: 'silent' });
const directory = new SessionDirectory();
const router = new Router();
const host = new LocalHost({
  domain: 'example.org',
  router,
  directory,
  accounts: await Accounts.open({ storage, hashes: ['SHA-256'] }),
  config: () => settings,
  checkPassword: () => ({ refused: 'wrong' }),
  exportOf: (one, owner) => exportOf(one, owner, { keys: false }),
  log,
  software: { name: 'Waxwing', version: '0' },
  publicUrl: () => undefined,
  limitHit: () => {},
  canRestart: false,
  halt: async () => {},
  end: () => {},
});
router.add(host.domain, host);
host.start(
  await startModules(host, chooseModules(modules, settings), {
    storage,
    blobs: openFiles(settings.storage.files.folder),
    config: settings,
    log,
  }),
);

const words = Array.from({ length: 3000 }, (_, n) => `w${((n * 7919) % 3000).toString(36)}`);
/** Each word is in 0.4 % of messages, `odd` and `even` in half of them each, `rare` in one of 50,000. */
const body = (n: number): string => {
  const said = Array.from({ length: 12 }, (_, k) => words[(n * 31 + k * k * 17) % 3000]);
  return [...said, n % 2 ? 'odd' : 'even', ...(n % 50_000 === 7 ? ['rare'] : [])].join(' ');
};
const messageXml = (n: number, owner: string): string =>
  `<message xmlns="${NS.client}" to="${owner}" from="u${n % peers}@example.org/phone" type="chat" id="m${n}">` +
  `<body>${body(n)}</body><origin-id xmlns="${NS.stanzaId}" id="m${n}"/><request xmlns="${NS.receipts}"/></message>`;

/** The id of the n-th message, at one message per second. */
const idOf = (n: number): string => `${idAt(1_700_000_000_000 + n * 1000).slice(0, 12)}0000`;

async function fill(owner: string, length: number): Promise<void> {
  const archive = storage.log('archive');
  for (let n = 0; n < length; n += 500) {
    const entries = Array.from({ length: Math.min(500, length - n) }, (_, k) => ({
      id: idOf(n + k),
      with: `u${(n + k) % peers}@example.org`,
      value: messageXml(n + k, owner),
    }));
    await Promise.all(entries.map((entry) => archive.append(owner, entry)));
  }
}

let written = 0;
const connect = (full: string): Session => {
  const session = new Session(Jid.parse(full), {
    send: (stanza) => {
      written += stanza.toXml().length;
      if (stanza.type === 'error') throw new Error(stanza.toXml());
    },
  });
  directory.add(session);
  return session;
};

const cpu = (since?: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
};

/** Milliseconds of CPU per call. */
async function cost(times: number, work: (n: number) => Promise<unknown> | void): Promise<number> {
  for (let n = 0; n < Math.min(times, 200); n++) await work(n);
  const before = process.cpuUsage();
  for (let n = 0; n < times; n++) await work(n);
  return cpu(before) / times;
}

/**
 * Runs work while monitoring the event loop. Returns ms of CPU, and the length of turns, which on a busy machine
 * includes other processes.
 */
async function monitored(work: () => Promise<unknown>): Promise<{ ms: number; turns: string }> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const before = process.cpuUsage();
  await work();
  delay.disable();
  const at = (percentile: number): string => (delay.percentile(percentile) / 1e6).toFixed(0);
  return { ms: cpu(before), turns: `a turn of the event loop ${at(50)} ms, 99 % ${at(99)} ms` };
}

const field = (name: string, value: string): string => `<field var="${name}"><value>${value}</value></field>`;
const form = (...fields: string[]): string =>
  `<x xmlns="${NS.dataForms}" type="submit">${field('FORM_TYPE', NS.mam)}${fields.join('')}</x>`;
const set = (inner: string): string => `<set xmlns="${NS.rsm}">${inner}</set>`;

try {
  for (const length of lengths) {
    const session = connect(`a${length}@example.org/desk`);
    const owner = session.jid.bare;
    await fill(owner, length);
    const origin = { ...serverOrigin, session };
    const ask = (inner: string) =>
      host.fromSession(
        Stanza.parse(`<iq type="set" id="1"><query xmlns="${NS.mam}" queryid="q">${inner}</query></iq>`).with({
          from: session.jid,
        }),
        session,
        origin,
      ) as Promise<void>;
    const middle = (n: number) => idOf(Math.floor((length * (n % 97)) / 100));
    const pages: Record<string, (n: number) => string> = {
      'the first page': () => '',
      'the last page': () => set('<max>50</max><before/>'),
      'after a message': (n) => set(`<max>50</max><after>${middle(n)}</after>`),
      'before a message': (n) => set(`<max>50</max><before>${idOf(length - 1 - (n % 97))}</before>`),
      'with somebody, after a message': (n) =>
        form(field('with', `u${n % peers}@example.org`), field('after-id', middle(n))) + set('<max>20</max>'),
      'from a time on': (n) =>
        form(field('start', new Date(1_700_000_000_000 + 1000 * Math.floor(length * (n % 97) * 0.01)).toISOString())),
      'of 250': (n) => set(`<max>250</max><after>${middle(n % 70)}</after>`),
      'the number alone': () => set('<max>0</max>'),
    };
    console.log(`an archive of ${length} messages`);
    for (const [title, page] of Object.entries(pages)) {
      written = 0;
      const ms = await cost(rounds, (n) => ask(page(n)));
      const kilobytes = (written / (rounds + 200) / 1024).toFixed(0);
      console.log(`  ${title.padEnd(32)} ${ms.toFixed(3)} ms CPU ${kilobytes.padStart(4)} KiB`);
    }
    const list = () =>
      host.fromSession(
        Stanza.parse(`<iq type="get" id="1"><inbox xmlns="${NS.inbox}"/></iq>`).with({ from: session.jid }),
        session,
        origin,
      );
    const start = process.cpuUsage();
    await list();
    console.log(`  ${'the inbox, asked for first'.padEnd(32)} ${cpu(start).toFixed(3)} ms CPU`);
    console.log(`  ${'the inbox, asked for again'.padEnd(32)} ${(await cost(rounds, list)).toFixed(3)} ms CPU`);
    const fulltext = (...said: string[]): string => field(`{${NS.fullText}}fulltext`, said.join(' '));
    const last = set('<max>50</max><before/>');
    const first = await monitored(() => ask(form(fulltext('rare')) + last));
    const each = ((first.ms / length) * 1000).toFixed(1);
    console.log(`  the first search, which makes the index: ${each} us CPU a message; ${first.turns}`);
    const searches: Record<string, (n: number) => string> = {
      'a rare word, the last 50': () => form(fulltext('rare')) + last,
      'a word, the last 50': (n) => form(fulltext(words[n]!)) + last,
      'a word, the first 50': (n) => form(fulltext(words[n]!)) + set('<max>50</max>'),
      'a word of half of them': () => form(fulltext('even')) + last,
      'the same, after a message': (n) => form(fulltext('even')) + set(`<max>50</max><after>${middle(n)}</after>`),
      'two words': (n) => form(fulltext(words[n]!, 'odd')) + last,
      'three words, with somebody': (n) =>
        form(fulltext(...body(n).split(' ').slice(0, 3)), field('with', `u${n % peers}@example.org`)) + last,
      'words never together': () => form(fulltext('odd', 'even')) + last,
      'a word that nobody wrote': () => form(fulltext('even', 'neverwritten')) + last,
      'how many have a word': (n) => form(fulltext(words[n]!)) + set('<max>0</max>'),
    };
    for (const [title, search] of Object.entries(searches)) {
      const ms = await cost(20, (n) => ask(search(n)));
      console.log(`  ${title.padEnd(32)} ${ms.toFixed(3)} ms CPU`);
    }
  }
  const romeo = connect('romeo@example.org/orchard');
  const juliet = connect('juliet@example.org/balcony');
  juliet.appears(Stanza.parse('<presence/>'));
  for (const [title, hint] of [
    ['archived on both sides', ''],
    ['not archived', `<no-store xmlns="${NS.hints}"/>`],
  ] as const) {
    const stanza = Stanza.parse(
      `<message to="juliet@example.org" type="chat" id="x"><body>${body(1)}</body>${hint}</message>`,
    ).with({ from: romeo.jid });
    let pending: Promise<unknown>[] = [];
    const origin = {
      session: romeo,
      acknowledges: true,
      acknowledgeAfter: (durable: Promise<unknown>) => void pending.push(durable),
    };
    const ms = await cost(1000, async () => {
      for (let n = 0; n < 32; n++) void host.fromSession(stanza, romeo, origin);
      await Promise.all(pending);
      pending = [];
    });
    console.log(`a message, ${title}: ${((ms / 32) * 1000).toFixed(1)} us CPU`);
  }
} finally {
  host.stop();
  await storage.close();
  rmSync(folder, { recursive: true });
}
