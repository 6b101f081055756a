/**
 * Builds, parses and serializes elements (ltx's `Element`, as module authors know it). XML is never concatenated from
 * strings: `el()` builds an element, `serialize()` escapes it once.
 */
import type { TopLevel } from './items.js';
import { readElement } from './reader.js';
import { build, Element, setAttribute, Verbatim } from './tree.js';

export { XmlError } from './errors.js';
export { escapeAttribute, escapeText, serialize } from './write.js';
export { Element };

export type Attributes = Readonly<Record<string, string | undefined>>;
export type Child = Element | string | undefined;

/** `el('fin', { xmlns: NS.mam, complete: 'true' }, child, …)`. Skips undefined attributes and children. */
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
 * Parses text that is exactly one element, as strictly as the stream reader does. Every element of the tree has its
 * namespace in `attrs.xmlns` and no prefix. Throws XmlError.
 */
export function parse(xml: string, defaultNs = ''): Element {
  readElement(xml);
  const prolog = /^\ufeff?(?:<\?[^>]*>)?[ \t\r\n]*/.exec(xml);
  return build(xml, prolog![0].length, defaultNs);
}

/**
 * Wraps a stored element for an answer. The reader validates the text, which is then sent unchanged. No tree is built
 * (that would cost ten times as much), so only the name and namespace can be read from the result. Throws XmlError
 * unless the text is exactly one element: stored data is input too.
 */
export function verbatim(text: string): Element {
  const { name, ns } = readElement(text);
  // Text written by `serialize` has no prefix and declares its namespace, so it is valid in any context.
  const isOurs = ns !== '' && /^[ />]/.test(text.slice(name.length + 1)) && text.startsWith(`<${name}`);
  return isOurs ? new Verbatim(name, ns, text) : parse(text);
}

/** Returns the child elements without the text between them. */
export function childrenOf(element: Element): Element[] {
  return element.getChildElements();
}

/** Builds the tree of a whole top-level element. */
export function elementOf({ name, ns, attrs, content }: TopLevel): Element {
  const element = build(`<x>${content}</x>`, 0, ns);
  element.name = name;
  for (const key in attrs) setAttribute(element.attrs, key, attrs[key]!);
  return element;
}
