/**
 * Reads what clients are sent a second time: by saxes, which shares nothing with the server's own reader. A byte that saxes
 * refuses fails the test, and so does a tree that differs.
 */
import assert from 'node:assert/strict';
import { TextDecoder } from 'node:util';
import { SaxesParser, type SaxesTagNS } from 'saxes';
import { NS } from '../src/server/stanza/ns.js';
import { isNameChar, isNameStart } from '../src/server/xml/characters.js';
import { Element, elementOf } from '../src/server/xml/element.js';
import { type ReaderLimits, type StreamItem, XmlReader } from '../src/server/xml/reader.js';

const XMLNS_NS = 'http://www.w3.org/2000/xmlns/';

/** `[namespace, name, attributes, ...children]`, in a form that can be compared as JSON. Declarations are left out. */
export type Tree = [
  ns: string,
  name: string,
  attributes: [name: string, value: string][],
  ...content: (Tree | string)[],
];

/** An element of the server's in this form. */
export function treeOf(element: Element): Tree {
  const tree: Tree = [
    element.getNS() ?? '',
    element.getName(),
    attributesOf(element.attrs, (prefix) => element.findNS(prefix)),
  ];
  for (const child of element.children) {
    if (child instanceof Element) tree.push(treeOf(child));
    else addText(tree, child);
  }
  return tree;
}

function attributesOf(
  attrs: Readonly<Record<string, string | undefined>>,
  find: (prefix: string) => string | undefined,
): [string, string][] {
  const attributes: [string, string][] = [];
  for (const key of Object.keys(attrs)) {
    const value = attrs[key];
    if (value === undefined || key === 'xmlns' || key.startsWith('xmlns:')) continue;
    const colon = key.indexOf(':');
    attributes.push([`${key.slice(colon + 1)} ${colon < 0 ? '' : find(key.slice(0, colon))}`, value]);
  }
  return attributes.sort(byName);
}

const byName = ([one]: [string, string], [other]: [string, string]): number => (one < other ? -1 : 1);

/** Runs of text are one text. */
export function addText(tree: Tree, text: string): void {
  if (text === '') return;
  const last = tree.length - 1;
  if (last > 2 && typeof tree[last] === 'string') tree[last] += text;
  else tree.push(text);
}

/** XML-NAMES §3 NCName, with the characters of XML 1.0's fourth edition. saxes goes by the fifth, which allows more. */
export function isName(text: string): boolean {
  if (/^[A-Za-z_][\w.-]*$/.test(text)) return true;
  const [first, ...rest] = Array.from(text, (c) => c.codePointAt(0)!);
  return first !== undefined && isNameStart(first) && rest.every(isNameChar);
}

export interface StrictItem {
  readonly kind: 'open' | 'element' | 'close';
  readonly tree: Tree;
}

/** Reads a stream, or an element in each chunk. Throws where XML, its namespaces or RFC 6120 §11 are broken. */
export class StrictReader {
  readonly #framed: boolean;
  #parser!: SaxesParser<{ xmlns: true; position: false }>;
  #text!: TextDecoder;
  #items: StrictItem[] = [];
  #open: Tree[] = [];
  #isFresh = true;
  /** RFC 6120 §6.4.6: another stream begins after SASL's <success/>, perhaps in the same chunk. */
  #isBeforeSuccess = true;
  #hasSucceeded = false;

  constructor(mode: 'stream' | 'framed') {
    this.#framed = mode === 'framed';
    this.restart();
  }

  /** A new stream header comes next. */
  restart(): void {
    this.#begin();
    this.#text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  }

  #begin(): void {
    this.#open = [];
    this.#isFresh = true;
    const parser = new SaxesParser({ xmlns: true, position: false });
    this.#parser = parser;
    const refuse = (what: string) => () => {
      throw new Error(`${what} in what the server says`);
    };
    parser.on('error', (problem) => {
      throw problem;
    });
    parser.on('comment', refuse('a comment'));
    parser.on('processinginstruction', refuse('a processing instruction'));
    parser.on('doctype', refuse('a document type'));
    parser.on('opentag', (tag) => this.#opened(tag));
    parser.on('closetag', () => this.#closed());
    parser.on('text', (text) => this.#said(text));
    parser.on('cdata', (text) => this.#said(text));
  }

  /** What ends in this chunk. */
  read(chunk: Uint8Array): StrictItem[] {
    this.#items = [];
    if (this.#framed && !this.#isFresh) this.restart();
    this.#isFresh = false;
    const text = this.#text.decode(chunk, { stream: !this.#framed });
    if (this.#framed) {
      this.#parser.write(text).close();
      return this.#items;
    }
    let at = 0;
    while (this.#isBeforeSuccess && at < text.length) {
      const tagEnd = text.indexOf('>', at) + 1;
      const end = tagEnd === 0 ? text.length : tagEnd;
      this.#parser.write(text.slice(at, end));
      at = end;
      if (!this.#hasSucceeded) continue;
      this.#isBeforeSuccess = false;
      this.#begin();
    }
    if (at < text.length) this.#parser.write(text.slice(at));
    return this.#items;
  }

  #opened({ uri, prefix, local, attributes }: SaxesTagNS): void {
    const attrs: [string, string][] = [];
    assert.ok(isName(local) && (prefix === '' || isName(prefix)), `${local} is no name to all clients`);
    for (const attribute of Object.values(attributes)) {
      const { name, value } = attribute;
      assert.ok(
        isName(attribute.local) && (attribute.prefix === '' || isName(attribute.prefix)),
        `${name} is no name to all clients`,
      );
      if (attribute.uri !== XMLNS_NS) {
        attrs.push([`${attribute.local} ${attribute.uri}`, value]);
        continue;
      }
      // saxes trims namespaces, and lets prefixes be undeclared.
      assert.equal(value.trim(), value, 'white space around a namespace');
      assert.ok(name === 'xmlns' || value !== '', 'a prefix without namespace');
    }
    const tree: Tree = [uri, local, attrs.sort(byName)];
    const isStream = !this.#framed && this.#open.length === 0;
    if (isStream) this.#items.push({ kind: 'open', tree });
    // An id must not retain the text of its stream.
    else if (this.#open.length > (this.#framed ? 0 : 1)) this.#open.at(-1)!.push(tree);
    this.#open.push(tree);
  }

  #closed(): void {
    const tree = this.#open.pop()!;
    const depth = this.#open.length + (this.#framed ? 1 : 0);
    if (depth === 0) this.#items.push({ kind: 'close', tree });
    else if (depth === 1) {
      this.#items.push({ kind: 'element', tree });
      if (tree[0] === NS.sasl && tree[1] === 'success') this.#hasSucceeded = true;
    }
  }

  #said(text: string): void {
    if (this.#open.length > (this.#framed ? 0 : 1)) addText(this.#open.at(-1)!, text);
    else assert.match(text, /^[ \t\r\n]*$/, 'text outside of any stanza');
  }
}

/** Text that has to be exactly one element. */
export function strictTree(xml: string | Uint8Array): Tree {
  const [item] = new StrictReader('framed').read(Buffer.from(xml));
  assert.ok(item !== undefined, 'no element');
  return item.tree;
}

const limits: ReaderLimits = { stanzaBytes: 2 ** 26, depth: 1000, attributes: 1000 };

/** A client's reader: the server's own, which has to find what saxes finds. */
export class CheckedReader {
  readonly #ours: XmlReader;
  readonly #theirs: StrictReader;

  constructor(mode: 'stream' | 'framed') {
    this.#ours = new XmlReader(mode, limits);
    this.#theirs = new StrictReader(mode);
  }

  /** A new stream header comes next. */
  restart(): void {
    this.#ours.restart();
    this.#theirs.restart();
  }

  /** What ends in this chunk. Throws where it is not well-formed, or the two do not agree. */
  read(chunk: Buffer): StreamItem[] {
    const theirs = this.#theirs.read(chunk);
    const items: StreamItem[] = [];
    this.#ours.push(chunk);
    for (let item = this.#ours.next(); item !== undefined; item = this.#ours.next()) {
      compare(item, theirs[items.length]);
      items.push(item);
      if (item.kind === 'element' && item.ns === NS.sasl && item.name === 'success') this.#ours.restart();
    }
    assert.equal(items.length, theirs.length, 'one reader finds more than the other');
    return items;
  }
}

/** The server's reader alone, for clients that have no time for two. */
export class OwnReader {
  readonly #reader: XmlReader;

  constructor(mode: 'stream' | 'framed') {
    this.#reader = new XmlReader(mode, limits);
  }

  read(chunk: Buffer): StreamItem[] {
    const items: StreamItem[] = [];
    this.#reader.push(chunk);
    for (let item = this.#reader.next(); item !== undefined; item = this.#reader.next()) {
      items.push(item);
      if (item.kind === 'element' && item.ns === NS.sasl && item.name === 'success') this.#reader.restart();
    }
    return items;
  }
}

function compare(item: StreamItem, theirs: StrictItem | undefined): void {
  assert.equal(item.kind, theirs?.kind, 'one reader finds what the other does not');
  if (item.kind === 'close') return;
  const ours =
    item.kind === 'element'
      ? treeOf(elementOf(item))
      : [
          item.ns,
          item.name,
          attributesOf(item.attrs, (prefix) => (prefix === 'xml' ? NS.xml : item.attrs[`xmlns:${prefix}`])),
        ];
  assert.equal(JSON.stringify(ours), JSON.stringify(theirs!.tree), 'the readers do not agree');
}
