/**
 * Cost of reading: our reader compared with ltx, saxes and sax, in CPU time per stanza.
 * `node dist/bench/reader.js [rounds]`; prints the best of several alternating rounds.
 */
import type { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import { Element } from 'ltx';
import { SaxesParser } from 'saxes';
import { Stanza } from '../src/server/stanza/stanza.js';
import { XmlReader } from '../src/server/xml/reader.js';

// Neither has types.
const require = createRequire(import.meta.url);
const sax = require('sax') as {
  parser(
    strict: boolean,
    options: object,
  ): { write(text: string): void; onopentag: () => void; onclosetag: () => void };
};
const LtxTokenizer = require('ltx/lib/parsers/ltx.js') as new () => EventEmitter & { write(text: string): void };

const HEADER =
  "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.net' version='1.0'>";
const LIMITS = { stanzaBytes: 1 << 20, depth: 100, attributes: 100 };

function base64(length: number, seed: number): string {
  let text = '';
  for (let i = 0; text.length < length; i++)
    text += Buffer.from(`${seed * 7919 + i * 104729}`)
      .toString('base64')
      .replace(/=/g, 'A');
  return text.slice(0, length);
}

function repeat(count: number, one: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => one(i)).join('');
}

const CHAT =
  "<message to='romeo@example.net/orchard' type='chat' id='b7c1a2f0-93d4-4e57-8a6b-0c1d2e3f4a5b' xml:lang='en'><body>Wherefore art thou, Romeo? Deny thy father.</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>";
const RUSSIAN = CHAT.replace(/<body>.*<\/body>/, '<body>О, Ромео, зачем же ты Ромео? Отринь отца.</body>');

const OMEMO = `<message to='romeo@example.net' from='juliet@example.com/balcony' type='chat' id='${base64(24, 3)}'><encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1837263541'>${repeat(8, (i) => `<key rid='${i * 987654 + 12345}'${i % 4 === 0 ? " prekey='true'" : ''}>${base64(220, i)}</key>`)}<iv>${base64(16, 1)}</iv></header><payload>${base64(180, 2)}</payload></encrypted><encryption xmlns='urn:xmpp:eme:0' name='OMEMO' namespace='eu.siacs.conversations.axolotl'/><body>I sent you an OMEMO encrypted message but your client does not seem to support that.</body><origin-id xmlns='urn:xmpp:sid:0' id='${base64(24, 3)}'/><request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/><store xmlns='urn:xmpp:hints'/></message>`;

const PRESENCE = `<presence id='${base64(20, 5)}'><show>away</show><priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://conversations.im' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/><x xmlns='vcard-temp:x:update'><photo>8a3a1b0d5f7c9e2b4d6f8a1c3e5b7d9f0a2c4e6f</photo></x><idle xmlns='urn:xmpp:idle:1' since='2026-03-01T12:34:56Z'/></presence>`;

const ROSTER = `<iq type='result' id='roster1' to='juliet@example.com/balcony'><query xmlns='jabber:iq:roster' ver='ver14'>${repeat(100, (i) => `<item jid='contact${i}@example${i % 7}.net' name='Contact Number ${i}' subscription='both'><group>Friends</group></item>`)}</query></iq>`;

const MAM = repeat(
  50,
  (i) =>
    `<message to='juliet@example.com/balcony' from='juliet@example.com'><result xmlns='urn:xmpp:mam:2' queryid='f27' id='28482-98726-${73623 + i}'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-03-01T12:34:56Z'/>${CHAT.replace('<message', "<message xmlns='jabber:client' from='juliet@example.com/balcony'")}</forwarded></result></message>`,
);

interface Case {
  readonly name: string;
  /** One stanza, or a page of several. */
  readonly xml: string;
  readonly stanzas: number;
}

const CASES: readonly Case[] = [
  { name: 'chat', xml: CHAT, stanzas: 1 },
  { name: 'chat, Cyrillic', xml: RUSSIAN, stanzas: 1 },
  { name: 'OMEMO message', xml: OMEMO, stanzas: 1 },
  { name: 'presence, caps', xml: PRESENCE, stanzas: 1 },
  { name: 'roster, 100 items', xml: ROSTER, stanzas: 1 },
  { name: 'MAM page, 50', xml: MAM, stanzas: 50 },
];

/** A reader that has read a stream header: takes chunks and counts stanzas. */
type Feed = (chunk: Buffer) => void;
let count = 0;

function ours(): Feed {
  const reader = new XmlReader('stream', LIMITS);
  reader.push(Buffer.from(HEADER));
  reader.next();
  return (chunk) => {
    reader.push(chunk);
    while (reader.next() !== undefined) count++;
  };
}

/** The complete path: read, turned into a stanza, and serialized for its recipient. */
function stanza(): Feed {
  const reader = new XmlReader('stream', LIMITS);
  reader.push(Buffer.from(HEADER));
  reader.next();
  return (chunk) => {
    reader.push(chunk);
    for (let item = reader.next(); item !== undefined; item = reader.next()) {
      if (item.kind === 'element' && Stanza.fromTopLevel(item).toXml().length > 0) count++;
    }
  };
}

/** Builds a tree for each stanza, like clients and components based on ltx. */
function ltx(): Feed {
  const tokenizer = new LtxTokenizer();
  let open: Element | null = null;
  let depth = 0;
  tokenizer.on('startElement', (name: string, attrs: Record<string, string>) => {
    const element = new Element(name, attrs);
    if (depth > 1) open!.cnode(element);
    if (depth > 0) open = element;
    depth++;
  });
  tokenizer.on('text', (text: string) => {
    if (depth > 1) open!.t(text);
  });
  tokenizer.on('endElement', () => {
    if (--depth === 1) count++;
    open = open!.parent;
  });
  tokenizer.write(HEADER);
  return (chunk) => {
    tokenizer.write(chunk.toString());
  };
}

/** Only events, no tree. */
function saxes(): Feed {
  const parser = new SaxesParser({ xmlns: true, position: false });
  let depth = 0;
  let text = '';
  parser.on('opentag', () => depth++);
  parser.on('text', (data) => {
    text = data;
  });
  parser.on('closetag', () => {
    if (--depth === 1) count++;
  });
  parser.write(HEADER);
  return (chunk) => {
    parser.write(chunk.toString());
    if (text === '\0') count--;
  };
}

function saxJs(): Feed {
  const parser = sax.parser(true, { xmlns: true, position: false });
  let depth = 0;
  parser.onopentag = () => depth++;
  parser.onclosetag = () => {
    if (--depth === 1) count++;
  };
  parser.write(HEADER);
  return (chunk) => {
    parser.write(chunk.toString());
  };
}

const READERS = { ours, 'ours to wire': stanza, ltx, saxes, sax: saxJs } as const;

function microseconds(feed: Feed, chunk: Buffer, times: number): number {
  const before = process.cpuUsage();
  for (let i = 0; i < times; i++) feed(chunk);
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** Runs until the compiler has optimized the code. */
function warmUp(feed: Feed, chunk: Buffer): void {
  const end = performance.now() + 300;
  while (performance.now() < end) for (let i = 0; i < 20; i++) feed(chunk);
}

const rounds = Number(process.argv[2] ?? 5);
const rows: Record<string, Record<string, string>> = {};
for (const { name, xml, stanzas } of CASES) {
  for (const perChunk of [1, 16]) {
    const chunk = Buffer.from(xml.repeat(perChunk));
    const times = Math.max(20, Math.round(3_000_000 / chunk.length));
    const best = new Map<string, number>();
    for (const make of Object.values(READERS)) warmUp(make(), chunk);
    for (let round = 0; round < rounds; round++) {
      for (const [reader, make] of Object.entries(READERS)) {
        const feed = make();
        count = 0;
        const cost = microseconds(feed, chunk, times) / (times * perChunk * stanzas);
        if (count !== times * perChunk * stanzas) throw new Error(`${reader} read ${count} stanzas of ${name}`);
        best.set(reader, Math.min(best.get(reader) ?? Number.POSITIVE_INFINITY, cost));
      }
    }
    const own = best.get('ours')!;
    const row: Record<string, string> = { bytes: String(Math.round(Buffer.byteLength(xml) / stanzas)) };
    for (const [reader, cost] of best) {
      row[`${reader} µs`] = cost.toFixed(2);
      if (!reader.startsWith('ours')) row[`${reader} ratio`] = (cost / own).toFixed(1);
    }
    rows[`${name} × ${perChunk}`] = row;
  }
}
console.table(rows);
