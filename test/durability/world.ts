/**
 * Clients under load, and their records: what each sent, what the server acknowledged, what arrived. After a fault the
 * records are compared with the server's data.
 */
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { patience } from '../interop/server.js';
import { Client } from './client.js';
import { Newcomers } from './newcomers.js';
import type { Random } from './random.js';

export const password = 'pencil';
const rooms = 'conference.localhost';
/** Messages in one page of an archive. */
const page = 250;

/**
 * steady: always there. hasty: loses its connection now and then, and resumes. fickle: loses its session too.
 * absent: comes only at the end of a round. Two resources of one account get the same messages.
 */
export type Habit = 'steady' | 'hasty' | 'fickle' | 'absent';
export type Cast = readonly (readonly [address: string, habit: Habit])[];

export interface WorldOptions {
  readonly cast: Cast;
  readonly random: Random;
  readonly port: () => number;
  /** Names of rooms that all but the absent are in. */
  readonly rooms: readonly string[];
  /** Whether accounts are made, removed, and given other passwords. */
  readonly newcomers: boolean;
  /** Most messages that a client sends in one burst. */
  readonly burst: number;
  /**
   * Milliseconds without data from the server after which a client with unacknowledged stanzas drops the connection.
   */
  readonly silence?: number;
  /** Whether no session is ever lost: then every occupant of a room gets everything. */
  readonly faithful?: boolean;
}

interface Message {
  readonly from: string;
  /** A bare address, or a room's. */
  readonly to: string;
  readonly number: number;
  readonly inRoom: boolean;
  acknowledged: boolean;
  /** How often it was sent in another session, where the server may have had it already. */
  repeats: number;
  /** A node of a cluster failed before it was acknowledged: another node may have sent it again. */
  isUncertain: boolean;
  /** The server refused it. */
  refused: boolean;
  /** The ids under which the room let its sender hear it. */
  readonly heardAs: Set<string>;
}

/** Data that an account stores under one name: the confirmed versions, and the versions sent. */
interface Kept {
  sent: number;
  confirmed: number;
}

/** End a login while the account moves to another node, or its node stops: the client is to connect again. */
const onTheWay = /The account is served by another node\.|The node of the account was lost\./;
/** Ends sessions of a node that was lost. */
const lostNode = /<reset /;

const things = ['private', 'vcard', 'contact-1', 'contact-2', 'contact-3', 'pep', 'node', 'preferences'] as const;
type Thing = (typeof things)[number];

/** A message as an archive has it. */
interface Archived {
  /** Of the archive. */
  readonly id: string;
  /** Of the message. */
  readonly message: string;
}

export class Actor {
  readonly client: Client;
  /** Its account has other devices. */
  readonly isOneOfSeveral: boolean;
  /** How often each message came. */
  readonly got = new Map<string, number>();
  /** The highest number so far, by sender. */
  readonly #highest = new Map<string, number>();
  /** The archive id of the latest live message of each room. */
  readonly #lastInRoom = new Map<string, string>();
  /** Pages of archives that are on their way, by query. */
  readonly #pages = new Map<string, Archived[]>();
  #queries = 0;
  readonly stored: Record<Thing, Kept>;
  /** Whose presence it requested last, and whose it cancelled. */
  readonly asked = new Map<string, boolean>();
  /** Who asked for its presence. */
  readonly requests = new Set<string>();
  readonly wrong: string[] = [];

  constructor(
    readonly world: World,
    readonly address: string,
    readonly habit: Habit,
    { random, port, cast, rooms: names }: WorldOptions,
  ) {
    // Of the questions whether it got everything it overlooks most, but not all.
    let overlooked = 0;
    const isDiligent = (): boolean => {
      if (habit !== 'steady' && overlooked < 4 && !random.chance(0.3)) overlooked++;
      else overlooked = 0;
      return overlooked === 0;
    };
    const joins = habit === 'absent' ? [] : names.map((name) => this.#join(`${name}@${rooms}`));
    this.client = new Client({
      address,
      password,
      port,
      greeting: ['<presence/>', ...joins],
      diligence: isDiligent,
      received: (stanza) => this.#received(stanza),
    });
    const bare = address.split('/')[0]!;
    this.isOneOfSeveral = cast.filter(([other]) => other.startsWith(`${bare}/`)).length > 1;
    this.stored = Object.fromEntries(things.map((thing) => [thing, { sent: 0, confirmed: 0 }])) as Record<Thing, Kept>;
  }

  #join(room: string): string {
    const nick = this.address.replace(/@.*\//, ' ');
    return `<presence to='${room}/${nick}'><x xmlns='${NS.muc}'><history maxstanzas='0'/></x></presence>`;
  }

  #received(stanza: Element): void {
    if (stanza.attrs.type === 'subscribe') this.requests.add(stanza.attrs.from ?? '');
    if (stanza.name !== 'message') return;
    const result = stanza.getChild('result', NS.mam);
    if (result !== undefined) this.#found(result);
    else if (stanza.attrs.type === 'error') this.#refused(stanza);
    else if (stanza.attrs.type === 'groupchat') this.#arrived(stanza);
    else this.#told(stanza);
  }

  #refused(stanza: Element): void {
    const { id = '', from = '' } = stanza.attrs;
    const message = this.world.messages.get(id);
    // Rooms do not survive a restart as sessions do: former occupants join again.
    if (message?.inRoom && stanza.getChild('error')?.getChild('not-acceptable', NS.stanzas) !== undefined) {
      message.refused = true;
      this.client.send(this.#join(from));
      return;
    }
    this.wrong.push(`${this.address} got an error for ${id}: ${stanza}`);
  }

  #told(stanza: Element): void {
    const { id = '', from = '' } = stanza.attrs;
    const times = this.got.get(id) ?? 0;
    this.got.set(id, times + 1);
    // RFC 6120 §10.1: first deliveries are in order. Messages lost by one device of the account go to another, after
    // those that it already has.
    const number = Number(id.split('-')[1]);
    const before = this.#highest.get(from) ?? 0;
    if (times === 0 && number < before && !this.isOneOfSeveral)
      this.wrong.push(`${this.address} got ${id} behind number ${before}`);
    this.#highest.set(from, Math.max(before, number));
  }

  #arrived(stanza: Element): void {
    const { id = '', from = '' } = stanza.attrs;
    const room = from.split('/')[0]!;
    const as = stanza.getChild('stanza-id', NS.stanzaId)?.attrs.id;
    if (stanza.getChild('body') === undefined) return;
    if (as === undefined) {
      this.wrong.push(`${this.address} heard ${id} without an id`);
      return;
    }
    const before = this.#lastInRoom.get(room) ?? '';
    if (as <= before) this.wrong.push(`${this.address} heard ${id} as ${as} behind ${before}`);
    this.#lastInRoom.set(room, as);
    this.got.set(id, (this.got.get(id) ?? 0) + 1);
    const message = this.world.messages.get(id);
    if (message?.from === this.address) message.heardAs.add(as);
  }

  #found(result: Element): void {
    const message = result.getChild('forwarded', NS.forward)?.getChild('message');
    this.#pages.get(result.attrs.queryid ?? '')?.push({ id: result.attrs.id!, message: message?.attrs.id ?? '' });
  }

  /** The whole archive of an account or a room after an id. */
  async archive(room: string | undefined, after: string | undefined): Promise<Archived[]> {
    const all: Archived[] = [];
    for (let from = after; ; ) {
      const query = `q${++this.#queries}`;
      const found: Archived[] = [];
      this.#pages.set(query, found);
      const behind = from === undefined ? '' : `<after>${from}</after>`;
      const set = `<set xmlns='${NS.rsm}'><max>${page}</max>${behind}</set>`;
      const answer = await this.client.request(
        'set',
        `<query xmlns='${NS.mam}' queryid='${query}'>${set}</query>`,
        room,
      );
      this.#pages.delete(query);
      all.push(...found);
      from = found.at(-1)?.id;
      if (from === undefined || answer.getChild('fin', NS.mam)?.attrs.complete === 'true') return all;
    }
  }

  /** Subscribes to a contact's presence, or unsubscribes (RFC 6121 §3.1, §3.3). */
  ask(contact: string): void {
    const wanted = this.asked.get(contact) !== true;
    this.asked.set(contact, wanted);
    this.client.send(`<presence to='${contact}' type='${wanted ? 'subscribe' : 'unsubscribe'}'/>`);
  }

  /** Writes the next version of something. */
  keep(thing: Thing): void {
    const stored = this.stored[thing];
    const version = ++stored.sent;
    this.client.ask(
      'set',
      written(thing, version, this.client.bare),
      (answer) => {
        if (answer.attrs.type === 'result') stored.confirmed = Math.max(stored.confirmed, version);
        // The node that was to write it is gone: it may be written.
        else if (this.world.hasLostNodes && String(answer).includes('remote-server-timeout')) return;
        else this.wrong.push(`${this.address} may not write ${thing}: ${answer}`);
      },
      placeOf(thing),
    );
  }

  /** The version at the server; 0 if there is none. */
  async read(thing: Thing): Promise<number> {
    const query = written(thing, undefined, this.client.bare);
    const answer = await this.client.request('get', query, placeOf(thing)).catch((error: unknown) => {
      // Versions that were never written must not exist (XEP-0054 §3.1, XEP-0060 §6.5.9.11).
      if (/item-not-found/.test(String(error))) return undefined;
      throw error;
    });
    const text = answer?.toString() ?? '';
    const items = [...text.matchAll(/<item\b[^>]*>/g)].map(([item]) => item);
    const found = thing.startsWith('contact')
      ? (items.find((item) => item.includes(`${thing}@localhost`)) ?? '')
      : text;
    return Number(/version-(\d+)/.exec(found)?.[1] ?? 0);
  }
}

/** Where a thing is stored; by default with the account. */
const placeOf = (thing: Thing): string | undefined => (thing === 'node' ? 'pubsub.localhost' : undefined);

/** What writes a version of the thing; without a version, what reads it. */
function written(thing: Thing, version: number | undefined, bare: string): string {
  const value = `version-${version}`;
  switch (thing) {
    case 'private':
      return `<query xmlns='${NS.private}'><kept xmlns='test:kept'>${version === undefined ? '' : value}</kept></query>`;
    case 'vcard':
      return `<vCard xmlns='${NS.vcardTemp}'>${version === undefined ? '' : `<DESC>${value}</DESC>`}</vCard>`;
    case 'preferences':
      return version === undefined
        ? `<prefs xmlns='${NS.mam}'/>`
        : `<prefs xmlns='${NS.mam}' default='always'><always><jid>${value}@localhost</jid></always><never/></prefs>`;
    case 'pep':
    case 'node': {
      const node = `kept-${bare.split('@')[0]}`;
      if (version === undefined) return `<pubsub xmlns='${NS.pubsub}'><items node='${node}'/></pubsub>`;
      const item = `<item id='current'><kept xmlns='test:kept'>${value}</kept></item>`;
      return `<pubsub xmlns='${NS.pubsub}'><publish node='${node}'>${item}</publish></pubsub>`;
    }
    default:
      return version === undefined
        ? `<query xmlns='${NS.roster}'/>`
        : `<query xmlns='${NS.roster}'><item jid='${thing}@localhost' name='${value}'><group>${value}</group></item></query>`;
  }
}

/** The results of a round. */
export interface Figures {
  readonly messages: number;
  /** That came twice, in all. */
  readonly doubled: number;
  /** That their senders heard in a room and that are not in its archive: they were never acknowledged. */
  readonly takenBack: number;
}

export class World {
  readonly actors: Actor[];
  readonly messages = new Map<string, Message>();
  readonly #options: WorldOptions;
  readonly #byAccount = new Map<string, Actor[]>();
  readonly #numbers = new Map<string, number>();
  /** The id after which an archive has not been checked, and all ids before it; by owner. */
  readonly #archives = new Map<string, string[]>();
  readonly #newcomers: Newcomers | undefined;
  #working: Promise<void>[] = [];
  #isOver = false;
  /** Some node of a cluster has failed. */
  hasLostNodes = false;
  /** The records were wrong once, so later results are meaningless. */
  isBroken = false;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.actors = options.cast.map(([address, habit]) => new Actor(this, address, habit, options));
    for (const actor of this.actors)
      this.#byAccount.set(actor.client.bare, [...(this.#byAccount.get(actor.client.bare) ?? []), actor]);
    if (options.newcomers) this.#newcomers = new Newcomers(options.random, options.port);
  }

  // --- the load -----------------------------------------------------------------------------------------------------

  begin(): void {
    this.#isOver = false;
    this.#working = this.actors.filter(({ habit }) => habit !== 'absent').map((actor) => this.#work(actor));
    if (this.#newcomers !== undefined) this.#working.push(this.#newcomers.work(() => this.#isOver));
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#working);
  }

  async #work(actor: Actor): Promise<void> {
    const { random, burst, silence = Number.POSITIVE_INFINITY } = this.#options;
    const { client, habit } = actor;
    const absent = this.actors.filter((other) => other.habit === 'absent');
    while (!this.#isOver) {
      if (!client.online) {
        // Also in the middle of a login the server may go.
        await client.connect().catch(() => pause(20));
        continue;
      }
      if (client.unacknowledged > 0 && Date.now() - client.heardAt > silence) {
        client.cut();
        continue;
      }
      if (client.unacknowledged < 200) for (let n = random.between(1, burst + 1); n > 0; n--) this.#say(actor);
      if (random.chance(0.2)) actor.keep(random.pick(things));
      if (random.chance(0.05) && absent.length > 0 && !actor.isOneOfSeveral) actor.ask(random.pick(absent).client.bare);
      if (random.chance(0.1)) client.acknowledge();
      if (habit === 'hasty' && random.chance(0.02)) client.cut();
      if (habit === 'fickle' && random.chance(0.02)) client.forget();
      await pause(random.between(1, 8));
    }
  }

  #say({ client, address }: Actor): void {
    const { random, rooms: names } = this.#options;
    const inRoom = names.length > 0 && random.chance(0.25);
    const to = inRoom ? `${random.pick(names)}@${rooms}` : random.pick(this.actors).client.bare;
    if (to === client.bare) return;
    const number = (this.#numbers.get(address) ?? 0) + 1;
    this.#numbers.set(address, number);
    const id = `${address}-${number}`;
    const message: Message = {
      from: address,
      to,
      number,
      inRoom,
      acknowledged: false,
      repeats: 0,
      isUncertain: false,
      refused: false,
      heardAs: new Set(),
    };
    this.messages.set(id, message);
    const type = inRoom ? 'groupchat' : 'chat';
    client.send(`<message to='${to}' type='${type}' id='${id}'><body>é&lt;&amp; ${id}</body></message>`, {
      acknowledged: () => {
        message.acknowledged = true;
      },
      repeated: () => {
        message.repeats++;
      },
    });
  }

  /** A node fails: what it had not confirmed may have been handled, and is sent again by the other nodes. */
  nodeFails(): void {
    this.hasLostNodes = true;
    for (const message of this.messages.values()) message.isUncertain ||= !message.acknowledged;
  }

  // --- the reckoning ------------------------------------------------------------------------------------------------

  /** Everybody comes; resolves once everything was acknowledged and has arrived. */
  async settle(): Promise<void> {
    const { silence = Number.POSITIVE_INFINITY } = this.#options;
    // Time for some attempts to connect.
    const until = Date.now() + 2 * patience;
    for (;;) {
      const coming = this.actors.map(async ({ client }) => {
        if (client.unacknowledged > 0 && Date.now() - client.heardAt > silence) client.cut();
        if (!client.online) await client.connect().catch(() => pause(20));
      });
      await Promise.all(coming);
      for (const { client } of this.actors) client.acknowledge();
      const open = this.actors.filter(({ client }) => client.unacknowledged > 0).map(({ address }) => address);
      const missing = this.missing();
      if (open.length === 0 && missing.length === 0) return;
      assert.ok(
        Date.now() < until,
        `not acknowledged: stanzas of ${open.join(', ') || 'nobody'}\nlost: ${missing.length} (${missing.slice(0, 20).join(', ')})`,
      );
      await pause(20);
    }
  }

  /**
   * Acknowledged messages that have not arrived. A message to a room has arrived when it is archived, or if no session
   * is ever lost.
   */
  missing(): string[] {
    const missing: string[] = [];
    for (const [id, { to, inRoom, acknowledged, refused }] of this.messages) {
      if (!acknowledged || refused) continue;
      if (!inRoom && !this.#byAccount.get(to)!.some(({ got }) => got.has(id))) missing.push(`${id} to ${to}`);
      if (inRoom && this.#options.faithful)
        for (const { got, address } of this.actors) if (!got.has(id)) missing.push(`${id} in ${to} to ${address}`);
    }
    return missing;
  }

  /** Duplicates between clients that resume: others send again and receive again what they lost. */
  doubled(): string[] {
    const resumes = ({ habit }: Actor) => habit !== 'fickle';
    return this.actors.filter(resumes).flatMap(({ address, got }) =>
      [...got].flatMap(([id, times]) => {
        const sender = this.actors.find((actor) => actor.address === this.messages.get(id)?.from);
        return times > 1 && sender !== undefined && resumes(sender) ? [`${id} came ${times} times to ${address}`] : [];
      }),
    );
  }

  /** Throws if the server lacks confirmed data, has data that was never sent, or has it twice or out of order. */
  async compare(): Promise<Figures> {
    await Promise.all(this.actors.map((actor) => this.#compareThings(actor)));
    await Promise.all(this.actors.map((actor) => this.#compareRequests(actor)));
    for (const [bare, [actor]] of this.#byAccount) await this.#compareArchive(actor!, bare, undefined);
    const speaker = this.actors.find(({ habit }) => habit !== 'absent')!;
    let takenBack = 0;
    for (const name of this.#options.rooms) {
      const room = `${name}@${rooms}`;
      const archived = await this.#compareArchive(speaker, room, room);
      const ids = new Set(archived.map(({ id }) => id));
      for (const { to, heardAs } of this.messages.values())
        if (to === room) for (const as of heardAs) if (!ids.has(as)) takenBack++;
    }
    await this.#newcomers?.compare();
    return { messages: this.messages.size, doubled: this.doubled().length, takenBack };
  }

  async #compareThings(actor: Actor): Promise<void> {
    // Two clients of one account write the same data: only data with one writer can be compared.
    if (actor.isOneOfSeveral) return;
    for (const thing of things) {
      const { sent, confirmed } = actor.stored[thing];
      const found = await actor.read(thing);
      assert.ok(
        found >= confirmed && found <= sent,
        `${thing} of ${actor.client.bare} is version ${found}; confirmed was ${confirmed}, sent ${sent}`,
      );
    }
  }

  /** The requester has it in its roster, and the contact got the request. */
  async #compareRequests(actor: Actor): Promise<void> {
    if (actor.asked.size === 0) return;
    const roster = String(await actor.client.request('get', `<query xmlns='${NS.roster}'/>`));
    for (const [contact, wanted] of actor.asked) {
      const [item = ''] = new RegExp(`<item\\b[^>]*"${contact}"[^>]*>`).exec(roster) ?? [];
      assert.equal(
        item.includes('ask="subscribe"'),
        wanted,
        `${actor.address} asked ${contact} last: ${wanted}; ${item}`,
      );
      const arrived = this.#byAccount.get(contact)!.some(({ requests }) => requests.has(actor.client.bare));
      if (wanted) assert.ok(arrived, `${contact} has not heard that ${actor.address} asks for its presence`);
    }
  }

  /** Everything sent since the last check is present, once and in order; and nothing else. */
  async #compareArchive(reader: Actor, owner: string, room: string | undefined): Promise<Archived[]> {
    const ids = this.#archives.get(owner) ?? [];
    const archived = await reader.archive(room, ids.at(-1));
    const copies = new Map<string, string[]>();
    const highest = new Map<string, number>();
    for (const { id, message } of archived) {
      const before = ids.at(-1) ?? '';
      assert.ok(id > before, `the archive of ${owner} has ${id} behind ${before}`);
      ids.push(id);
      const said = this.messages.get(message);
      if (said === undefined) continue; // the subject of a room, or a message that was refused earlier
      const others = copies.get(message);
      if (others !== undefined) others.push(id);
      else {
        copies.set(message, [id]);
        // A refused message may have been sent again later, by a client that lost the session in which it got the
        // error; and a client that repeats a message in a room may not have been an occupant the first time.
        if (said.refused || (said.inRoom && said.repeats > 0)) continue;
        const last = highest.get(said.from) ?? 0;
        assert.ok(said.number > last, `the archive of ${owner} has ${message} behind number ${last}`);
        highest.set(said.from, said.number);
      }
    }
    this.#archives.set(owner, ids);
    for (const [id, { from, to, inRoom, acknowledged, repeats, isUncertain, refused, heardAs }] of this.messages) {
      if (room === undefined ? inRoom || (to !== owner && !from.startsWith(`${owner}/`)) : to !== room) continue;
      const found = copies.get(id) ?? [];
      if (acknowledged && !refused) assert.ok(found.length > 0, `${id} to ${to} is not in the archive of ${owner}`);
      assert.ok(
        found.length <= 1 + repeats + (isUncertain ? 1 : 0),
        `${id} to ${to} is ${found.length} times in the archive of ${owner} (${found}), and was said again ${repeats} times`,
      );
      if (repeats === 0 && found.length === 1)
        for (const as of heardAs)
          assert.equal(as, found[0], `${id} was heard as ${as}, and ${owner} keeps it as ${found[0]}`);
    }
    return archived;
  }

  /** All archives from the beginning: as they were when each round was over. */
  async compareAll(): Promise<void> {
    if (this.isBroken) return;
    for (const { client } of this.actors) if (!client.online) await client.connect();
    for (const [owner, ids] of this.#archives) {
      const isRoom = owner.endsWith(rooms);
      const reader = isRoom ? this.actors[0]! : this.#byAccount.get(owner)![0]!;
      const archived = await reader.archive(isRoom ? owner : undefined, undefined);
      const at = ids.findIndex((id, index) => archived[index]?.id !== id);
      assert.ok(
        at < 0 && archived.length === ids.length,
        `the archive of ${owner} is not what it was: ${archived.length} messages, ${ids.length} before; from ${at} on`,
      );
    }
  }

  /** Checked messages are forgotten. */
  forget(): void {
    this.hasLostNodes = false;
    this.messages.clear();
    for (const { got, requests } of this.actors) {
      got.clear();
      requests.clear();
    }
  }

  /** Unexpected stanzas since the last call. */
  takeWrong(): string[] {
    const isExpected = (error: string): boolean => onTheWay.test(error) || (this.hasLostNodes && lostNode.test(error));
    return this.actors.flatMap(({ wrong, client }) => [
      ...wrong.splice(0),
      ...client.streamErrors
        .splice(0)
        .filter((error) => !isExpected(error))
        .map((error) => `a stream of ${client.bare} ended by ${error}`),
    ]);
  }
}
