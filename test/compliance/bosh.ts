/**
 * A client's side of BOSH (XEP-0124, XEP-0206), used like a WebSocket: what it sends and receives is framed as RFC 7395.
 * `<open/>` creates the session or restarts the stream, `<close/>` ends it, and anything else is a payload.
 */
import { EventEmitter } from 'node:events';
import { Agent, request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest, Agent as SecureAgent } from 'node:https';
import { NS } from '../../src/server/stanza/ns.js';
import { type Element, el, elementOf, parse, serialize } from '../../src/server/xml/element.js';
import { CheckedReader } from '../strict.js';

export interface BoshOptions extends RequestOptions {
  readonly isSecure?: boolean;
  /** Of other nodes, which get requests in turn after the session was created. */
  readonly otherPorts?: readonly number[];
}

export interface Reply {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly text: string;
}

/** Bytes of the elements of one request, unless a single one is larger. */
const mostBytes = 32_768;

/** Posts a body. Resolves with undefined if the connection breaks. */
export function post(options: BoshOptions, body: string | Buffer): Promise<Reply | undefined> {
  return new Promise((resolve) => {
    const { isSecure = false, otherPorts: _, headers, ...more } = options;
    const isChunked = headers !== undefined && 'transfer-encoding' in headers;
    const length = isChunked ? {} : { 'content-length': Buffer.byteLength(body) };
    const all = { 'content-type': 'text/xml; charset=utf-8', ...length, ...headers };
    const send = isSecure ? httpsRequest : httpRequest;
    const usual = { host: '127.0.0.1', path: '/http-bind', method: 'POST', agent: false };
    const sent = send({ ...usual, ...more, headers: all }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', () => resolve(undefined));
      response.on('end', () =>
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          text: Buffer.concat(chunks).toString(),
        }),
      );
    });
    sent.on('error', () => resolve(undefined));
    sent.end(body);
  });
}

/** Reads a body of the server, which two readers have to understand alike. */
export function readBody(text: string): Element {
  const [item] = new CheckedReader('framed').read(Buffer.from(text));
  if (item?.kind !== 'element' || item.name !== 'body' || item.ns !== NS.httpBind) throw new Error(`no body: ${text}`);
  return elementOf(item);
}

export class BoshConnection extends EventEmitter {
  readonly #options: BoshOptions;
  readonly #agent: Agent;
  #sid: string | undefined;
  #rid = 2 ** 40 + Math.floor(Math.random() * 2 ** 40);
  #requests = 1;
  /** Requests without an answer. */
  #pending = 0;
  /** Attributes of a body that has no payload, or payloads. */
  #queue: (Readonly<Record<string, string>> | Buffer)[] = [];
  /** The number of the next answer, and answers after it. */
  #next = this.#rid + 1;
  readonly #answers = new Map<number, Reply>();
  /** The host to which a header was sent, until ours comes. */
  #opening: string | undefined;
  #isPaused = false;
  #isOver = false;

  constructor(options: BoshOptions) {
    super();
    this.#agent = options.isSecure === true ? new SecureAgent({ keepAlive: true }) : new Agent({ keepAlive: true });
    this.#options = { ...options, agent: this.#agent };
    setImmediate(() => this.emit('open'));
  }

  send(data: string | Buffer, done: () => void): void {
    const text = data.toString();
    if (text.startsWith(`<open xmlns='${NS.framing}'`)) {
      const { xmlns, version, ...attrs } = parse(text).attrs as Record<string, string>;
      this.#opening = attrs.to ?? '';
      const shared = { ...attrs, 'xmlns:xmpp': NS.xbosh };
      this.#queue.push(
        this.#sid === undefined
          ? { ...shared, ...(version !== undefined && { 'xmpp:version': version }), ver: '1.11', wait: '60', hold: '1' }
          : { ...shared, 'xmpp:restart': 'true' },
      );
    } else if (text.startsWith(`<close xmlns='${NS.framing}'`)) this.#queue.push({ type: 'terminate' });
    else this.#queue.push(Buffer.from(data));
    this.#pump();
    done();
  }

  /** Ends the session, if it has one, and the connections. */
  leave(): void {
    if (this.#isOver || this.#sid === undefined) this.terminate();
    else {
      this.#queue = [];
      void this.#post({ type: 'terminate' }, []).finally(() => this.terminate());
    }
  }

  close(): void {
    this.terminate();
  }

  terminate(): void {
    this.#agent.destroy();
    this.#over();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#read();
  }

  #pump(): void {
    while (this.#queue.length > 0 && this.#pending < this.#requests && !this.#isPaused && !this.#isOver) {
      const first = this.#queue.shift()!;
      if (!Buffer.isBuffer(first)) this.#request(first, []);
      else {
        const payloads = [first];
        let size = first.length;
        for (
          let next = this.#queue[0];
          Buffer.isBuffer(next) && size + next.length <= mostBytes;
          next = this.#queue[0]
        ) {
          payloads.push(next);
          size += next.length;
          this.#queue.shift();
        }
        this.#request({}, payloads);
      }
    }
  }

  #request(attributes: Readonly<Record<string, string>>, payloads: readonly Buffer[]): void {
    this.#pending++;
    const rid = this.#rid + 1;
    void this.#post(attributes, payloads).then((reply) => {
      this.#pending--;
      if (reply === undefined) this.#over();
      else {
        this.#answers.set(rid, reply);
        this.#read();
      }
    });
  }

  #post(attributes: Readonly<Record<string, string>>, payloads: readonly Buffer[]): Promise<Reply | undefined> {
    const all = { xmlns: NS.httpBind, rid: String(++this.#rid), sid: this.#sid, ...attributes };
    const tag = Buffer.from(`${serialize(el('body', all)).slice(0, -2)}>`);
    return this.#send(Buffer.concat([tag, ...payloads, Buffer.from('</body>')]));
  }

  /**
   * Sends the request to the node whose turn it is. If there is no answer, it sends it again to the first one (§14.3): that node
   * may have stopped, or the server has closed an idle connection at the same moment.
   */
  async #send(body: Buffer): Promise<Reply | undefined> {
    const { port, otherPorts = [] } = this.#options;
    const next = this.#sid === undefined ? port : [port, ...otherPorts][this.#rid % (otherPorts.length + 1)];
    const reply = await post({ ...this.#options, port: next }, body);
    const isUnanswered = reply === undefined || reply.status === 503;
    return isUnanswered && !this.#isOver ? post(this.#options, body) : reply;
  }

  /** Answers are read in the order of the requests. */
  #read(): void {
    for (let reply = this.#answers.get(this.#next); reply !== undefined; reply = this.#answers.get(this.#next)) {
      if (this.#isPaused || this.#isOver) return;
      this.#answers.delete(this.#next++);
      this.#take(reply);
    }
    this.#pump();
    if (this.#pending === 0 && !this.#isPaused && !this.#isOver) this.#request({}, []);
  }

  #take({ status, text }: Reply): void {
    if (status !== 200) {
      this.#over();
      return;
    }
    const body = readBody(text);
    const { sid, requests, from, authid, condition, type } = body.attrs as Record<string, string | undefined>;
    this.#sid ??= sid;
    if (requests !== undefined) this.#requests = Number(requests);
    const elements = body.getChildElements();
    if (this.#opening !== undefined && (authid !== undefined || elements.length > 0)) {
      const open = { xmlns: NS.framing, version: '1.0', from: from ?? this.#opening, id: authid };
      this.#opening = undefined;
      this.#message(serialize(el('open', open)));
    }
    for (const element of elements) this.#message(serialize(element));
    if (type !== 'terminate') return;
    if (condition !== undefined && condition !== 'remote-stream-error')
      this.#message(serialize(el('error', { xmlns: NS.stream }, el(condition, { xmlns: NS.streams }))));
    this.#message(`<close xmlns='${NS.framing}'/>`);
    this.terminate();
  }

  #message(text: string): void {
    this.emit('message', Buffer.from(text));
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.emit('close');
  }
}
