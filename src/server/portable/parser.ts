/**
 * Reads one file of XEP-0227 as a stream of events, whatever its size: hosts, users, and the parts of a user, each small
 * enough for memory. Files are input from elsewhere: no DTD and no entities, bounded values, depth and parts.
 */
import { type SaxesAttributeNS, SaxesParser, type SaxesTagNS } from 'saxes';
import type { PortableElement } from '../module/index.js';
import { NS } from '../stanza/ns.js';
import { Element, serialize } from '../xml/element.js';

/** Maximum characters of a text, an attribute or a tag. */
const longestToken = 16 * 2 ** 20;
/** Maximum characters of a part as written in the file; larger ones are left out. */
const largestPart = 8 * 2 ** 20;
/** Maximum depth of elements in a part. */
const deepest = 100;
/** Maximum attributes of an element in a part. */
const mostAttributes = 1000;

/** The file cannot be read any further. */
export class PortableError extends Error {
  override readonly name = 'PortableError';
}

export type PortableEvent =
  | { readonly kind: 'host'; readonly jid: string }
  | { readonly kind: 'user'; readonly name: string | undefined; readonly password: string | undefined }
  /** Part of a user: the child of `<user/>`, serialized, with at most one piece in it. */
  | { readonly kind: 'part'; readonly ns: string; readonly name: string; readonly xml: string }
  | { readonly kind: 'endUser' }
  | { readonly kind: 'endHost' }
  | { readonly kind: 'include'; readonly href: string; readonly level: Level }
  /** An element that nobody takes. */
  | { readonly kind: 'unknown'; readonly ns: string; readonly name: string }
  | { readonly kind: 'refused'; readonly what: string; readonly why: string };

/** What the current element is; a file that is included begins at a later level. */
export type Level = 'document' | 'server' | 'host' | 'user';

type Takes = (ns: string, name: string) => PortableElement | undefined;

const isPie = (ns: string): boolean => ns === NS.pie || ns === NS.pieOld;

export class PortableParser {
  readonly #parser = new SaxesParser({ xmlns: true, position: true });
  readonly #takes: Takes;
  #level: Level;
  readonly #first: Level;
  readonly #events: PortableEvent[] = [];
  /** Elements that are skipped with all they contain: how many are open. */
  #skipped = 0;
  /** Containers around the current part. */
  readonly #shells: { readonly element: Element; isEmpty: boolean }[] = [];
  #containers = 0;
  #part: Element | undefined;
  #depth = 0;
  #partFrom = 0;
  #excess: string | undefined;
  /** Position after the last tag or text. */
  #eventAt = 0;

  /** `level`: what contains the root of the file. */
  constructor(level: Level, takes: Takes) {
    this.#level = this.#first = level;
    this.#takes = takes;
    const parser = this.#parser;
    parser.on('doctype', () => {
      throw new PortableError('a document type declaration is not allowed');
    });
    parser.on('opentag', (tag) => this.#open(tag));
    parser.on('closetag', () => this.#close());
    parser.on('text', (text) => this.#text(text));
    parser.on('cdata', (text) => this.#text(text));
    parser.on('comment', () => this.#passed());
    parser.on('processinginstruction', () => this.#passed());
    parser.on('xmldecl', ({ encoding }) => {
      this.#passed();
      if (encoding !== undefined && encoding.toLowerCase() !== 'utf-8')
        throw new PortableError('its encoding is not UTF-8');
    });
  }

  /** Reads some more of the file. Throws PortableError. */
  push(text: string): PortableEvent[] {
    this.#attempt(() => this.#parser.write(text));
    if (this.#parser.position - this.#eventAt > longestToken)
      throw this.#at(`a text or an attribute is longer than ${longestToken} characters`);
    return this.#events.splice(0);
  }

  /** The file has ended. Throws PortableError if it is not complete. */
  end(): PortableEvent[] {
    this.#attempt(() => this.#parser.close());
    return this.#events.splice(0);
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (error instanceof PortableError) throw this.#at(error.message);
      // The message of saxes begins with its position, and may quote the file.
      throw this.#at(error instanceof Error ? 'it is not well-formed XML, or it is cut off' : String(error));
    }
  }

  #at(text: string): PortableError {
    return new PortableError(`line ${this.#parser.line}: ${text}`);
  }

  #passed(): void {
    this.#eventAt = this.#parser.position;
  }

  #open(tag: SaxesTagNS): void {
    this.#passed();
    if (this.#skipped > 0) this.#skipped++;
    else if (this.#part !== undefined) this.#openInPart(tag);
    else if (this.#shells.length > 0) this.#openInShell(tag);
    else this.#openOutside(tag);
  }

  #openOutside(tag: SaxesTagNS): void {
    const { uri, local } = tag;
    if (uri === NS.xinclude && local === 'include') {
      this.#skipped = 1;
      this.#include(tag);
      return;
    }
    switch (this.#level) {
      case 'document':
        if (!isPie(uri) || local !== 'server-data')
          throw new PortableError(`the root is not <server-data xmlns="${NS.pie}">`);
        this.#level = 'server';
        return;
      case 'server':
        if (!isPie(uri) || local !== 'host') this.#unknown(uri, local);
        else {
          this.#level = 'host';
          this.#events.push({ kind: 'host', jid: attribute(tag, 'jid') ?? '' });
        }
        return;
      case 'host':
        if (!isPie(uri) || local !== 'user') this.#unknown(uri, local);
        else {
          this.#level = 'user';
          this.#events.push({ kind: 'user', name: attribute(tag, 'name'), password: attribute(tag, 'password') });
        }
        return;
      case 'user':
        this.#openOfUser(tag);
    }
  }

  #openOfUser(tag: SaxesTagNS): void {
    const ns = tag.uri === NS.pieOld ? NS.pie : tag.uri;
    const taken = this.#takes(ns, tag.local);
    if (taken === undefined) this.#unknown(tag.uri, tag.local);
    else {
      this.#containers = taken.containers ?? 0;
      if (this.#containers === 0) this.#beginPart(tag);
      else this.#shells.push({ element: elementOf(tag, ns), isEmpty: true });
    }
  }

  /** §4: a relative reference without `parse` and `xpointer`. */
  #include(tag: SaxesTagNS): void {
    const href = attribute(tag, 'href');
    const parse = attribute(tag, 'parse');
    if (href === undefined || (parse !== undefined && parse !== 'xml') || attribute(tag, 'xpointer') !== undefined)
      this.#events.push({ kind: 'refused', what: 'an <include/>', why: 'only whole XML files can be included' });
    else this.#events.push({ kind: 'include', href, level: this.#level });
  }

  #unknown(ns: string, name: string): void {
    this.#skipped = 1;
    this.#events.push({ kind: 'unknown', ns, name });
  }

  #openInShell(tag: SaxesTagNS): void {
    this.#shells.at(-1)!.isEmpty = false;
    if (this.#shells.length < this.#containers) this.#shells.push({ element: elementOf(tag), isEmpty: true });
    else this.#beginPart(tag);
  }

  #beginPart(tag: SaxesTagNS): void {
    this.#partFrom = this.#parser.position;
    this.#depth = 1;
    this.#part = elementOf(tag, tag.uri === NS.pieOld ? NS.pie : tag.uri);
  }

  #openInPart(tag: SaxesTagNS): void {
    this.#depth++;
    if (this.#excess !== undefined) return;
    if (this.#isTooLarge()) return;
    if (this.#depth > deepest || Object.keys(tag.attributes).length > mostAttributes)
      this.#excess = 'it is too deep or too wide';
    else {
      const child = elementOf(tag);
      this.#part!.cnode(child);
      this.#part = child;
    }
  }

  #isTooLarge(): boolean {
    if (this.#parser.position - this.#partFrom <= largestPart) return false;
    this.#excess ??= `it is larger than ${largestPart} characters`;
    return true;
  }

  #close(): void {
    this.#passed();
    if (this.#skipped > 0) this.#skipped--;
    else if (this.#part !== undefined) this.#closeInPart();
    else if (this.#shells.length > 0) this.#closeShell();
    else this.#closeOutside();
  }

  #closeInPart(): void {
    this.#depth--;
    this.#isTooLarge();
    if (this.#depth > 0) {
      if (this.#excess === undefined) this.#part = this.#part!.parent!;
      return;
    }
    let root = this.#part!;
    while (root.parent !== null) root = root.parent;
    this.#part = undefined;
    const why = this.#excess;
    this.#excess = undefined;
    if (why === undefined) this.#emit(root);
    else this.#events.push({ kind: 'refused', what: `<${root.name} xmlns="${root.attrs.xmlns}">`, why });
  }

  /** An empty container is a part too: of a node without items. */
  #closeShell(): void {
    const { element, isEmpty } = this.#shells.pop()!;
    if (isEmpty) this.#emit(element);
  }

  #emit(inner: Element): void {
    let element = inner;
    for (const shell of this.#shells.toReversed()) {
      const copy = new Element(shell.element.name, { ...shell.element.attrs });
      copy.cnode(element);
      element = copy;
    }
    this.#events.push({ kind: 'part', ns: element.attrs.xmlns ?? '', name: element.name, xml: serialize(element) });
  }

  #closeOutside(): void {
    switch (this.#level) {
      case 'user':
        if (this.#first === 'user') return;
        this.#events.push({ kind: 'endUser' });
        this.#level = 'host';
        return;
      case 'host':
        if (this.#first === 'host') return;
        this.#events.push({ kind: 'endHost' });
        this.#level = 'server';
        return;
      case 'server':
        if (this.#first === 'document') this.#level = 'document';
        return;
      case 'document':
    }
  }

  #text(text: string): void {
    this.#passed();
    if (this.#skipped > 0 || this.#part === undefined || this.#excess !== undefined || this.#isTooLarge()) return;
    this.#part.t(text);
  }
}

const attribute = ({ attributes }: SaxesTagNS, name: string): string | undefined =>
  Object.hasOwn(attributes, name) ? attributes[name]!.value : undefined;

/** Every element has its namespace in `xmlns` and no prefix, as trees of ours do. */
function elementOf({ local, uri, attributes }: SaxesTagNS, ns = uri): Element {
  const attrs: Record<string, string> = { xmlns: ns };
  for (const { prefix, local: name, uri: about, value } of Object.values(attributes) as SaxesAttributeNS[]) {
    if (prefix === 'xmlns' || (prefix === '' && name === 'xmlns')) continue;
    if (prefix === '') attrs[name] = value;
    else {
      attrs[`${prefix}:${name}`] = value;
      if (prefix !== 'xml') attrs[`xmlns:${prefix}`] = about;
    }
  }
  return new Element(local, attrs);
}
