/**
 * Elements as module authors know them (ltx's `Element`), how they are built, read and written.
 * XML is never glued from strings: `el()` builds, `serialize()` escapes, once.
 */
import type { TopLevel } from './items.js';
import { readElement } from './reader.js';
import { build, Element, setAttribute, Verbatim } from './tree.js';

export { XmlError } from './errors.js';
export { escapeAttribute, escapeText, serialize } from './write.js';
export { Element };

export type Attributes = Readonly<Record<string, string | undefined>>;
export type Child = Element | string | undefined;

/** `el('fin', { xmlns: NS.mam, complete: 'true' }, child, …)`; undefined attributes and children are left out. */
export function el(name: string, attributes?: Attributes | null, ...children: Child[]): Element {
  const element = new Element(name);
  for (const key in attributes) {
    const value = attributes[key];
    if (value !== undefined) element.attrs[key] = value;
  }
  for (const child of children) {
    if (child === undefined) continue;
    if (typeof child === 'string') element.t(child);
    else element.cnode(child);
  }
  return element;
}

/**
 * Reads text that is exactly one element, as strictly as the stream reader does. Every element of the tree has its
 * namespace in `attrs.xmlns`, and no prefix. Throws XmlError.
 */
export function parse(xml: string, defaultNs = ''): Element {
  readElement(xml);
  const prolog = /^\ufeff?(?:<\?[^>]*>)?[ \t\r\n]*/.exec(xml);
  return build(xml, prolog![0].length, defaultNs);
}

/**
 * A stored element for an answer: its text is checked by the reader and goes out as it is. No tree is built, which would
 * cost ten times as much, so nothing but the name and the namespace can be read from it. Throws XmlError unless the text
 * is exactly one element: stored data is input too.
 */
export function verbatim(text: string): Element {
  const { name, ns } = readElement(text);
  // What `serialize` wrote has no prefix and declares its namespace, so it means the same in every place.
  const isOurs = ns !== '' && /^[ />]/.test(text.slice(name.length + 1)) && text.startsWith(`<${name}`);
  return isOurs ? new Verbatim(name, ns, text) : parse(text);
}

/** The child elements, without the text between them. */
export function childrenOf(element: Element): Element[] {
  return element.getChildElements();
}

/** The whole of a top-level element as a tree. */
export function elementOf({ name, ns, attrs, content }: TopLevel): Element {
  const element = build(`<x>${content}</x>`, 0, ns);
  element.name = name;
  for (const key in attrs) setAttribute(element.attrs, key, attrs[key]!);
  return element;
}
