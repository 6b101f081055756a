/**
 * A client small enough to log in to every server: TCP without TLS, SCRAM-SHA-1, one resource. It keeps all stanzas that
 * come until a test asks for them, since stanzas from different servers come in any order.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { NS } from '../../../src/server/stanza/ns.js';
import { type Element, elementOf, parse } from '../../../src/server/xml/element.js';
import type { StreamItem, TopLevel } from '../../../src/server/xml/reader.js';
import { difference } from '../../compliance/match.js';
import { Scram } from '../../compliance/scram.js';
import { CheckedReader } from '../../strict.js';
import { abilities, happenings } from '../by-xml.js';
import { Inbox } from '../device.js';
import { patience } from '../server.js';

/** Patience with what may have been lost with a connection, in ms: then it is tried again. */
export const ofOneAttempt = 20_000;

export interface Login {
  readonly host: string;
  readonly port: number;
  /** `user@domain`. */
  readonly bare: string;
  readonly resource: string;
  readonly password: string;
  /** What it says that it can do (XEP-0030, XEP-0115). Default: nothing. */
  readonly features?: readonly string[];
  /** Whether it becomes available. Default: yes. */
  readonly isAvailable?: boolean;
}

/** An error came in answer to an IQ. */
export class Refused extends Error {
  override readonly name = 'Refused';
  constructor(
    readonly condition: string,
    readonly stanza: Element,
  ) {
    super(`${condition}: ${stanza}`);
  }
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const plain = (text: string): string => Buffer.from(text, 'base64').toString();

const matches = (wanted: Element, one: Element): boolean => difference(wanted, one, new Map(), false) === undefined;

export class Client {
  readonly #login: Login;
  readonly #socket: Socket;
  readonly #reader = new CheckedReader('stream');
  /** Elements of the negotiation that are not read yet. */
  readonly #items: StreamItem[] = [];
  /** Stanzas that no test has asked for. */
  readonly #stanzas: Element[] = [];
  readonly #answers = new Map<string, (answer: Element) => void>();
  #wake: (() => void)[] = [];
  #isBound = false;
  #error: Error | undefined;
  #asked = 0;
  /** What came, in the terms that the client libraries of the interop tests share. */
  readonly inbox: Inbox;
  /** The full address. */
  jid = '';
  readonly can: ReturnType<typeof abilities>;

  private constructor(login: Login) {
    this.#login = login;
    this.inbox = new Inbox(`${login.bare}/${login.resource}`);
    this.can = abilities(
      (type, payload, to) => this.asks(type, payload, to),
      async (xml) => this.sends(xml),
      this.inbox,
    );
    this.#socket = connect({ host: login.host, port: login.port, noDelay: true });
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#socket.on('error', (error) => this.#ended(error));
    this.#socket.on('close', () => this.#ended(new Error(`${login.bare}: the connection ended`)));
  }

  /** Logs in, asks for the roster, becomes available. */
  static async online(login: Login): Promise<Client> {
    const client = new Client(login);
    try {
      await once(client.#socket, 'connect');
      await client.#authenticate();
      await client.#bind();
      await client.asks('get', `<query xmlns='${NS.roster}'/>`);
      if (login.isAvailable !== false) client.sends(client.presence());
    } catch (error) {
      client.cut();
      throw error;
    }
    return client;
  }

  get bare(): string {
    return this.#login.bare;
  }

  /** Available presence with its capabilities (XEP-0115), if it has any. */
  presence(content = ''): string {
    const { features = [] } = this.#login;
    if (features.length === 0) return `<presence>${content}</presence>`;
    // XEP-0115 §5.1.
    const described = `client/pc//<${[...features].sort().join('<')}<`;
    const ver = createHash('sha1').update(described).digest('base64');
    return `<presence>${content}<c xmlns='${NS.caps}' hash='sha-1' node='https://test.example' ver='${ver}'/></presence>`;
  }

  async #authenticate(): Promise<void> {
    await this.#header();
    const [user] = this.#login.bare.split('@') as [string];
    const scram = new Scram({ hash: 'SHA-1', user, password: this.#login.password });
    this.#write(`<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>${base64(scram.first())}</auth>`);
    const challenge = await this.#element('challenge');
    this.#write(`<response xmlns='${NS.sasl}'>${base64(scram.final(plain(challenge.getText())))}</response>`);
    const success = await this.#element('success');
    assert.ok(scram.verify(plain(success.getText())), `${this.bare}: the server does not know the password`);
    await this.#header();
  }

  async #header(): Promise<void> {
    const domain = this.#login.bare.split('@')[1];
    this.#write(
      `<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}' version='1.0' to='${domain}' xml:lang='en'>`,
    );
    const open = await this.#item();
    assert.equal(open.kind, 'open', JSON.stringify(open));
    await this.#element('features');
  }

  async #bind(): Promise<void> {
    this.#isBound = true;
    const bind = `<bind xmlns='${NS.bind}'><resource>${this.#login.resource}</resource></bind>`;
    const answer = await this.asks('set', bind);
    this.jid = answer.getChild('bind', NS.bind)?.getChildText('jid') ?? '';
    assert.notEqual(this.jid, '', String(answer));
  }

  #write(xml: string): void {
    this.#socket.write(xml);
  }

  #read(chunk: Buffer): void {
    try {
      for (const item of this.#reader.read(chunk)) {
        if (item.kind === 'element' && this.#isBound) this.#came(item);
        else this.#items.push(item);
      }
    } catch (error) {
      this.#error ??= error as Error;
      this.#socket.destroy();
    }
    this.#wakeAll();
  }

  #came(item: TopLevel): void {
    const stanza = elementOf(item);
    if (item.ns === NS.stream) {
      this.#ended(new Error(`${this.bare}: ${stanza}`));
      return;
    }
    if (item.ns !== NS.client) return;
    const { id = '', type } = stanza.attrs;
    if (stanza.name === 'iq' && (type === 'result' || type === 'error')) {
      this.#answers.get(id)?.(stanza);
      this.#answers.delete(id);
      return;
    }
    if (stanza.name === 'iq' && type === 'get') this.#answer(stanza);
    if (stanza.name === 'iq' && type === 'set') this.#reply(stanza, '');
    this.#stanzas.push(stanza);
    for (const happening of happenings(String(stanza))) this.inbox.put(happening);
  }

  /** XEP-0030, XEP-0199; other requests are refused. */
  #answer(request: Element): void {
    const query = request.getChild('query', NS.discoInfo);
    if (request.getChild('ping', NS.ping) !== undefined) this.#reply(request, '');
    else if (query !== undefined) {
      const node = query.attrs.node === undefined ? '' : ` node='${query.attrs.node}'`;
      const features = (this.#login.features ?? []).map((feature) => `<feature var='${feature}'/>`).join('');
      const identity = `<identity category='client' type='pc'/>`;
      this.#reply(request, `<query xmlns='${NS.discoInfo}'${node}>${identity}${features}</query>`);
    } else {
      const { id, from } = request.attrs;
      const to = from === undefined ? '' : ` to='${from}'`;
      this.sends(
        `<iq type='error' id='${id}'${to}><error type='cancel'><service-unavailable xmlns='${NS.stanzas}'/></error></iq>`,
      );
    }
  }

  #reply({ attrs: { id, from } }: Element, payload: string): void {
    const to = from === undefined ? '' : ` to='${from}'`;
    this.sends(`<iq type='result' id='${id}'${to}>${payload}</iq>`);
  }

  #ended(error: Error): void {
    this.#error ??= error;
    this.#wakeAll();
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Resolves with the first result that is not undefined; `look` is called whenever something came. */
  async #wait<T>(look: () => T | undefined, what: () => string, ms = patience): Promise<T> {
    const until = performance.now() + ms;
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.#error !== undefined) throw this.#error;
      const left = until - performance.now();
      if (left <= 0) throw new Error(what());
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  #item(): Promise<StreamItem> {
    return this.#wait(
      () => this.#items.shift(),
      () => `${this.bare}: the server says nothing`,
    );
  }

  async #element(name: string): Promise<Element> {
    const item = await this.#item();
    assert.ok(item.kind === 'element' && item.name === name, `${this.bare}: no <${name}/>: ${JSON.stringify(item)}`);
    return elementOf(item);
  }

  sends(xml: string): void {
    this.#write(xml);
  }

  /** Asks by IQ. Rejects with Refused for an error, and if no answer comes within so many ms. */
  async asks(type: 'get' | 'set', payload: string, to?: string, ms = patience): Promise<Element> {
    const id = `ask${++this.#asked}`;
    let answer: Element | undefined;
    this.#answers.set(id, (came) => (answer = came));
    this.#write(`<iq type='${type}' id='${id}'${to === undefined ? '' : ` to="${to}"`}>${payload}</iq>`);
    const came = await this.#wait(
      () => answer,
      () => `${this.bare} got no answer from ${to ?? 'its server'} to ${payload}`,
      ms,
    );
    if (came.attrs.type === 'result') return came;
    const conditions = came.getChild('error')?.getChildElements() ?? [];
    throw new Refused(conditions.find((one) => one.getNS() === NS.stanzas)?.name ?? '', came);
  }

  /** The condition with which a request is refused. */
  async isRefused(type: 'get' | 'set', payload: string, to?: string): Promise<string> {
    try {
      await this.asks(type, payload, to);
    } catch (error) {
      if (error instanceof Refused) return error.condition;
      throw error;
    }
    throw new Error(`${this.bare}: ${to} did not refuse ${payload}`);
  }

  /**
   * The first stanza that matches, as in dialogues: what is written has to be in it. Other stanzas are left. Without
   * `from` in the pattern any sender counts. Rejects if none comes within so many ms.
   */
  gets(xml: string, ms = patience): Promise<Element> {
    const wanted = parse(xml, NS.client);
    // Each stanza is compared once, however many come.
    const compared = new Set<Element>();
    return this.#wait(
      () => {
        const at = this.#stanzas.findIndex((one) => {
          if (compared.has(one)) return false;
          compared.add(one);
          return matches(wanted, one);
        });
        return at < 0 ? undefined : this.#stanzas.splice(at, 1)[0];
      },
      () =>
        `${this.bare} got no ${xml}; what came:\n  ${this.#stanzas.slice(-10).map(String).join('\n  ') || 'nothing'}`,
      ms,
    );
  }

  #find(wanted: Element): number {
    return this.#stanzas.findIndex((one) => matches(wanted, one));
  }

  /** Asserts that no such stanza has come so far. */
  hasNone(xml: string): void {
    const at = this.#find(parse(xml, NS.client));
    assert.equal(at < 0 ? undefined : String(this.#stanzas[at]), undefined, `${this.bare} got what it must not`);
  }

  /** Takes all stanzas that have come and match. */
  takes(xml: string): Element[] {
    const wanted = parse(xml, NS.client);
    const all = this.#stanzas.splice(0);
    this.#stanzas.push(...all.filter((one) => !matches(wanted, one)));
    return all.filter((one) => matches(wanted, one));
  }

  /** Its server has handled what it sent before. */
  async syncs(): Promise<void> {
    await this.asks('get', `<query xmlns='${NS.roster}'/>`);
  }

  /** Ends its session in order. */
  async leaves(): Promise<void> {
    if (this.#socket.destroyed) return;
    const closed = once(this.#socket, 'close');
    this.#write(`<presence type='unavailable'/></stream:stream>`);
    this.#socket.end();
    await closed;
  }

  /** The connection is reset. */
  cut(): void {
    this.#socket.destroy();
  }
}
