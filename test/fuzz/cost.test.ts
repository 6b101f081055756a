/**
 * Work in proportion: what any one stanza costs the server in CPU, at the greatest size that the limits allow. At most 20 ms,
 * before the login 1 ms, on the machine for which the marks of bench/RESULTS.md were set; a yardstick in the same run tells
 * how much slower this one is. COST=full measures every payload in every shape and prints the table of bench/RESULTS.md,
 * COST=part only those whose title contains the part; without it each payload is measured in a few.
 */
import assert from 'node:assert/strict';
import { pbkdf2Sync } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import type { Hooks } from '../../src/server/routing/hooks.js';
import { NS } from '../../src/server/stanza/ns.js';
import { base64, Stage } from '../compliance/dialogue.js';
import { unlimitedRate } from '../compliance/phrases.js';
import { enters, founds } from '../compliance/rooms.js';
import { fill, forms, general, letters, many, messages, particular, presences } from './payloads.js';

const wanted = process.env.COST;
const isFull = wanted !== undefined;
const part = wanted === 'full' ? '' : (wanted ?? '');

/** ms of CPU on the reference machine. */
const budget = 20;
const budgetBeforeLogin = 1;
/** A busy machine slows a piece of work down more than the yardstick. */
const margin = 2;
/** ms of CPU that a run without COST may take. */
const patience = 4000;

/** The answers of one account are not to be put off. */
const free = {
  ...unlimitedRate,
  answer_bytes_per_second: 'unlimited',
  answer_byte_burst: 'unlimited',
  cpu_ms_per_second: 'unlimited',
  cpu_ms_burst: 'unlimited',
};
const config = {
  hosts: { localhost: { admins: ['alice@localhost'] } },
  c2s: { allow_sasl_plain_without_tls: true },
  limits: {
    rate: unlimitedRate,
    rate_unauthenticated: unlimitedRate,
    rate_account: free,
    rate_address: free,
    connections_per_minute: 'unlimited',
  },
  auth: { failures_per_address: 'unlimited', failures_per_account: 'unlimited' },
  modules: {
    register: { open: true },
    directory: { enabled: true, searches_per_minute: 'unlimited' },
    addresses: { per_minute: 'unlimited' },
    pubsub: { changes_per_minute: 'unlimited', creations_per_hour: 'unlimited', items_per_node: 2000 },
    muc: { presences_per_minute: 'unlimited', invitations_per_hour: 'unlimited', reports_per_hour: 'unlimited' },
  },
};

const cpu = (since?: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
};

/** How many times slower than the reference this machine is now (bench/yardstick.ts). */
function slowness(): number {
  const once = 0.62;
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const before = process.cpuUsage();
    for (let i = 0; i < 4; i++) pbkdf2Sync('secret', 'salt', 4096, 20, 'sha1');
    least = Math.min(least, cpu(before) / 4);
  }
  return least / once;
}

/** A connection that sends text and waits for one word in the output. */
class Line {
  readonly socket: Socket;
  isOver = false;
  #tail = '';
  heard = '';
  #word = '';
  #found: (() => void) | undefined;

  constructor(port: number) {
    this.socket = connect({ host: '127.0.0.1', port, noDelay: true });
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.isOver = true;
      this.#found?.();
    });
    this.socket.on('data', (data) => {
      const text = this.#tail + data.toString('latin1');
      this.#tail = text.slice(-100);
      if (this.heard.length < 2000) this.heard += text.slice(0, 2000);
      if (this.#word !== '' && text.includes(this.#word)) this.#found?.();
    });
  }

  /** Resolves when `word` arrives, or the connection is closed. */
  async ask(bytes: string | Buffer, word: string): Promise<void> {
    if (this.isOver) return;
    this.#word = word;
    this.#tail = this.heard = '';
    const found = new Promise<void>((resolve) => {
      this.#found = resolve;
    });
    this.socket.write(bytes);
    await found;
    this.#word = '';
  }
}

const header = `<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}' to='localhost' version='1.0'>`;
const plain = (user: string) => base64(`\0${user}\0pencil`);

async function login(port: number, user: string, presence: boolean): Promise<Line> {
  const line = new Line(port);
  await line.ask(header, '</stream:features>');
  await line.ask(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${plain(user)}</auth>`, '<success');
  await line.ask(header, '</stream:features>');
  await line.ask(`<iq type='set' id='bound'><bind xmlns='${NS.bind}'><resource>cost</resource></bind></iq>`, 'bound');
  if (presence) await line.ask(`<presence/>${ping('present')}`, 'present');
  return line;
}

const ping = (id: string) => `<iq type='get' id='${id}' to='localhost'><ping xmlns='${NS.ping}'/></iq>`;

interface Case {
  readonly module: string;
  readonly title: string;
  /** Sent first, for the session of a command (XEP-0050): its id replaces SESSION. */
  readonly prepare?: string;
  stanza(run: number): string;
}

/** Every payload that a module answers, wherever it answers it. */
function iqCases(hooks: Hooks): Case[] {
  const cases: Case[] = [];
  const seen = new Set<string>();
  const add = (module: string, key: string, to: string | undefined) => {
    const [type = '', name = '', ns = ''] = key.split(' ');
    // A payload that is expensive alone is expensive elsewhere.
    const shapes = seen.has(key)
      ? (particular[key] ?? general(name, ns).slice(0, 3))
      : [...(particular[key] ?? []), ...general(name, ns)];
    seen.add(key);
    for (const { title, xml } of shapes)
      cases.push({
        module,
        title: `${key} to ${to ?? 'oneself'}: ${title}`,
        stanza: (run) => `<iq type='${type}' id='x'${to === undefined ? '' : ` to='${to}'`}>${xml(run)}</iq>`,
      });
  };
  for (const [key, { module }] of hooks.account) {
    add(module, key, undefined);
    add(module, key, 'bob@localhost');
  }
  for (const [key, { module }] of hooks.server) add(module, key, 'localhost');
  for (const { domain, iq } of hooks.services()) {
    for (const [key, { module }] of iq) {
      add(module, key, domain);
      if (domain.startsWith('conference.')) add(module, key, `room@${domain}`);
    }
    for (const [key, { module }] of hooks.anyService) add(module, key, domain);
  }
  return cases;
}

function commandCases(hooks: Hooks): Case[] {
  return hooks.commands().flatMap(({ node, target }) => {
    // The field names are in the command's form.
    const fields = ['accountjids', 'announcement'];
    const to = target === 'service' ? 'pubsub.localhost' : target === 'server' ? 'localhost' : 'alice@localhost';
    return forms(NS.admin, fields).map(({ title, xml }) => ({
      module: 'adhoc',
      title: `command ${node}: ${title}`,
      stanza: (run: number) =>
        `<iq type='set' id='x' to='${to}'><command xmlns='${NS.commands}' node='${node}' sessionid='SESSION'>${xml(run)}</command></iq>`,
      prepare: `<iq type='set' id='x' to='${to}'><command xmlns='${NS.commands}' node='${node}'/></iq>`,
    }));
  });
}

const others: readonly Case[] = [
  ...messages.map(({ title, to, type, xml }) => ({
    module: 'message',
    title,
    stanza: (run: number) => `<message to='${to}' type='${type}' id='m${run}'>${xml(run)}</message>`,
  })),
  ...[
    '',
    " to='bob@localhost'",
    " to='room@conference.localhost/alice'",
    " to='pubsub.localhost'",
    " to='bob@localhost' type='subscribe'",
  ].flatMap((attributes) =>
    presences.map(({ title, xml }) => ({
      module: 'presence',
      title: `presence${attributes}: ${title}`,
      stanza: (run: number) => `<presence${attributes}>${xml(run)}</presence>`,
    })),
  ),
  ...Object.entries(letters).map(([title, letter]) => ({
    module: 'addresses',
    title: `to an address of ${title}`,
    stanza: (run: number) =>
      `<message to='a${run}@b/${fill(letter, 3000)}\u30a2' id='${fill(letter, 3000)}'><body>x</body></message>`,
  })),
  {
    module: 'addresses',
    title: 'attributes of the stanza',
    stanza: () =>
      `<message to='bob@localhost' ${Array.from({ length: 95 }, (_, n) => `a${n}='${fill('&lt;', 2500)}'`).join(' ')}/>`,
  },
];

interface Figure extends Case {
  readonly ms: number;
}

/** Whether a figure needs another run: a cheap one needs few, and one that is too high may be due to other processes. */
const isOpen = (run: number, ms: number, limit: number): boolean =>
  ms > limit / 2 && (run < 4 || (ms > limit * margin && run < 40));

/** The minimum of some runs. */
async function measure(line: Line, one: Case, limit: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let run = 1; isOpen(run, least, limit); run++) {
    const { prepare } = one;
    let stanza = one.stanza(run);
    if (prepare !== undefined) {
      await line.ask(prepare + ping('prepared'), 'id="prepared"');
      stanza = stanza.replace('SESSION', /sessionid="([^"]+)"/.exec(line.heard)?.[1] ?? 'none');
    }
    const bytes = Buffer.from(stanza + ping(`done${run}`));
    assert.ok(bytes.length <= 262_144 + 200, `${one.title} is too long: ${bytes.length}`);
    const before = process.cpuUsage();
    await line.ask(bytes, `id="done${run}"`);
    least = Math.min(least, cpu(before));
    assert.ok(!line.isOver, `${one.title} ended the stream: ${line.heard.slice(0, 500)}`);
  }
  return least;
}

/** The most expensive of each module. */
function table(figures: readonly Figure[], times: number): string {
  const dearest = new Map<string, Figure>();
  for (const figure of figures)
    if (figure.ms > (dearest.get(figure.module)?.ms ?? 0)) dearest.set(figure.module, figure);
  return [...dearest.values()]
    .sort((a, b) => b.ms - a.ms)
    .map(({ module, title, ms }) => `| ${module} | ${title} | ${ms.toFixed(1)} | ${(ms / times).toFixed(1)} |`)
    .join('\n');
}

/** All requested ones; without COST one in so many, the same each time. */
function chosen(cases: readonly Case[]): readonly Case[] {
  if (isFull) return cases.filter(({ module, title }) => `${module} ${title}`.includes(part));
  return cases.filter((_, index) => index % 13 === 0);
}

test('no stanza costs more than its share', { timeout: 600_000 }, async () => {
  const stage = await Stage.open({ config });
  try {
    const bob = await stage.actor('bob@localhost/b', { presence: true });
    const alice = await stage.actor('alice@localhost/a', { presence: true });
    await alice.sends(`<presence to='bob@localhost' type='subscribe'/>`);
    await bob.sends(
      `<presence to='alice@localhost' type='subscribed'/><presence to='alice@localhost' type='subscribe'/>`,
    );
    await alice.sends(`<presence to='bob@localhost' type='subscribed'/>`);
    await founds(alice, 'room', 'alice');
    await enters(bob, 'room', 'bob');
    bob.cut();
    alice.cut();
    const hooks = stage.server.host('localhost')!.declared as Hooks;
    const port = stage.port('c2s');
    let line = await login(port, 'alice', true);
    await line.ask(
      `<presence to='room@conference.localhost/alice'><x xmlns='${NS.muc}'/></presence>${ping('in')}`,
      'id="in"',
    );
    for (const node of ['wide', 'many'])
      for (const to of ['', " to='pubsub.localhost'"])
        await line.ask(
          `<iq type='set' id='x'${to}><pubsub xmlns='${NS.pubsub}'><create node='${node}'/></pubsub></iq>${ping('made')}`,
          'id="made"',
        );
    const cases = chosen([...iqCases(hooks), ...commandCases(hooks), ...others]);
    const figures: Figure[] = [];
    const times = slowness();
    const began = process.cpuUsage();
    for (const one of cases) {
      if (!isFull && cpu(began) > patience) break;
      if (line.isOver) line = await login(port, 'alice', true);
      const ms = await measure(line, one, budget * times);
      figures.push({ ...one, ms });
      if (isFull && ms > budget * times) console.log(`${(ms / times).toFixed(0)} ms: ${one.module}: ${one.title}`);
    }
    if (isFull) console.log(`${figures.length} cases, ${times.toFixed(2)} times slower\n${table(figures, times)}`);
    const dear = figures.filter(({ ms }) => ms > budget * times * margin);
    assert.deepEqual(
      dear.map(({ module, title, ms }) => `${module}: ${title}: ${ms.toFixed(0)} ms`),
      [],
    );
    line.socket.destroy();
    stage.takeErrors();
  } finally {
    await stage.close();
  }
});

/** Elements that a stream takes before the login, within limits.stanza_bytes_unauthenticated. */
const early: readonly { readonly title: string; readonly opened: boolean; readonly xml: string }[] = (() => {
  const bytes = 9800;
  const cases: { title: string; opened: boolean; xml: string }[] = [];
  const head = (attributes: string) =>
    `<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}' version='1.0' ${attributes}>`;
  for (const [title, letter] of Object.entries(letters)) {
    const long = fill(letter, bytes - 400);
    const short = `a@b/${fill(letter, 3000)}\u30a2`;
    cases.push(
      { title: `header: from ${title}`, opened: false, xml: head(`to='localhost' from='a@b/${long}'`) },
      { title: `header: a from that fits, ${title}`, opened: false, xml: head(`to='localhost' from='${short}'`) },
      { title: `header: to ${title}`, opened: false, xml: head(`to='${long}'`) },
      { title: `header: a language of ${title}`, opened: false, xml: head(`to='localhost' xml:lang='${long}'`) },
      { title: `header: a version of ${title}`, opened: false, xml: head(`to='localhost'`).replace('1.0', long) },
      {
        title: `an IQ to ${title}`,
        opened: true,
        xml: `<iq type='get' id='x' to='${short}'><ping xmlns='${NS.ping}'/></iq>`,
      },
      {
        title: `the username ${title}`,
        opened: true,
        xml: `<iq type='set' id='x'><query xmlns='${NS.register}'><username>${long}</username><password>${title}</password></query></iq>`,
      },
    );
    const name = base64(`n,,n=${fill(letter, 1000)},r=abcdefgh`);
    const nonce = base64(`n,,n=alice,r=${fill(letter, 6000)}`);
    for (const payload of [name, nonce, base64(`n,a=${fill(letter, 6000)},n=a,r=abcdefgh`)])
      cases.push({
        title: `SCRAM with ${title}`,
        opened: true,
        xml: `<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>${payload}</auth>`,
      });
    cases.push(
      {
        title: `PLAIN with ${title}`,
        opened: true,
        xml: `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${base64(`${fill(letter, 3000)}\0${fill(letter, 2000)}\0x`)}</auth>`,
      },
      {
        title: `SASL2 with ${title}`,
        opened: true,
        xml: `<authenticate xmlns='${NS.sasl2}' mechanism='SCRAM-SHA-1'><initial-response>${name}</initial-response><user-agent id='${fill(letter, 3000)}'><software>${fill(letter, 3000)}</software></user-agent></authenticate>`,
      },
    );
  }
  cases.push(
    {
      title: 'header: attributes',
      opened: false,
      xml: head(`to='localhost' ${Array.from({ length: 46 }, (_, n) => `a${n}=''`).join(' ')}`),
    },
    {
      title: 'header: prefixes',
      opened: false,
      xml: head(`to='localhost' ${Array.from({ length: 46 }, (_, n) => `xmlns:a${n}='${n}'`).join(' ')}`),
    },
    {
      title: 'SASL: base64',
      opened: true,
      xml: `<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>${'A'.repeat(9600)}</auth>`,
    },
    {
      title: 'SASL: spaced base64',
      opened: true,
      xml: `<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>${'A \n='.repeat(2400)}</auth>`,
    },
    {
      title: 'SASL: a long mechanism',
      opened: true,
      xml: `<auth xmlns='${NS.sasl}' mechanism='${'A-'.repeat(4700)}'/>`,
    },
    {
      title: 'wide',
      opened: true,
      xml: many(`<iq type='set' id='x'><query xmlns='${NS.register}'>`, () => '<a/>', '</query></iq>', bytes),
    },
    {
      title: 'fields',
      opened: true,
      xml: many(
        `<iq type='set' id='x'><query xmlns='${NS.register}'><x xmlns='${NS.dataForms}' type='submit'>`,
        (n) => `<field var='${n}'><value/></field>`,
        '</x></query></iq>',
        bytes,
      ),
    },
    {
      title: 'SASL2: upgrades',
      opened: true,
      xml: many(
        `<authenticate xmlns='${NS.sasl2}' mechanism='SCRAM-SHA-1'><initial-response>${base64('n,,n=alice,r=abcdefgh')}</initial-response>`,
        () => `<upgrade xmlns='${NS.saslUpgrade}'>UPGR-SCRAM-SHA-256</upgrade>`,
        '</authenticate>',
        bytes,
      ),
    },
    {
      title: 'SASL2: binds',
      opened: true,
      xml: many(
        `<authenticate xmlns='${NS.sasl2}' mechanism='SCRAM-SHA-1'><initial-response>${base64('n,,n=alice,r=abcdefgh')}</initial-response><bind xmlns='${NS.bind2}'>`,
        () => '<a/>',
        '</bind></authenticate>',
        bytes,
      ),
    },
  );
  return cases;
})();

test('no stanza before login costs more than a millisecond', { timeout: 120_000 }, async () => {
  const stage = await Stage.open({ config });
  try {
    await stage.account('alice@localhost');
    const port = stage.port('c2s');
    const times = slowness();
    const figures: Figure[] = [];
    const limit = budgetBeforeLogin * times;
    for (const { title, opened, xml } of early) {
      let least = Number.POSITIVE_INFINITY;
      for (let run = 0; isOpen(run, least, limit); run++) {
        const line = new Line(port);
        await new Promise((resolve) => line.socket.once('connect', resolve));
        if (opened) await line.ask(header, '</stream:features>');
        const before = process.cpuUsage();
        await line.ask(xml, opened ? '>' : 'stream:');
        least = Math.min(least, cpu(before));
        line.socket.destroy();
      }
      figures.push({ module: title, title, ms: least, stanza: () => xml });
    }
    if (isFull)
      console.log(
        `before the login, ${times.toFixed(2)} times slower\n${table(figures, times).split('\n').slice(0, 12).join('\n')}`,
      );
    const dear = figures.filter(({ ms }) => ms > limit * margin);
    assert.deepEqual(
      dear.map(({ title, ms }) => `${title}: ${ms.toFixed(2)} ms`),
      [],
    );
  } finally {
    await stage.close();
  }
});
