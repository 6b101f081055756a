/** The other side of XEP-0114: an external component, for dialogues. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { NS } from '../../src/server/stanza/ns.js';
import { type Element, elementOf, parse, serialize } from '../../src/server/xml/element.js';
import type { TopLevel } from '../../src/server/xml/reader.js';
import { CheckedReader } from '../strict.js';
import { type Scene, scenario } from './dialogue.js';
import { difference, fillIn } from './match.js';

type Item = ReturnType<CheckedReader['read']>[number];

let syncs = 0;

export class ComponentPeer {
  readonly socket: Socket;
  readonly #reader = new CheckedReader('stream');
  readonly #inbox: Item[] = [];
  readonly #wakes: (() => void)[] = [];
  /** Bound names. */
  readonly known = new Map<string, string>();
  /** The id of the stream. */
  id = '';

  constructor(
    port: number,
    readonly domain: string,
    readonly secret: string,
  ) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => {});
    for (const event of ['readable', 'end', 'close']) this.socket.on(event, () => this.#wakeAll());
  }

  #wakeAll(): void {
    for (const wake of this.#wakes.splice(0)) wake();
  }

  says(xml: string): void {
    this.socket.write(xml);
  }

  /** §3: the header. Attributes may be changed, or left out by undefined. */
  opens(attributes: Readonly<Record<string, string | undefined>> = {}, ns: string = NS.component): void {
    const given = Object.entries({ to: this.domain, 'xml:lang': 'it', ...attributes })
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => ` ${name}='${value}'`)
      .join('');
    this.says(`<stream:stream xmlns='${ns}' xmlns:stream='${NS.stream}'${given}>`);
  }

  handshake(secret: string = this.secret): void {
    const hash = createHash('sha1').update(`${this.id}${secret}`).digest('hex');
    this.says(`<handshake>${hash}</handshake>`);
  }

  /** Header and handshake. */
  async logsIn(): Promise<this> {
    this.opens();
    await this.hearsOpen();
    this.handshake();
    await this.hears('handshake');
    return this;
  }

  /** Resolves when something is there to be heard, or the connection is over: false. */
  async readable(): Promise<boolean> {
    while (this.#inbox.length === 0) {
      const chunk = this.socket.read() as Buffer | null;
      if (chunk !== null) this.#inbox.push(...this.#reader.read(chunk));
      else if (this.socket.readableEnded || this.socket.destroyed) return false;
      else
        await new Promise<void>((resolve) => {
          this.#wakes.push(resolve);
        });
    }
    return true;
  }

  /** The next item that the server sends. Undefined at the end of the connection. */
  async next(): Promise<Item | undefined> {
    await this.readable();
    return this.#inbox.shift();
  }

  /** The elements that have come. */
  takes(): TopLevel[] {
    return this.#inbox.splice(0).map((item) => {
      assert.ok(item.kind === 'element', `${this.domain} heard ${JSON.stringify(item)}`);
      return item;
    });
  }

  async hearsOpen(): Promise<Readonly<Record<string, string>>> {
    const item = await this.next();
    assert.ok(item?.kind === 'open', `${this.domain} should have heard a header, not ${JSON.stringify(item)}`);
    this.id = item.attrs.id ?? '';
    return item.attrs;
  }

  async hears(name: string): Promise<TopLevel> {
    const item = await this.next();
    assert.ok(
      item?.kind === 'element' && item.name === name,
      `${this.domain} should have heard <${name}/>, not ${JSON.stringify(item)}`,
    );
    return item;
  }

  /** The next element has to be this one, as for clients: more may be there. `{name}` is bound and filled in. */
  async receives(xml: string, { exactly = false } = {}): Promise<Element> {
    const item = await this.next();
    assert.ok(item?.kind === 'element', `${this.domain} should have heard ${xml}, not ${JSON.stringify(item)}`);
    const element = elementOf(item);
    const wrong = difference(parse(fillIn(xml, this.known), NS.component), element, this.known, exactly);
    assert.equal(wrong, undefined, `${this.domain} heard ${serialize(element)}`);
    return element;
  }

  /** Sends with the bound names filled in. */
  sends(xml: string): void {
    this.says(fillIn(xml, this.known));
  }

  /** A stream error, the end of the stream, and that of the connection. */
  async hearsStreamError(condition: string): Promise<void> {
    assert.match((await this.hears('error')).content, new RegExp(`^<${condition} xmlns=.${NS.streams}.`));
    await this.hearsEnd();
  }

  async hearsEnd(): Promise<void> {
    assert.equal((await this.next())?.kind, 'close');
    assert.equal(await this.next(), undefined);
    this.socket.end();
  }

  /** Resolves when the server has handled everything, and asserts that it sends nothing else. */
  async syncs(): Promise<TopLevel[]> {
    const id = `sync-${++syncs}`;
    this.says(`<iq type='get' id='${id}' from='${this.domain}' to='localhost'><ping xmlns='${NS.ping}'/></iq>`);
    const received: TopLevel[] = [];
    for (;;) {
      const item = await this.next();
      assert.ok(item?.kind === 'element', `${this.domain} heard ${JSON.stringify(item)}`);
      if (item.attrs.id === id) return received;
      received.push(item);
    }
  }

  async hearsNothing(): Promise<void> {
    assert.deepEqual(await this.syncs(), []);
  }
}

export interface ComponentScene extends Scene {
  /** A new connection of a component, closed when the scenario ends. */
  component(domain: string): ComponentPeer;
}

/** A scenario with components: their tables, without the secret. In a cluster each node asks it. */
export function withComponents(
  title: string,
  components: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  dialogue: (scene: ComponentScene) => Promise<void>,
  more: { readonly config?: Readonly<Record<string, unknown>>; readonly alone?: boolean } = {},
): void {
  const secret = 'a pound of apothecary';
  const config = {
    ...more.config,
    listen: { ...(more.config?.listen as object | undefined), component: ['127.0.0.1:0'] },
    components: Object.fromEntries(Object.entries(components).map(([domain, table]) => [domain, { secret, ...table }])),
  };
  scenario(title, { config, alone: more.alone ?? false, nodes: 1 }, async (scene) => {
    const made: ComponentPeer[] = [];
    const component = (domain: string) => {
      const peer = new ComponentPeer(scene.stage.port('component'), domain, secret);
      made.push(peer);
      return peer;
    };
    try {
      await dialogue({ ...scene, component });
    } finally {
      for (const { socket } of made) socket.destroy();
    }
  });
}
