/**
 * A small client that records what it sent and the server acknowledged (XEP-0198), and what it received and
 * acknowledged. It uses plain TCP, and resumes its session if possible.
 */
import { connect, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { NS } from '../../src/server/stanza/ns.js';
import { reset } from '../../src/server/transport/reset.js';
import { type Element, elementOf, serialize } from '../../src/server/xml/element.js';
import type { StreamItem, TopLevel } from '../../src/server/xml/reader.js';
import { patience as longPatience, within } from '../interop/server.js';
import { CheckedReader, OwnReader } from '../strict.js';

export interface ClientOptions {
  /** `user@host/resource`. */
  readonly address: string;
  readonly password: string;
  readonly port: () => number;
  /** Opens a connection in another way than plain TCP: text of a stream over TCP goes in and comes out. */
  readonly open?: () => Duplex;
  /** What begins every new session: sent first, and again where the session was lost. */
  readonly greeting?: readonly string[];
  /** The probability that it answers `<r/>`; a later answer covers skipped ones. Default: always. */
  readonly diligence?: () => boolean;
  /** Whether a second parser checks the server's output. Default: true. Clients that measure time disable it. */
  readonly isStrict?: boolean;
  /** The address whose stanzas are counted but not inspected. */
  overlooks?(from: string): boolean;
  received?(stanza: Element): void;
}

/** What becomes of a stanza. */
export interface Told {
  acknowledged?(): void;
  /** It is sent again in another session: the server may have had it already. */
  repeated?(): void;
}

interface Sent {
  readonly xml: string;
  readonly told: Told;
}

/** How a stream ended. */
export interface End {
  /** The condition of the stream error that the server gave. */
  readonly condition: string | undefined;
  /** The server closed its stream as one should. */
  readonly closed: boolean;
  /** The connection was reset. */
  readonly reset: boolean;
}

/** Patience with a login, in ms: on a connection that has gone silent none comes, and another is tried. */
const patience = 20_000;

export class Client {
  readonly bare: string;
  readonly resource: string;
  readonly #options: ClientOptions;
  #socket: Duplex | undefined;
  #reader: { read(chunk: Buffer): StreamItem[] };
  /** Unacknowledged stanzas, the oldest first. */
  #outbox: Sent[] = [];
  #h = 0;
  #received = 0;
  #counting = false;
  /** The id to resume by. */
  #previd: string | undefined;
  readonly #requests = new Map<string, (answer: Element) => void>();
  #waiting: { ready: (item: TopLevel) => void; lost: (error: Error) => void } | undefined;
  #pending: TopLevel[] = [];
  #online = false;
  #ids = 0;
  /** Sessions that it took up again, and those that it could not. */
  resumed = 0;
  refused = 0;
  /** What ended a stream of it, besides `system-shutdown` and `conflict`. */
  readonly streamErrors: string[] = [];
  /** Of the last stream that came as far as a session and that it did not end itself. */
  end: End | undefined;
  /** When it heard anything last, in ms. */
  heardAt = 0;
  #condition: string | undefined;
  #closed = false;
  #lost = (): void => {};
  /** Called at the next `<a/>`. */
  #answered = (): void => {};

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#reader = this.#newReader();
    const [bare = '', resource = ''] = options.address.split('/');
    this.bare = bare;
    this.resource = resource;
  }

  get online(): boolean {
    return this.#online;
  }

  /** Stanzas that the server has not acknowledged. */
  get unacknowledged(): number {
    return this.#outbox.length;
  }

  // --- saying -------------------------------------------------------------------------------------------------------

  /** Sends a stanza, now or when it is connected again; again until the server acknowledges it. */
  send(xml: string, told: Told = {}): void {
    this.#outbox.push({ xml, told });
    if (this.#online) this.#write(`${xml}<r xmlns='${NS.sm}'/>`);
  }

  /** Sends an IQ; calls back with the result or error, however many connections later. */
  ask(type: 'get' | 'set', payload: string, answered: (answer: Element) => void, to?: string): void {
    const id = `${this.resource}-${++this.#ids}`;
    this.#requests.set(id, answered);
    this.send(`<iq type='${type}' id='${id}'${to === undefined ? '' : ` to='${to}'`}>${payload}</iq>`);
  }

  /** Sends an IQ that has to succeed within so many ms. */
  request(type: 'get' | 'set', payload: string, to?: string): Promise<Element> {
    return within(
      longPatience,
      `an answer to ${payload}`,
      () =>
        new Promise((resolve, reject) =>
          this.ask(
            type,
            payload,
            (answer) =>
              answer.attrs.type === 'result' ? resolve(answer) : reject(new Error(`refused: ${serialize(answer)}`)),
            to,
          ),
        ),
    );
  }

  /** The same, on this connection: rejects when that is lost. */
  requestNow(type: 'get' | 'set', payload: string, to?: string): Promise<Element> {
    const lost = new Promise<never>((_, reject) => {
      this.#lost = () => reject(new Error('the connection was lost'));
    });
    return Promise.race([this.request(type, payload, to), lost]);
  }

  /**
   * Resolves when nothing is under way: both have acknowledged everything, and the server knows it. Rejects if that takes
   * too long, or the connection is lost.
   */
  async settles(): Promise<void> {
    await this.request('get', `<ping xmlns='${NS.ping}'/>`, this.bare.split('@')[1]);
    const answer = (): Promise<void> =>
      new Promise((resolve) => {
        this.#answered = resolve;
      });
    await within(longPatience, `the acknowledgements of ${this.#options.address}`, async () => {
      while (this.#outbox.length > 0) await answer();
      this.acknowledge();
      this.#write(`<r xmlns='${NS.sm}'/>`);
      await answer();
    });
  }

  /** Acknowledges received stanzas, requested or not. */
  acknowledge(): void {
    if (this.#online) this.#write(`<a xmlns='${NS.sm}' h='${this.#received}'/>`);
  }

  // --- connections --------------------------------------------------------------------------------------------------

  /** Resumes the session if there is one; otherwise binds a new one and sends unacknowledged stanzas again. */
  connect(password = this.#options.password): Promise<void> {
    return within(patience, `the login of ${this.#options.address}`, () => this.#connect(password));
  }

  /**
   * Whether the server lets it in with this password. No session begins. Each time it comes from another address, since
   * the server answers slower where logins fail.
   */
  async tries(password: string): Promise<boolean> {
    this.#open(`127.${[0, 0, 0].map(() => 1 + Math.floor(Math.random() * 250)).join('.')}`);
    this.#authenticate(password);
    await this.#next('features');
    const answer = await this.#next('success', 'failure');
    if (answer.name === 'failure' && !/not-authorized/.test(answer.content))
      throw new Error(`the login failed otherwise: ${answer.content}`);
    this.cut();
    return answer.name === 'success';
  }

  /** The server's answer to an IQ before authentication (XEP-0077). Needs no account. */
  async asStranger(payload: string): Promise<TopLevel> {
    this.#open();
    await this.#next('features');
    this.#write(`<iq type='set' id='stranger'>${payload}</iq>`);
    const answer = await this.#next('iq');
    this.cut();
    return answer;
  }

  #open(localAddress = '127.0.0.1'): void {
    this.cut();
    const socket =
      this.#options.open?.() ?? connect({ host: '127.0.0.1', port: this.#options.port(), localAddress, noDelay: true });
    this.#socket = socket;
    this.#reader = this.#newReader();
    this.#pending = [];
    this.#counting = false;
    this.#condition = undefined;
    this.#closed = false;
    this.heardAt = Date.now();
    let reset = false;
    socket.on('data', (chunk) => {
      if (socket === this.#socket) this.#heard(chunk);
    });
    socket.on('error', () => {
      reset = true;
    });
    socket.on('close', () => {
      if (socket !== this.#socket) return;
      if (this.#online) this.end = { condition: this.#condition, closed: this.#closed, reset };
      this.cut();
    });
    this.#write(this.#header);
  }

  #newReader(): { read(chunk: Buffer): StreamItem[] } {
    return this.#options.isStrict === false ? new OwnReader('stream') : new CheckedReader('stream');
  }

  get #header(): string {
    const host = this.bare.split('@')[1];
    return `<?xml version='1.0'?><stream:stream to='${host}' version='1.0' xmlns='${NS.client}' xmlns:stream='${NS.stream}'>`;
  }

  #authenticate(password: string): void {
    const user = this.bare.split('@')[0];
    const secret = Buffer.from(`\0${user}\0${password}`).toString('base64');
    this.#write(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${secret}</auth>`);
  }

  async #connect(password: string): Promise<void> {
    this.#open();
    this.#authenticate(password);
    await this.#next('features');
    await this.#next('success');
    this.#write(this.#header);
    await this.#next('features');
    if (this.#previd === undefined || !(await this.#resume(this.#previd))) await this.#begin();
  }

  async #resume(previd: string): Promise<boolean> {
    this.#write(`<resume xmlns='${NS.sm}' previd='${previd}' h='${this.#received}'/>`);
    const answer = await this.#next('resumed', 'failed');
    if (answer.name === 'failed') {
      this.refused++;
      this.#previd = undefined;
      return false;
    }
    this.resumed++;
    this.#goOn(this.#outbox);
    return true;
  }

  async #begin(): Promise<void> {
    this.#write(`<iq type='set' id='bind'><bind xmlns='${NS.bind}'><resource>${this.resource}</resource></bind></iq>`);
    await this.#next('iq');
    this.#write(`<enable xmlns='${NS.sm}' resume='true'/>`);
    const enabled = await this.#next('enabled');
    this.#previd = enabled.attrs.id;
    const greeting = this.#options.greeting ?? ['<presence/>'];
    const again = this.#outbox.filter(({ xml }) => !greeting.includes(xml));
    for (const { told } of again) told.repeated?.();
    this.#outbox = [...greeting.map((xml) => ({ xml, told: {} })), ...again];
    this.#goOn(this.#outbox);
  }

  #goOn(again: readonly Sent[]): void {
    this.#online = true;
    for (const { xml } of again) this.#write(xml);
    this.#write(`<r xmlns='${NS.sm}'/>`);
  }

  /** Drops the connection without closing the stream. */
  cut(): void {
    this.#online = false;
    const socket = this.#socket;
    this.#socket = undefined;
    // TLS would say goodbye.
    if (socket?.constructor === Socket) reset(socket);
    else socket?.destroy();
    this.#lost();
    this.#waiting?.lost(new Error('the connection was lost'));
    this.#waiting = undefined;
  }

  /** Gives up its session: the next connection binds a new one, and sends unacknowledged stanzas again. */
  forget(): void {
    this.cut();
    this.#previd = undefined;
  }

  /** Closes the stream properly: received stanzas are acknowledged, and the session ends. */
  async leave(): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined) return;
    this.acknowledge();
    this.#previd = undefined;
    await within(longPatience, 'the end of a stream', () => {
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      socket.end('</stream:stream>');
      return closed;
    });
  }

  #write(xml: string): void {
    this.#socket?.write(xml);
  }

  // --- hearing ------------------------------------------------------------------------------------------------------

  #heard(chunk: Buffer): void {
    this.heardAt = Date.now();
    for (const item of this.#reader.read(chunk)) {
      if (item.kind === 'close') {
        this.#closed = true;
        return;
      }
      if (item.kind !== 'element') continue;
      this.#take(item);
    }
  }

  #take(item: TopLevel): void {
    if (item.ns === NS.stream && item.name === 'error') {
      this.#condition = /<([a-z-]+)/.exec(item.content)?.[1];
      if (!/system-shutdown|conflict/.test(item.content)) this.streamErrors.push(item.content);
      return;
    }
    if (item.ns === NS.sm) {
      if (item.name === 'r') {
        if (this.#options.diligence?.() ?? true) this.#write(`<a xmlns='${NS.sm}' h='${this.#received}'/>`);
        return;
      }
      if (item.name === 'a') {
        this.#acknowledged(Number(item.attrs.h));
        this.#answered();
        return;
      }
      // From this element on stanzas count, whatever came with it in one segment.
      if (item.name === 'enabled') {
        this.#counting = true;
        this.#received = 0;
        this.#h = 0;
      } else if (item.name === 'resumed') {
        this.#counting = true;
        this.#acknowledged(Number(item.attrs.h));
      }
    }
    if (!this.#counting || item.ns === NS.sm) {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (waiting === undefined) this.#pending.push(item);
      else waiting.ready(item);
      return;
    }
    this.#received = (this.#received + 1) % 2 ** 32;
    if (this.#options.overlooks?.(item.attrs.from ?? '') === true) return;
    const stanza = elementOf(item);
    if (item.name === 'iq' && (item.attrs.type === 'result' || item.attrs.type === 'error')) {
      const id = item.attrs.id ?? '';
      const answered = this.#requests.get(id);
      this.#requests.delete(id);
      answered?.(stanza);
    } else this.#options.received?.(stanza);
  }

  #acknowledged(h: number): void {
    const count = (h - this.#h + 2 ** 32) % 2 ** 32;
    if (count > this.#outbox.length)
      throw new Error(`${this.#options.address}: the server acknowledged ${count} of ${this.#outbox.length} stanzas`);
    this.#h = h;
    for (const { told } of this.#outbox.splice(0, count)) told.acknowledged?.();
  }

  async #next(...names: string[]): Promise<TopLevel> {
    const item =
      this.#pending.shift() ??
      (await new Promise<TopLevel>((ready, lost) => {
        if (this.#socket === undefined) lost(new Error('the connection was lost'));
        else this.#waiting = { ready, lost };
      }));
    if (!names.includes(item.name))
      throw new Error(`${item.name} came instead of ${names.join(' or ')}: ${item.content}`);
    return item;
  }
}
