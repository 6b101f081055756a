/**
 * Ordinary users: they chat in pairs and in rooms, read their archives, lose their connection now and then and resume.
 * Each message is in the books: when it was sent, when the server acknowledged it, when it arrived, and where.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { patience } from '../interop/server.js';
import { Client } from './client.js';
import type { Random } from './random.js';

export const password = 'pencil';
const roomService = 'conference.localhost';
export const addressOf = (n: number): string => `user${n}@localhost`;
export const roomOf = (n: number): string => `hall${n}@${roomService}`;

export interface SocietyOptions {
  readonly accounts: number;
  readonly rooms: number;
  /** Accounts in one room. */
  readonly occupants: number;
  readonly random: Random;
  readonly port: () => number;
  /** Whether stanzas of this address are not part of the test. */
  overlooks(from: string): boolean;
}

interface Message {
  readonly to: string;
  readonly sentAt: number;
  /** Its recipients. */
  readonly recipients: readonly Person[];
  /** How often each got it. */
  readonly got: Map<Person, number>;
  isAcknowledged: boolean;
}

/** Delays of one phase, in ms. */
export interface Delays {
  readonly toRecipient: number[];
  readonly toSender: number[];
  /** Pages of archives. */
  readonly archive: number[];
}

interface Person {
  readonly client: Client;
  readonly partner: string;
  readonly rooms: readonly string[];
  /** When its present connection was ready, in ms. */
  onlineAt: number;
  /** The highest number so far, by sender and place. */
  readonly highest: Map<string, number>;
}

export class Society {
  readonly #options: SocietyOptions;
  readonly #people: Person[];
  readonly #occupants = new Map<string, Person[]>();
  readonly #messages = new Map<string, Message>();
  readonly #numbers = new Map<string, number>();
  #delays: Delays = { toRecipient: [], toSender: [], archive: [] };
  #isOver = false;
  #working: Promise<void>[] = [];
  #count = 0;
  /** Errors, and stanzas out of order. */
  readonly wrong: string[] = [];

  constructor(options: SocietyOptions) {
    this.#options = options;
    this.#people = Array.from({ length: options.accounts }, (_, n) => this.#person(n));
  }

  #person(n: number): Person {
    const { accounts, rooms: count, occupants, port } = this.#options;
    const stride = Math.floor(accounts / count);
    const rooms = Array.from({ length: count }, (_, room) => room)
      .filter((room) => (n - room * stride + accounts) % accounts < occupants)
      .map(roomOf);
    const joins = rooms.map(
      (room) => `<presence to='${room}/user${n}'><x xmlns='${NS.muc}'><history maxstanzas='0'/></x></presence>`,
    );
    const person: Person = {
      client: new Client({
        address: `${addressOf(n)}/one`,
        password,
        port,
        greeting: ['<presence/>', ...joins],
        isStrict: false,
        overlooks: this.#options.overlooks,
        received: (stanza) => this.#received(person, stanza),
      }),
      partner: addressOf(n % 2 === 0 ? n + 1 : n - 1),
      rooms,
      onlineAt: 0,
      highest: new Map(),
    };
    for (const room of rooms) this.#occupants.set(room, [...(this.#occupants.get(room) ?? []), person]);
    return person;
  }

  /** All log in and enter their rooms, which the first of each makes. */
  async enter(): Promise<void> {
    for (const [room, [owner]] of this.#occupants) {
      if (!owner!.client.online) await this.#connect(owner!);
      const form = `<x xmlns='${NS.dataForms}' type='submit'/>`;
      await owner!.client.request('set', `<query xmlns='${NS.mucOwner}'>${form}</query>`, room);
    }
    for (const person of this.#people) if (!person.client.online) await this.#connect(person);
    const ping = `<ping xmlns='${NS.ping}'/>`;
    await Promise.all(this.#people.map(({ client }) => client.request('get', ping, 'localhost')));
  }

  async #connect(person: Person): Promise<void> {
    await person.client.connect();
    person.onlineAt = performance.now();
  }

  /** They chat until `end`. */
  begin(): void {
    this.#isOver = false;
    this.#delays = { toRecipient: [], toSender: [], archive: [] };
    this.#working = this.#people.map((person) => this.#work(person));
  }

  async end(): Promise<Delays> {
    this.#isOver = true;
    await Promise.all(this.#working);
    return this.#delays;
  }

  async #work(person: Person): Promise<void> {
    const { random } = this.#options;
    await pause(random.between(0, 1500));
    while (!this.#isOver) {
      const inRoom = person.rooms.length > 0 && random.chance(0.15);
      this.#say(person, inRoom ? random.pick(person.rooms) : person.partner, inRoom);
      if (random.chance(0.03)) this.#read(person);
      if (random.chance(0.02)) await this.#reconnect(person);
      // In slices, so that the end of a phase does not wait.
      for (let left = random.between(1000, 2000); left > 0 && !this.#isOver; left -= 250)
        await pause(Math.min(left, 250));
    }
  }

  /** Loses its connection and resumes its session. */
  async #reconnect(person: Person): Promise<void> {
    person.client.cut();
    for (let tries = 1; !person.client.online; tries++) {
      try {
        await this.#connect(person);
      } catch (error) {
        if (tries === 3) {
          this.wrong.push(`${person.client.bare} cannot log in: ${error}`);
          return;
        }
        await pause(100);
      }
    }
  }

  #say(person: Person, to: string, inRoom: boolean): void {
    const { client } = person;
    const id = `ordinary-${++this.#count}`;
    const chat = `${client.bare} ${to}`;
    const number = (this.#numbers.get(chat) ?? 0) + 1;
    this.#numbers.set(chat, number);
    const sentAt = performance.now();
    const recipients = inRoom ? this.#occupants.get(to)! : this.#people.filter((other) => other.client.bare === to);
    const message: Message = { to, sentAt, recipients, got: new Map(), isAcknowledged: false };
    this.#messages.set(id, message);
    const delays = this.#delays;
    const isConnected = client.online;
    client.send(
      `<message to='${to}' type='${inRoom ? 'groupchat' : 'chat'}' id='${id}'><body>${chat} ${number}</body></message>`,
      {
        acknowledged: () => {
          message.isAcknowledged = true;
          if (isConnected && person.onlineAt < sentAt) delays.toSender.push(performance.now() - sentAt);
        },
      },
    );
  }

  #read({ client }: Person): void {
    const delays = this.#delays;
    const sentAt = performance.now();
    const page = `<set xmlns='${NS.rsm}'><max>20</max><before/></set>`;
    client.ask('set', `<query xmlns='${NS.mam}'>${page}</query>`, (answer) => {
      if (answer.attrs.type !== 'result') this.wrong.push(`${client.bare} cannot read its archive: ${answer}`);
      else delays.archive.push(performance.now() - sentAt);
    });
  }

  #received(person: Person, stanza: Element): void {
    if (stanza.attrs.type === 'error') {
      this.wrong.push(`${person.client.bare} got an error: ${stanza}`);
      return;
    }
    const message = this.#messages.get(stanza.attrs.id ?? '');
    if (stanza.name !== 'message' || message === undefined) return;
    const now = performance.now();
    const times = message.got.get(person) ?? 0;
    message.got.set(person, times + 1);
    const [from, to, number] = stanza.getChildText('body')!.split(' ') as [string, string, string];
    const chat = `${from} ${to}`;
    const before = person.highest.get(chat) ?? 0;
    if (Number(number) !== before + 1 && times === 0)
      this.wrong.push(`${person.client.bare} got number ${number} of ${chat} after number ${before}`);
    person.highest.set(chat, Number(number));
    // Delays of a lost connection are not measured.
    if (person.client.online && person.onlineAt < message.sentAt) this.#delays.toRecipient.push(now - message.sentAt);
  }

  /** Resolves with the number of messages once all have arrived and are acknowledged; missing ones are errors. */
  async settle(): Promise<number> {
    const isOpen = ({ isAcknowledged, recipients, got }: Message): boolean =>
      !isAcknowledged || recipients.some((person) => !got.has(person));
    for (const until = Date.now() + 3 * patience; Date.now() < until; await pause(50)) {
      for (const person of this.#people) if (!person.client.online) await this.#reconnect(person);
      if (![...this.#messages.values()].some(isOpen)) break;
    }
    for (const [id, message] of this.#messages) {
      if (!message.isAcknowledged) this.wrong.push(`${id} to ${message.to} was not acknowledged`);
      for (const { client } of message.recipients.filter((person) => !message.got.has(person)))
        this.wrong.push(`${id} to ${message.to} did not reach ${client.bare}`);
      for (const [{ client }, times] of message.got)
        if (times > 1) this.wrong.push(`${id} to ${message.to} reached ${client.bare} ${times} times`);
    }
    for (const { client } of this.#people) {
      for (const error of client.streamErrors.splice(0)) this.wrong.push(`a stream of ${client.bare} ended: ${error}`);
      if (client.end !== undefined) this.wrong.push(`a stream of ${client.bare} ended: ${JSON.stringify(client.end)}`);
      if (client.refused > 0) this.wrong.push(`${client.bare} could not resume`);
      client.end = undefined;
    }
    const count = this.#messages.size;
    this.#messages.clear();
    return count;
  }

  leave(): void {
    for (const { client } of this.#people) client.cut();
  }
}
