/** A connection whose text is matched against patterns, and a client and a server's streams on top of it. */
import { connect, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import { NS } from '../../src/server/stanza/ns.js';
import type { Pem } from '../../src/server/tls/self-signed.js';
import { Scram } from '../../test/compliance/scram.js';
import type { Place } from '../../test/interop/federation/peer.js';

/** Patience with an answer, in ms. */
const patience = 20_000;

export class Line {
  #socket: Socket;
  #text = '';
  #wanted: { readonly pattern: RegExp; heard(match: RegExpExecArray): void; failed(error: Error): void } | undefined;
  #takes: ((text: string) => void) | undefined;
  #isOver = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#attach();
  }

  static to({ host, port }: Place): Line {
    return new Line(connect({ host, port, noDelay: true }));
  }

  #attach(): void {
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk.toString('latin1')));
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      this.#isOver = true;
      this.#wanted?.failed(new Error(`closed before ${this.#wanted.pattern}: ${this.#text.slice(-500)}`));
    });
  }

  #read(text: string): void {
    if (this.#takes !== undefined) this.#takes(text);
    else {
      this.#text += text;
      this.#look();
    }
  }

  #look(): void {
    const match = this.#wanted?.pattern.exec(this.#text);
    if (match === null || match === undefined) return;
    const { heard } = this.#wanted!;
    this.#wanted = undefined;
    this.#text = this.#text.slice(match.index + match[0].length);
    heard(match);
  }

  says(text: string): void {
    this.#socket.write(text);
  }

  /** Resolves when the pattern matches; what precedes its end is forgotten. */
  async hears(pattern: RegExp): Promise<RegExpExecArray> {
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<RegExpExecArray>((resolve, reject) => {
        this.#wanted = { pattern, heard: resolve, failed: reject };
        timer = setTimeout(() => reject(new Error(`no ${pattern}: ${this.#text.slice(-500)}`)), patience);
        if (this.#isOver) reject(new Error(`closed before ${pattern}: ${this.#text.slice(-500)}`));
        else this.#look();
      });
    } finally {
      clearTimeout(timer);
      this.#wanted = undefined;
    }
  }

  /** From now on, text goes there as it comes. */
  listens(takes: (text: string) => void): void {
    this.#takes = takes;
    takes(this.#text);
    this.#text = '';
  }

  /** Starts TLS, and goes on over it. `ready` runs as soon as the connection no longer reads plain text. */
  secures(side: 'client' | 'server', secureContext: SecureContext, ready = () => {}): void {
    const plain = this.#socket;
    for (const event of ['data', 'error', 'close']) plain.removeAllListeners(event);
    plain.on('error', () => {});
    plain.pause();
    ready();
    this.#socket =
      side === 'server'
        ? new TLSSocket(plain, { isServer: true, secureContext })
        : connectTls({ socket: plain, rejectUnauthorized: false, secureContext });
    this.#attach();
  }

  ends(): void {
    this.#socket.destroy();
  }
}

const header = (ns: string, attributes: string): string =>
  `<stream:stream xmlns='${ns}' xmlns:stream='${NS.stream}' version='1.0' ${attributes}>`;
const features = (xml: string): string => `<stream:features>${xml}</stream:features>`;
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const plainText = (text: string): string => Buffer.from(text, 'base64').toString();
const opened = /<stream:features\s*\/>|<\/stream:features>/;

/** Logs in by SCRAM-SHA-1, and becomes available with the resource `r`. */
export async function login(place: Place, bare: string, password: string): Promise<Line> {
  const line = Line.to(place);
  const [user, domain] = bare.split('@') as [string, string];
  const open = (): Promise<unknown> => {
    line.says(header(NS.client, `to='${domain}'`));
    return line.hears(opened);
  };
  await open();
  const scram = new Scram({ hash: 'SHA-1', user, password });
  line.says(`<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>${base64(scram.first())}</auth>`);
  const [, challenge] = await line.hears(/<challenge[^>]*>([^<]*)</);
  line.says(`<response xmlns='${NS.sasl}'>${base64(scram.final(plainText(challenge!)))}</response>`);
  await line.hears(/<success/);
  await open();
  line.says(`<iq type='set' id='bound'><bind xmlns='${NS.bind}'><resource>r</resource></bind></iq>`);
  await line.hears(/<jid>[^<]*<\/jid>/);
  line.says(`<iq type='get' id='roster'><query xmlns='${NS.roster}'/></iq>`);
  await line.hears(/id=['"]roster['"]/);
  line.says(`<presence/><iq type='get' id='here' to='${domain}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await line.hears(/id=['"]here['"]/);
  return line;
}

/** The other server's side of a stream. */
export interface Accepted {
  readonly line: Line;
  /** The domain that the stream is for. */
  readonly domain: string;
  /** Whether it may carry stanzas both ways (XEP-0288). */
  readonly isBidirectional: boolean;
}

export const contextOf = ({ certificate, key }: Pem): SecureContext => createSecureContext({ cert: certificate, key });

/** Poses as the server of any domain: STARTTLS, EXTERNAL, and XEP-0288 where `offers` says so. */
export async function accept(
  socket: Socket,
  context: SecureContext,
  offers: (domain: string) => boolean,
): Promise<Accepted> {
  const line = new Line(socket);
  const open = async (xml: (to: string) => string): Promise<string> => {
    const [text] = await line.hears(/<stream:stream [^>]*>/);
    const [to = '', from = ''] = ['to', 'from'].map((name) => new RegExp(` ${name}=['"]([^'"]*)`).exec(text)?.[1]);
    line.says(header(NS.server, `id='${Math.random().toString(36)}' from='${to}' to='${from}'`) + features(xml(to)));
    return to;
  };
  await open(() => `<starttls xmlns='${NS.tls}'><required/></starttls>`);
  await line.hears(/<starttls/);
  line.secures('server', context, () => socket.write(`<proceed xmlns='${NS.tls}'/>`));
  const domain = await open(
    (to) =>
      `<mechanisms xmlns='${NS.sasl}'><mechanism>EXTERNAL</mechanism></mechanisms>${offers(to) ? `<bidi xmlns='${NS.bidiFeature}'/>` : ''}`,
  );
  const [asked] = await line.hears(/.*<auth/s);
  line.says(`<success xmlns='${NS.sasl}'/>`);
  await open(() => '');
  return { line, domain, isBidirectional: asked.includes(NS.bidi) };
}

/** Opens a stream to a server: STARTTLS, EXTERNAL. */
export async function open(place: Place, context: SecureContext, from: string, to: string): Promise<Line> {
  const line = Line.to(place);
  const begin = (wanted: RegExp): Promise<unknown> => {
    line.says(header(NS.server, `from='${from}' to='${to}'`));
    return line.hears(wanted);
  };
  await begin(opened);
  line.says(`<starttls xmlns='${NS.tls}'/>`);
  await line.hears(/<proceed[^>]*>/);
  line.secures('client', context);
  await begin(/EXTERNAL.*<\/stream:features>/s);
  line.says(`<auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>${base64(from)}</auth>`);
  await line.hears(/<success/);
  await begin(opened);
  return line;
}

/** Calls `came` for each message with a body, with its text from the start tag on, and `returned` for one that came back. */
export function messages(came: (stanza: string) => void, returned: (stanza: string) => void): (text: string) => void {
  let rest = '';
  return (text) => {
    rest += text;
    for (let end = rest.indexOf('</message>'); end >= 0; end = rest.indexOf('</message>')) {
      const start = rest.indexOf('<message');
      const stanza = rest.slice(start, end);
      rest = rest.slice(end + '</message>'.length);
      if (/^[^>]* type=['"]error/.test(stanza)) returned(stanza);
      else if (stanza.includes('<body>')) came(stanza);
    }
  };
}

export const attribute = (head: string, name: 'from' | 'to'): string =>
  new RegExp(` ${name}=['"]([^'"]*)`).exec(head.slice(0, head.indexOf('>')))?.[1] ?? '';
