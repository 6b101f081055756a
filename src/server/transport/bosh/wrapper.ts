/**
 * XEP-0124 §6: the `<body/>` around what is transferred. The strict reader of streams reads it (`xml/reader.ts`), as a
 * whole and with everything that it declares, so that a payload leaves it as text that depends on nothing outside of
 * itself. The reader of the stream then reads this text as it reads any other.
 */
import { NS } from '../../stanza/ns.js';
import { countChildren, namespaceAt, nextChild } from '../../xml/content.js';
import { type Attributes, el, escapeAttribute, serialize, XmlError } from '../../xml/element.js';
import { type ChildIndex, type ReaderLimits, readElement, type TopLevel, XmlReader } from '../../xml/reader.js';

/** The start tag alone: it is read before it is known whose request it is. */
const tagLimits: ReaderLimits = { stanzaBytes: 8192, depth: 1, attributes: 40 };

/** Returns the attributes of the `<body/>`, those in a namespace as `ns name`. Undefined if it is none. */
export function readWrapper(bytes: Buffer): Attributes | undefined {
  const reader = new XmlReader('stream', tagLimits);
  reader.push(bytes);
  try {
    const tag = reader.next();
    if (tag?.kind !== 'open' || tag.name !== 'body' || tag.ns !== NS.httpBind) return undefined;
    return resolved(tag.attrs);
  } catch (error) {
    if (error instanceof XmlError) return undefined;
    throw error;
  }
}

function resolved(attrs: Readonly<Record<string, string>>): Attributes {
  const found: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(attrs)) {
    const [prefix = '', local] = name.split(':', 2);
    if (prefix === 'xmlns') continue;
    found[local === undefined || prefix === 'xml' ? name : `${attrs[`xmlns:${prefix}`]} ${local}`] = value;
  }
  return found;
}

/**
 * Returns the payloads, each with its own namespace and language. `lang` is the language of the `<body/>`, if it is not
 * that of the session. Returns undefined if there is text between them (§6). Throws XmlError.
 */
export function readPayloads(bytes: Buffer, limits: ReaderLimits, lang: string | undefined): BodyPayloads | undefined {
  const reader = new XmlReader('framed', limits);
  reader.push(bytes);
  const { content, children } = reader.next() as TopLevel;
  const length = countChildren(children);
  let end = 0;
  let size = 0;
  for (let at = 0, seen = 0; seen < length; at = nextChild(at), seen++) {
    const start = children[at]!;
    if (!isSpace(content, end, start)) return undefined;
    end = children[at + 1]!;
    size += end - start;
  }
  return isSpace(content, end, content.length) ? new BodyPayloads(content, children, lang, size) : undefined;
}

/** The payloads of a body, each made when it is wanted: there may be many. */
export class BodyPayloads implements Iterable<Buffer> {
  readonly #content: string;
  readonly #children: ChildIndex;
  readonly #lang: string | undefined;
  readonly length: number;
  /** Characters of all. */
  readonly size: number;

  constructor(content: string, children: ChildIndex, lang: string | undefined, size: number) {
    this.#content = content;
    this.#children = children;
    this.#lang = lang;
    this.length = countChildren(children);
    this.size = size;
  }

  *[Symbol.iterator](): Iterator<Buffer> {
    const children = this.#children;
    for (let at = 0, seen = 0; seen < this.length; at = nextChild(at), seen++) {
      const payload = this.#content.slice(children[at], children[at + 1]);
      const nameEnd = 1 + children[at + 2]!;
      const declared = namespaceAt(this.#content, children, at);
      // XEP-0206 §2: clients may write stanzas without their namespace. The reader has left no prefix on the payload.
      const named = declared === undefined ? insert(payload, nameEnd, 'xmlns', NS.client) : payload;
      yield Buffer.from(inLanguage(named, this.#lang));
    }
  }
}

/** XML 1.0 §2.12: an element without a language has that of its parent. */
function inLanguage(payload: string, lang: string | undefined): string {
  if (lang === undefined) return payload;
  const { name, attrs } = readElement(payload);
  return 'xml:lang' in attrs ? payload : insert(payload, 1 + name.length, 'xml:lang', lang);
}

function insert(payload: string, at: number, name: string, value: string): string {
  return `${payload.slice(0, at)} ${name}='${escapeAttribute(value)}'${payload.slice(at)}`;
}

function isSpace(text: string, from: number, to: number): boolean {
  return from === to || /^[ \t\r\n]*$/.test(text.slice(from, to));
}

/** Writes a `<body/>` around elements that declare their own namespaces. */
export function wrap(attributes: Attributes, payloads: string): string {
  const empty = serialize(el('body', { xmlns: NS.httpBind, ...attributes }));
  return payloads === '' ? empty : `${empty.slice(0, -2)}>${payloads}</body>`;
}
