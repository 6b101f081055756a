/**
 * Builds trees from text that the reader has already found well-formed and namespace-well-formed. Nothing is validated
 * here: text from anywhere else goes through `parse` of element.ts.
 */
import { Element as LtxElement } from 'ltx';
import { isSpace } from './characters.js';

export const XML_NS = 'http://www.w3.org/XML/1998/namespace';

/** ltx's element with correct namespaces (`xmlns=""`, `xml:`) and look-ups that do not allocate. */
export class Element extends LtxElement {
  declare attrs: Record<string, string | undefined>;
  declare children: (Element | string)[];
  declare parent: Element | null;

  override findNS(prefix?: string): string | undefined {
    const key = prefix ? `xmlns:${prefix}` : 'xmlns';
    for (let at: Element | null = this; at !== null; at = at.parent) {
      const ns = at.attrs[key];
      if (ns !== undefined) return ns;
    }
    return prefix === 'xml' ? XML_NS : undefined;
  }

  /** Returns the first child element of this name, and of this namespace if given. */
  override getChild(name: string, xmlns?: string): Element | undefined {
    for (const child of this.children) {
      if (typeof child === 'object' && child.is(name, xmlns)) return child;
    }
    return undefined;
  }

  override getChildren(name: string, xmlns?: string): Element[] {
    return this.getChildElements().filter((child) => child.is(name, xmlns));
  }

  override getChildElements(): Element[] {
    const elements: Element[] = [];
    for (const child of this.children) if (typeof child === 'object' && child !== null) elements.push(child);
    return elements;
  }

  /** Returns the character data of the child of this name, or null if there is none. */
  override getChildText(name: string, xmlns?: string): string | null {
    return this.getChild(name, xmlns)?.getText() ?? null;
  }
}

/** Declared prefixes, innermost first. */
interface Scope {
  readonly prefix: string;
  readonly ns: string;
  readonly outer: Scope | undefined;
}

/**
 * Builds the element whose start tag is at `from`. Every element carries its namespace in `attrs.xmlns`, has a name
 * without prefix, and declares the prefixes of its own attributes, so it is valid in any context. `ns` and `prefixes`
 * are the declarations in force around it. `isEmpty` builds it from its start tag alone.
 */
export function build(
  xml: string,
  from = 0,
  ns = '',
  prefixes?: Readonly<Record<string, string>>,
  isEmpty = false,
): Element {
  const references = !isEmpty && xml.indexOf('&', from) >= 0;
  let scope: Scope | undefined;
  for (const prefix in prefixes) scope = { prefix, ns: prefixes[prefix]!, outer: scope };
  const scopes: (Scope | undefined)[] = [];
  const defaults: string[] = [];
  let parent: Element | null = null;
  let at = from;

  for (;;) {
    const next = xml.charCodeAt(at + 1);
    if (next === 0x2f /* / */) {
      at = xml.indexOf('>', at) + 1;
      const closed: Element = parent!;
      scope = scopes.pop();
      ns = defaults.pop()!;
      if (closed.parent === null) return closed;
      parent = closed.parent;
    } else if (next === 0x21 /* ! */) {
      const end = xml.indexOf(']]>', at);
      addText(parent!, endOfLines(cut(xml, at + 9, end)));
      at = end + 3;
    } else {
      scopes.push(scope);
      defaults.push(ns);
      let end = at + 1;
      while (!endsName(xml.charCodeAt(end))) end++;
      const rawName = cut(xml, at + 1, end);
      const colon = rawName.indexOf(':');
      const element = new Element(colon < 0 ? rawName : rawName.slice(colon + 1));
      const attrs = element.attrs;
      attrs.xmlns = ns;
      let foreign: string[] | undefined;
      at = end;
      for (;;) {
        let c = xml.charCodeAt(at);
        while (isSpace(c)) c = xml.charCodeAt(++at);
        if (c === 0x3e /* > */ || c === 0x2f /* / */) break;
        end = at + 1;
        while (!endsName(xml.charCodeAt(end))) end++;
        const key = cut(xml, at, end);
        while (!isQuote((c = xml.charCodeAt(end)))) end++;
        at = end + 1;
        end = xml.indexOf(c === 0x22 ? '"' : "'", at);
        const value = attributeValue(cut(xml, at, end));
        at = end + 1;
        if (key === 'xmlns') {
          attrs.xmlns = ns = value;
        } else if (key.startsWith('xmlns:')) {
          scope = { prefix: key.slice(6), ns: value, outer: scope };
        } else {
          if (key.includes(':')) (foreign ??= []).push(key.slice(0, key.indexOf(':')));
          setAttribute(attrs, key, value);
        }
      }
      if (colon >= 0) attrs.xmlns = resolve(scope, rawName.slice(0, colon));
      if (foreign !== undefined) {
        for (const prefix of foreign) if (prefix !== 'xml') attrs[`xmlns:${prefix}`] = resolve(scope, prefix);
      }
      if (parent !== null) {
        parent.children.push(element);
        element.parent = parent;
      }
      if (isEmpty) return element;
      if (xml.charCodeAt(at) === 0x2f /* / */) {
        at += 2;
        scope = scopes.pop();
        ns = defaults.pop()!;
        if (parent === null) return element;
      } else {
        at++;
        parent = element;
      }
    }

    const markup = xml.indexOf('<', at);
    if (markup > at) {
      const text = endOfLines(cut(xml, at, markup));
      addText(parent!, references ? dereferenced(text) : text);
      at = markup;
    }
  }
}

/** An element that already has its text, which `serialize` writes. Made by `verbatim`. */
export class Verbatim extends Element {
  constructor(
    name: string,
    ns: string,
    readonly xml: string,
  ) {
    super(name, { xmlns: ns });
  }
}

/**
 * Like `slice`, but copies the part if the whole text is much longer. A slice retains the whole text; what is cached
 * from a stanza (say in a roster) retains at most a kilobyte, or sixteen times its length.
 */
export function cut(text: string, from: number, to: number): string {
  const part = text.slice(from, to);
  // Shorter slices are copies anyway. Slicing a concatenation makes a copy.
  return part.length < 13 || text.length <= 1024 || part.length * 16 > text.length ? part : ` ${part}`.slice(1);
}

/** `attrs.__proto__ = …` would not set an attribute. */
export function setAttribute(attrs: Record<string, string | undefined>, key: string, value: string): void {
  if (key === '__proto__') Object.defineProperty(attrs, key, { value, enumerable: true, configurable: true });
  else attrs[key] = value;
}

function addText(parent: Element, text: string): void {
  if (text === '') return;
  const last = parent.children.length - 1;
  const before = parent.children[last];
  if (typeof before === 'string') parent.children[last] = before + text;
  else parent.children.push(text);
}

function resolve(scope: Scope | undefined, prefix: string): string {
  if (prefix === 'xml') return XML_NS;
  for (let at = scope; at !== undefined; at = at.outer) if (at.prefix === prefix) return at.ns;
  throw new Error(`undeclared prefix ${prefix}`);
}

function isQuote(c: number): boolean {
  return c === 0x22 || c === 0x27;
}

function endsName(c: number): boolean {
  return c === 0x3d /* = */ || c === 0x3e /* > */ || c === 0x2f /* / */ || isSpace(c);
}

/** XML 1.0 §2.11. */
function endOfLines(text: string): string {
  return text.includes('\r') ? text.replace(/\r\n?/g, '\n') : text;
}

/** XML 1.0 §3.3.3: literal white space becomes a space, white space written as a reference stays. */
export function attributeValue(raw: string): string {
  const spaced = /[\t\n\r]/.test(raw) ? raw.replace(/\r\n|[\t\n\r]/g, ' ') : raw;
  return dereferenced(spaced);
}

/** Unescapes character data that has no markup. */
export function characterData(raw: string): string {
  return dereferenced(endOfLines(raw));
}

function dereferenced(text: string): string {
  if (!text.includes('&')) return text;
  if (text.includes('&#')) return text.replace(/&(?:#x([0-9a-fA-F]+)|#([0-9]+)|([a-z]+));/g, dereference);
  // Ten times as fast. The ampersand comes last, so that it cannot form another reference.
  let plain = text;
  for (const [reference, character] of NAMED)
    if (plain.includes(reference)) plain = plain.replaceAll(reference, character);
  return plain;
}

const NAMED = [
  ['&lt;', '<'],
  ['&gt;', '>'],
  ['&quot;', '"'],
  ['&apos;', "'"],
  ['&amp;', '&'],
] as const;

function dereference(
  reference: string,
  hex: string | undefined,
  decimal: string | undefined,
  _: string | undefined,
): string {
  if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
  if (decimal !== undefined) return String.fromCodePoint(Number.parseInt(decimal, 10));
  return NAMED.find(([name]) => name === reference)?.[1] ?? reference;
}
