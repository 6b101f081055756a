/**
 * What was acknowledged is there after the server was killed: clients under load, the server ended at random moments,
 * and afterwards the books compared. A server that is stopped in order loses nothing and doubles nothing.
 *
 * SEED repeats a run as far as timing lets it; ROUNDS says how many (default: 5 where CI is set, else 24).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { ServerProcess } from '../interop/server.js';
import { Client } from './client.js';
import { randomFrom } from './random.js';

const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
const rounds = Number(process.env.ROUNDS ?? (process.env.CI === undefined ? 24 : 5));
const random = randomFrom(seed);

/** Patience until all that was acknowledged has arrived, in ms. */
const patience = 20_000;
const password = 'pencil';

/**
 * steady: always there. hasty: loses its connection now and then, and resumes. fickle: loses its session too.
 * absent: comes only at the end of a round. Two resources of one account get the same messages.
 */
type Habit = 'steady' | 'hasty' | 'fickle' | 'absent';
const cast: readonly (readonly [address: string, habit: Habit])[] = [
  ['anna@localhost/phone', 'steady'],
  ['anna@localhost/desk', 'hasty'],
  ['bert@localhost/one', 'steady'],
  ['cleo@localhost/one', 'hasty'],
  ['dora@localhost/one', 'hasty'],
  ['emil@localhost/one', 'fickle'],
  ['fred@localhost/one', 'fickle'],
  ['gina@localhost/one', 'absent'],
  ['hans@localhost/one', 'absent'],
];

interface Message {
  readonly from: string;
  readonly to: string;
  readonly number: number;
  acknowledged: boolean;
}

/** What an account keeps under one name: the versions that were written and confirmed, the versions that were sent. */
interface Kept {
  sent: number;
  confirmed: number;
}

const things = ['private', 'vcard', 'contact-1', 'contact-2', 'contact-3'] as const;
type Thing = (typeof things)[number];

class Actor {
  readonly client: Client;
  /** Its account has other devices. */
  readonly isOneOfSeveral: boolean;
  /** How often each message came. */
  readonly got = new Map<string, number>();
  /** The highest number so far, by sender. */
  readonly #highest = new Map<string, number>();
  readonly kept: Record<Thing, Kept>;
  readonly wrong: string[] = [];

  constructor(
    address: string,
    readonly habit: Habit,
    port: () => number,
  ) {
    this.client = new Client({
      address,
      password,
      port,
      diligence: () => habit === 'steady' || random.chance(0.3),
      received: (stanza) => this.#received(stanza),
    });
    const bare = address.split('/')[0]!;
    this.isOneOfSeveral = cast.filter(([other]) => other.startsWith(`${bare}/`)).length > 1;
    this.kept = Object.fromEntries(things.map((thing) => [thing, { sent: 0, confirmed: 0 }])) as Record<Thing, Kept>;
  }

  #received(stanza: Element): void {
    if (stanza.name !== 'message') return;
    const { id = '', type, from = '' } = stanza.attrs;
    if (type === 'error') {
      this.wrong.push(`${this.client.bare} got an error for ${id}: ${stanza}`);
      return;
    }
    const times = this.got.get(id) ?? 0;
    this.got.set(id, times + 1);
    // RFC 6120 §10.1: in order, as far as it came for the first time. What another device of the account lost
    // goes to whichever device is there, behind what that has by then.
    const number = Number(id.split('-')[1]);
    const before = this.#highest.get(from) ?? 0;
    if (times === 0 && number < before && !this.isOneOfSeveral)
      this.wrong.push(`${this.client.bare}/${this.client.resource} got ${id} behind number ${before}`);
    this.#highest.set(from, Math.max(before, number));
  }

  /** Writes the next version of something. */
  keep(thing: Thing): void {
    const kept = this.kept[thing];
    const version = ++kept.sent;
    this.client.ask('set', written(thing, version), (answer) => {
      if (answer.attrs.type === 'result') kept.confirmed = Math.max(kept.confirmed, version);
      else this.wrong.push(`${this.client.bare} may not write ${thing}: ${answer}`);
    });
  }

  /** The version that the server has. */
  async read(thing: Thing): Promise<number> {
    const answer = await this.client.request('get', written(thing, undefined)).catch((error: unknown) => {
      // A card that was never written is no empty one (XEP-0054 §3.1).
      if (thing === 'vcard' && /item-not-found/.test(String(error))) return undefined;
      throw error;
    });
    const found =
      thing === 'private' || thing === 'vcard'
        ? /version-(\d+)/.exec(answer?.toString() ?? '')
        : new RegExp(
            `jid="${thing}@localhost"[^>]*name="version-(\\d+)"|name="version-(\\d+)"[^>]*jid="${thing}@localhost"`,
          ).exec(answer?.toString() ?? '');
    return Number(found?.[1] ?? found?.[2] ?? 0);
  }
}

/** What writes a version of the thing; without a version, what reads it. */
function written(thing: Thing, version: number | undefined): string {
  const value = `version-${version}`;
  switch (thing) {
    case 'private':
      return `<query xmlns='${NS.private}'><kept xmlns='test:kept'>${version === undefined ? '' : value}</kept></query>`;
    case 'vcard':
      return `<vCard xmlns='${NS.vcardTemp}'>${version === undefined ? '' : `<DESC>${value}</DESC>`}</vCard>`;
    default:
      return version === undefined
        ? `<query xmlns='${NS.roster}'/>`
        : `<query xmlns='${NS.roster}'><item jid='${thing}@localhost' name='${value}'><group>${value}</group></item></query>`;
  }
}

class World {
  readonly actors: Actor[];
  readonly messages = new Map<string, Message>();
  readonly #byAccount = new Map<string, Actor[]>();
  readonly #numbers = new Map<string, number>();
  #working: Promise<void>[] = [];
  #isOver = false;

  constructor(readonly server: ServerProcess) {
    this.actors = cast.map(([address, habit]) => new Actor(address, habit, () => server.port('c2s')));
    for (const actor of this.actors)
      this.#byAccount.set(actor.client.bare, [...(this.#byAccount.get(actor.client.bare) ?? []), actor]);
  }

  // --- the load -----------------------------------------------------------------------------------------------------

  begin(): void {
    this.#isOver = false;
    this.#working = this.actors.filter(({ habit }) => habit !== 'absent').map((actor) => this.#work(actor));
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#working);
  }

  async #work(actor: Actor): Promise<void> {
    const { client, habit } = actor;
    while (!this.#isOver) {
      if (!client.online) {
        // Also in the middle of a login the server may go.
        await client.connect().catch(() => pause(20));
        continue;
      }
      if (client.unacknowledged < 200) for (let n = random.between(1, 15); n > 0; n--) this.#say(actor);
      if (random.chance(0.2)) actor.keep(random.pick(things));
      if (random.chance(0.1)) client.acknowledge();
      if (habit === 'hasty' && random.chance(0.02)) client.cut();
      if (habit === 'fickle' && random.chance(0.02)) client.forget();
      await pause(random.between(1, 8));
    }
  }

  #say({ client }: Actor): void {
    const from = `${client.bare}/${client.resource}`;
    const to = random.pick(this.actors).client.bare;
    if (to === client.bare) return;
    const number = (this.#numbers.get(from) ?? 0) + 1;
    this.#numbers.set(from, number);
    const id = `${from}-${number}`;
    const message: Message = { from, to, number, acknowledged: false };
    this.messages.set(id, message);
    client.send(`<message to='${to}' type='chat' id='${id}'><body>${'é<>&'.length} ${id}</body></message>`, () => {
      message.acknowledged = true;
    });
  }

  // --- the reckoning ------------------------------------------------------------------------------------------------

  /** Everybody comes; resolves once everything was acknowledged and has arrived. */
  async settle(): Promise<void> {
    const until = Date.now() + patience;
    for (;;) {
      await Promise.all(this.actors.map(({ client }) => client.online || client.connect()));
      for (const { client } of this.actors) client.acknowledge();
      const open = this.actors.filter(({ client }) => client.unacknowledged > 0).map(({ client }) => client.bare);
      const missing = this.missing();
      if (open.length === 0 && missing.length === 0) return;
      assert.ok(
        Date.now() < until,
        `not acknowledged: stanzas of ${open.join(', ') || 'nobody'}\nlost: ${missing.length} (${missing.slice(0, 20).join(', ')})`,
      );
      await pause(20);
    }
  }

  /** What was acknowledged and has not arrived. */
  missing(): string[] {
    const missing: string[] = [];
    for (const [id, { to, acknowledged }] of this.messages)
      if (acknowledged && !this.#byAccount.get(to)!.some(({ got }) => got.has(id))) missing.push(`${id} to ${to}`);
    return missing;
  }

  /** What came twice to and from those who resume: the others say again, and are told again, what they lost. */
  doubled(): string[] {
    const resumes = ({ habit }: Actor) => habit !== 'fickle';
    return this.actors.filter(resumes).flatMap(({ client, got }) =>
      [...got].flatMap(([id, times]) => {
        const [sender] = this.#byAccount.get(this.messages.get(id)!.from.split('/')[0]!)!;
        return times > 1 && resumes(sender!) ? [`${id} came ${times} times to ${client.bare}`] : [];
      }),
    );
  }

  /** What was confirmed is kept, and nothing that was never said. */
  async compare(): Promise<void> {
    for (const actor of this.actors) {
      // Two clients of one account write the same things: only what nobody else writes can be compared.
      if (this.#byAccount.get(actor.client.bare)!.length > 1) continue;
      for (const thing of things) {
        const { sent, confirmed } = actor.kept[thing];
        const found = await actor.read(thing);
        assert.ok(
          found >= confirmed && found <= sent,
          `${thing} of ${actor.client.bare} is version ${found}; confirmed was ${confirmed}, sent ${sent}`,
        );
      }
    }
  }

  /** What is settled need not be remembered. */
  forget(): void {
    this.messages.clear();
    for (const { got } of this.actors) got.clear();
  }
}

type Ending = 'kill' | 'stop' | 'stop, then kill';
const endings: readonly Ending[] = ['kill', 'stop', 'stop, then kill', 'kill', 'stop'];

test(`${rounds} rounds, seed ${seed}`, { timeout: 60_000 + rounds * 30_000 }, async (t) => {
  const server = await ServerProcess.start({
    accounts: Object.fromEntries(cast.map(([address]) => [address.split('/')[0]!, password])),
    config: {
      c2s: { allow_plain_tcp_on_loopback: true, allow_sasl_plain_without_tls: true },
      limits: {
        offline_messages: 'unlimited',
        sessions_per_account: 'unlimited',
        rate: {
          stanzas_per_second: 'unlimited',
          stanza_burst: 'unlimited',
          bytes_per_second: 'unlimited',
          byte_burst: 'unlimited',
        },
        rate_unauthenticated: { stanzas_per_second: 'unlimited', stanza_burst: 'unlimited' },
      },
      modules: { offline: { bytes: 'unlimited' } },
      stream_management: { queue_stanzas: 100_000, queue_bytes: '64 MiB', hibernated_per_account: 100 },
    },
  });
  t.after(() => server.close());
  const world = new World(server);
  for (let round = 0; round < rounds; round++) {
    const ending = endings[round % endings.length]!;
    await t.test(`round ${round + 1}: ${ending}`, async (t) => {
      world.begin();
      await pause(random.between(200, 1200));
      if (ending === 'kill') await server.kill();
      else await server.stop();
      await server.start();
      if (ending === 'stop, then kill') {
        await pause(random.between(0, 400));
        await server.kill();
        await server.start();
      }
      await pause(random.between(0, 200));
      await world.end();
      await world.settle();
      await world.compare();
      const doubled = world.doubled();
      const log = server.takeLog();
      t.diagnostic(`${world.messages.size} messages, ${doubled.length} came twice`);
      assert.deepEqual(world.actors.flatMap(({ wrong }) => wrong.splice(0)).slice(0, 10), []);
      assert.deepEqual(
        world.actors.flatMap(({ client }) => client.streamErrors.splice(0)),
        [],
      );
      if (ending === 'stop') assert.deepEqual(doubled.slice(0, 10), [], 'stopped in order, and doubled messages');
      assert.deepEqual(log, [], 'the server complained');
      world.forget();
      for (const { habit, client } of world.actors) if (habit === 'absent') await client.leave();
    });
  }
});
