/**
 * Serializes elements. All output is escaped here, once. Characters that XML 1.0 does not allow become U+FFFD, so that
 * no text from a module can break a stream.
 */
import { isNameChar, isNameStart } from './characters.js';
import { type Element, Verbatim } from './tree.js';

/** Escapes `&`, `<`, `>` (of `]]>`), and CR, which a parser would turn into LF (XML 1.0 §2.11). */
export function escapeText(text: string): string {
  return TEXT_SPECIAL.test(text) ? text.replace(TEXT_ESCAPES, escaped) : text;
}

/** Escapes an attribute value for either kind of quote; tab and line ends as references (XML 1.0 §3.3.3). */
export function escapeAttribute(text: string): string {
  return ATTRIBUTE_SPECIAL.test(text) ? text.replace(ATTRIBUTE_ESCAPES, escaped) : text;
}

// The quick tests match any surrogate; the full ones tell a pair from half of one.
const TEXT_SPECIAL = /[&<>\0-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]/;
const TEXT_ESCAPES = /[&<>\0-\x08\x0b-\x1f\ufffe\uffff]|\p{Surrogate}/gu;
const ATTRIBUTE_SPECIAL = /[&<>"'\0-\x1f\ud800-\udfff\ufffe\uffff]/;
const ATTRIBUTE_ESCAPES = /[&<>"'\0-\x1f\ufffe\uffff]|\p{Surrogate}/gu;

function escaped(character: string): string {
  switch (character) {
    case '&':
      return '&amp;';
    case '<':
      return '&lt;';
    case '>':
      return '&gt;';
    case '"':
      return '&quot;';
    case "'":
      return '&apos;';
    case '\t':
      return '&#9;';
    case '\n':
      return '&#10;';
    case '\r':
      return '&#13;';
    default:
      return '\ufffd';
  }
}

/**
 * Serializes an element. `inherited` is the default namespace in force at the place of output: an equal `xmlns` is
 * omitted. Throws TypeError if a name is not an XML name, which is a bug in the caller, and RangeError if the text
 * exceeds `limit` characters.
 */
export function serialize(element: Element, inherited?: string, limit = Number.POSITIVE_INFINITY): string {
  // An element detached from its tree keeps the namespace it had there.
  const ns = element.attrs.xmlns === undefined ? element.findNS() : undefined;
  return write('', element, inherited, ns === inherited ? undefined : ns, limit);
}

function write(
  before: string,
  element: Element,
  inherited: string | undefined,
  missing: string | undefined,
  limit: number,
): string {
  if (before.length > limit) throw new RangeError(`the XML text is longer than ${limit} characters`);
  if (element instanceof Verbatim) return before + element.xml;
  const { name, attrs, children } = element;
  checkName(name);
  let out = `${before}<${name}`;
  let ns = inherited;
  if (missing !== undefined) {
    out += ` xmlns="${escapeAttribute(missing)}"`;
    ns = missing;
  }
  for (const key in attrs) {
    const value: unknown = attrs[key];
    if (value === undefined || value === null) continue;
    if (key === 'xmlns') {
      if (value === ns) continue;
      ns = String(value);
    }
    checkName(key);
    out += ` ${key}="${escapeAttribute(typeof value === 'string' ? value : String(value))}"`;
  }
  if (children.length === 0) return `${out}/>`;
  out += '>';
  for (const child of children) {
    if (typeof child === 'string') out += escapeText(child);
    else if (typeof child === 'object' && child !== null) out = write(out, child, ns, undefined, limit);
    else if (child !== undefined && child !== null) out += escapeText(String(child));
  }
  return `${out}</${name}>`;
}

const PLAIN_NAME = /^[A-Za-z_][\w.-]*(?::[A-Za-z_][\w.-]*)?$/;

/** XML-NAMES §4 QName. */
function checkName(name: string): void {
  if (PLAIN_NAME.test(name)) return;
  let first = 0;
  for (let i = 0; i < name.length; i++) {
    let c = name.charCodeAt(i);
    if (c >= 0x80) c = name.codePointAt(i)!;
    if (i === first ? isNameStart(c) : isNameChar(c)) {
      if (c > 0xffff) i++;
    } else {
      if (c !== 0x3a /* : */ || i === first || first !== 0) refuseName(name);
      first = i + 1;
    }
  }
  if (first === name.length) refuseName(name);
}

function refuseName(name: string): never {
  throw new TypeError(`invalid XML name: ${JSON.stringify(name)}`);
}
