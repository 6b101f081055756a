/**
 * RFC 6120 §8: a stanza as the server processes it. The header is parsed; the content stays the received text, with an
 * index of its children; elements are built on demand. Immutable: every change returns a new stanza.
 *
 * The content's default namespace is the stanza's own, whatever stream it came from (`jabber:client`, `jabber:server`
 * or a component's); the API calls it `NS.client`. Attributes other than the five of RFC 6120 §8.1 are dropped.
 */

import { Jid } from '../address/jid.js';
import {
  beforeContent,
  countChildren,
  elementAt,
  emptyAt,
  findChild,
  isNamespace,
  joinIndexes,
  mapChildren,
  nameAt,
  namespaceAt,
  nextChild,
  textAt,
  withoutChildren,
} from '../xml/content.js';
import { type Element, escapeAttribute, serialize } from '../xml/element.js';
import { type ChildIndex, readContent, readElement, type TopLevel } from '../xml/reader.js';
import { Verbatim } from '../xml/tree.js';
import type { StanzaError } from './errors.js';
import { NS } from './ns.js';

export type StanzaName = 'message' | 'presence' | 'iq';

export interface StanzaHeader {
  readonly to?: Jid | undefined;
  readonly from?: Jid | undefined;
  readonly type?: string | undefined;
  readonly id?: string | undefined;
  /** `xml:lang`. */
  readonly lang?: string | undefined;
}

export interface ChildName {
  readonly ns: string;
  readonly name: string;
}

const NO_CHILDREN: ChildIndex = [];

export class Stanza {
  private constructor(
    readonly name: StanzaName,
    readonly to: Jid | undefined,
    readonly from: Jid | undefined,
    readonly type: string | undefined,
    readonly id: string | undefined,
    readonly lang: string | undefined,
    /** The children as XML text, including text between them. */
    readonly content: string,
    private readonly index: ChildIndex,
  ) {}

  /**
   * Builds a stanza from the reader's output. Throws JidError if `to` or `from` is invalid (answer with `unaddressed`),
   * TypeError if the element is not a stanza. `sender` and `addressee`, if given, replace `from` and `to`.
   */
  static fromTopLevel(top: TopLevel, sender?: Jid, addressee?: Jid): Stanza {
    const { to, from } = top.attrs;
    return Stanza.make(
      top,
      addressee ?? (to === undefined ? undefined : Jid.parse(to)),
      sender ?? (from === undefined ? undefined : Jid.parse(from)),
    );
  }

  /** Returns the stanza without `to` and `from`, for answering `jid-malformed`. */
  static unaddressed(top: TopLevel): Stanza {
    return Stanza.make(top, undefined, undefined);
  }

  private static make(top: TopLevel, to: Jid | undefined, from: Jid | undefined): Stanza {
    const name = stanzaName(top.name);
    if (name === undefined) throw new TypeError(`not a stanza: ${top.name}`);
    const { attrs } = top;
    const { content, children } = claimsOwnNamespace(top) ? withOwnNamespace(top) : top;
    return new Stanza(name, to, from, attrs.type, attrs.id, attrs['xml:lang'], content, children);
  }

  static build(name: StanzaName, header: StanzaHeader, ...children: (Element | undefined)[]): Stanza {
    const { to, from, type, id, lang } = header;
    const bare = new Stanza(name, to, from, type, id, lang, '', NO_CHILDREN);
    return children.length === 0 ? bare : bare.plus(...children);
  }

  /** Parses text that `toXml` wrote. Throws XmlError, JidError, TypeError. */
  static parse(xml: string): Stanza {
    return Stanza.fromTopLevel(readElement(xml));
  }

  get childCount(): number {
    return countChildren(this.index);
  }

  has(ns: string, name: string): boolean {
    return findChild(this.content, this.index, foreign(ns), name) >= 0;
  }

  /** Returns the first child of this name, built again at each call. */
  child(ns: string, name: string): Element | undefined {
    const at = findChild(this.content, this.index, foreign(ns), name);
    return at < 0 ? undefined : elementAt(this.content, this.index, at, NS.client);
  }

  /** Returns the character data of the first child of this name: '' if it is empty, undefined if there is none. */
  text(ns: string, name: string): string | undefined {
    const at = findChild(this.content, this.index, foreign(ns), name);
    return at < 0 ? undefined : textAt(this.content, this.index, at);
  }

  /** Returns all children, built again at each call. */
  children(): Element[] {
    const children: Element[] = [];
    for (let at = 0; at < this.index.length; at = nextChild(at)) {
      children.push(elementAt(this.content, this.index, at, NS.client));
    }
    return children;
  }

  childNames(): ChildName[] {
    const names: ChildName[] = [];
    for (let at = 0; at < this.index.length; at = nextChild(at)) {
      const ns = namespaceAt(this.content, this.index, at) ?? NS.client;
      names.push({ ns, name: nameAt(this.content, this.index, at) });
    }
    return names;
  }

  /** Returns the same content under a changed header; a field set to `undefined` is removed. */
  with(header: StanzaHeader): Stanza {
    return new Stanza(
      this.name,
      'to' in header ? header.to : this.to,
      'from' in header ? header.from : this.from,
      'type' in header ? header.type : this.type,
      'id' in header ? header.id : this.id,
      'lang' in header ? header.lang : this.lang,
      this.content,
      this.index,
    );
  }

  /** Appends children. A string is XML text in the stanza's own namespace; throws XmlError. */
  plus(...children: (Element | string | undefined)[]): Stanza {
    let { content, index } = this;
    for (const child of children) {
      if (child === undefined) continue;
      const xml = typeof child === 'string' ? child : serialize(child, NS.client);
      const known = typeof child === 'string' || child instanceof Verbatim ? undefined : indexOf(child, xml);
      const more = known === undefined ? readOwn(xml) : { content: xml, children: known };
      content = beforeContent(content, more.content);
      index = joinIndexes(index, content.length, more.children);
      content += more.content;
    }
    return this.carrying(content, index);
  }

  /** Appends a child as trusted text: `<name xmlns="ns"…`. It is not parsed and must be well-formed. */
  plusWritten(xml: string): Stanza {
    const name = xml.indexOf(' ') - 1;
    const start = name + 9; // `<name xmlns="`
    const length = xml.indexOf('"', start) - start;
    const index = joinIndexes(this.index, this.content.length, [0, xml.length, name, start, length]);
    return this.carrying(this.content + xml, index);
  }

  /**
   * Removes the children of this name; with `where`, only those whose attributes it accepts. Returns the same stanza if
   * there are none.
   */
  without(ns: string, name: string, where?: (attributes: Element['attrs']) => boolean): Stanza {
    let found: number[] | undefined;
    const wanted = foreign(ns);
    let at = findChild(this.content, this.index, wanted, name);
    while (at >= 0) {
      if (where === undefined || where(emptyAt(this.content, this.index, at, NS.client).attrs)) (found ??= []).push(at);
      at = findChild(this.content, this.index, wanted, name, nextChild(at));
    }
    if (found === undefined) return this;
    const rest = withoutChildren(this.content, this.index, found);
    return this.carrying(rest.content, rest.index);
  }

  /** Keeps only the children whose names `where` accepts, and the text between the others. */
  only(where: (child: ChildName) => boolean): Stanza {
    const removed: number[] = [];
    for (let at = 0; at < this.index.length; at = nextChild(at)) {
      const ns = namespaceAt(this.content, this.index, at) ?? NS.client;
      if (!where({ ns, name: nameAt(this.content, this.index, at) })) removed.push(at);
    }
    const rest = withoutChildren(this.content, this.index, removed);
    return this.carrying(rest.content, rest.index);
  }

  /** RFC 6120 §8.2.3: builds the result of this IQ. */
  result(payload?: Element): Stanza {
    return Stanza.build('iq', { to: this.from, from: this.to, type: 'result', id: this.id }, payload);
  }

  /** RFC 6120 §8.3.1: builds the error answer to this stanza, including its content unless the error says otherwise. */
  error(error: StanzaError): Stanza {
    const header = { to: this.from, from: this.to, type: 'error', lang: undefined };
    const { bare, instead } = error.options;
    if (bare || instead) return Stanza.build(this.name, { ...header, id: this.id }, instead, error.toElement());
    return this.with(header).plus(error.toElement());
  }

  /** Serializes the stanza. `xmlns` is written only if given: for WebSocket and archives. */
  toXml(ns?: string): string {
    const { to, from, type, id, lang, content } = this;
    let xml = `<${this.name}`;
    if (ns !== undefined) xml += ` xmlns="${escapeAttribute(ns)}"`;
    if (to !== undefined) xml += ` to="${addressed(to)}"`;
    if (from !== undefined) xml += ` from="${addressed(from)}"`;
    if (type !== undefined) xml += ` type="${escapeAttribute(type)}"`;
    if (id !== undefined) xml += ` id="${escapeAttribute(id)}"`;
    if (lang !== undefined) xml += ` xml:lang="${escapeAttribute(lang)}"`;
    return content === '' ? `${xml}/>` : `${xml}>${content}</${this.name}>`;
  }

  private carrying(content: string, index: ChildIndex): Stanza {
    return new Stanza(this.name, this.to, this.from, this.type, this.id, this.lang, content, index);
  }
}

/** Returns undefined unless the name is 'message', 'presence' or 'iq'. */
export function stanzaName(name: string): StanzaName | undefined {
  return name === 'message' || name === 'presence' || name === 'iq' ? name : undefined;
}

/** Translates a namespace to its form in the index. */
function foreign(ns: string): string | undefined {
  return ns === NS.client ? undefined : ns;
}

/** Escapes an address. RFC 7622 §3: only a resourcepart can contain characters that need escaping. */
function addressed(jid: Jid): string {
  const { resource } = jid;
  return resource === undefined || escapeAttribute(resource) === resource ? jid.full : escapeAttribute(jid.full);
}

/** Returns the index of a child that `serialize` wrote, or undefined if only the reader can tell. */
function indexOf(child: Element, xml: string): ChildIndex | undefined {
  const { name } = child;
  if (name.includes(':')) return undefined;
  const declaration = xml.indexOf(' xmlns="');
  if (declaration < 0 || declaration > xml.indexOf('>')) return [0, xml.length, name.length, -1, 0];
  const start = declaration + 8;
  const length = xml.indexOf('"', start) - start;
  return [0, xml.length, name.length, xml.slice(start, start + length).includes('&') ? -2 - start : start, length];
}

/**
 * Whether a child declares a content namespace itself. Forwarded to a stream with the other content namespace, it would
 * change its meaning.
 */
function claimsOwnNamespace(top: TopLevel): boolean {
  for (let at = 0; at < top.children.length; at = nextChild(at)) {
    if (ownNamespace(top, at) !== undefined) return true;
  }
  return false;
}

/** Returns the content namespace that the child at this position declares. */
function ownNamespace({ content, children, ns }: TopLevel, at: number): string | undefined {
  if (isNamespace(content, children, at, NS.client)) return NS.client;
  if (isNamespace(content, children, at, NS.server)) return NS.server;
  return isNamespace(content, children, at, ns) ? ns : undefined;
}

/** Parses content in the stanza's own namespace. Throws XmlError. */
function readOwn(xml: string): TopLevel {
  const top = readElement(`<x xmlns="${NS.client}">${xml}</x>`);
  return claimsOwnNamespace(top) ? withOwnNamespace(top) : top;
}

/** Removes such declarations. */
function withOwnNamespace(top: TopLevel): TopLevel {
  const content = mapChildren(top.content, top.children, (at) => {
    const declared = ownNamespace(top, at);
    if (declared === undefined) return undefined;
    return serialize(elementAt(top.content, top.children, at, NS.client), declared);
  });
  return readContent(content);
}
