/** XML-NAMES: namespace declarations, and the names and values of attributes. */
import { matches } from './bytes.js';
import { fail } from './errors.js';
import { attributeValue, setAttribute, XML_NS } from './tree.js';
import { ATTRIBUTE, type Work } from './work.js';

/** Prefixes that the stream header declares. */
export type Prefixes = Readonly<Record<string, string>>;

const XMLNS_NS = 'http://www.w3.org/2000/xmlns/';
/**
 * Maximum length of a namespace name, in characters: repeated for each element, a long one would amplify a small input.
 */
const NAMESPACE_LENGTH = 256;
const FROM = Buffer.from('from');
const TYPE = Buffer.from('type');
const XML_LANG = Buffer.from('xml:lang');

/**
 * Returns the namespace of the top-level element. `text` is the element as a string if its character and byte offsets
 * are equal, else undefined. `defaultNs` and `prefixes` are what the stream header declares.
 */
export function topNs(
  work: Work,
  buffer: Buffer,
  base: number,
  text: string | undefined,
  defaultNs: string,
  prefixes: Prefixes,
): string {
  if (work.headerColon !== 0) {
    return resolve(work, buffer.toString('utf8', base + 1, base + 1 + work.headerColon), prefixes).ns;
  }
  if (work.headerDeclaration < 0) return defaultNs;
  return readValue(work, buffer, base, ATTRIBUTE * work.headerDeclaration, text);
}

/**
 * Returns the attributes of the top-level tag. `text` is the element as a string if its character and byte offsets are
 * equal, else undefined.
 */
export function readAttributes(
  work: Work,
  buffer: Buffer,
  base: number,
  text: string | undefined,
  prefixes: Prefixes,
): Record<string, string> {
  const { attributes } = work;
  const last = ATTRIBUTE * work.headerCount;
  let to: string | undefined;
  let from: string | undefined;
  let type: string | undefined;
  let id: string | undefined;
  let lang: string | undefined;
  let others = false;
  for (let k = 0; k < last; k += ATTRIBUTE) {
    const nameStart = base + attributes[k]!;
    const length = base + attributes[k + 1]! - nameStart;
    const c = buffer[nameStart];
    if (length === 2 && c === 0x74 && buffer[nameStart + 1] === 0x6f) {
      to = readValue(work, buffer, base, k, text);
    } else if (length === 2 && c === 0x69 && buffer[nameStart + 1] === 0x64) {
      id = readValue(work, buffer, base, k, text);
    } else if (length === 4 && c === 0x66 && matches(buffer, nameStart, FROM)) {
      from = readValue(work, buffer, base, k, text);
    } else if (length === 4 && c === 0x74 && matches(buffer, nameStart, TYPE)) {
      type = readValue(work, buffer, base, k, text);
    } else if (length === 8 && c === 0x78 && matches(buffer, nameStart, XML_LANG)) {
      lang = readValue(work, buffer, base, k, text);
    } else if (k !== ATTRIBUTE * work.headerDeclaration) {
      others = true;
    }
  }
  const attrs: Record<string, string> = {};
  if (to !== undefined) attrs.to = to;
  if (from !== undefined) attrs.from = from;
  if (type !== undefined) attrs.type = type;
  if (id !== undefined) attrs.id = id;
  if (lang !== undefined) attrs['xml:lang'] = lang;
  if (others) readOthers(work, buffer, base, attrs, prefixes);
  return attrs;
}

function readOthers(work: Work, buffer: Buffer, base: number, attrs: Record<string, string>, prefixes: Prefixes): void {
  for (let k = 0; k < ATTRIBUTE * work.headerCount; k += ATTRIBUTE) {
    const name = buffer.toString('utf8', base + work.attributes[k]!, base + work.attributes[k + 1]!);
    if (name === 'xmlns' || name.startsWith('xmlns:') || Object.hasOwn(attrs, name)) continue;
    setAttribute(attrs, name, readValue(work, buffer, base, k, undefined));
    const colon = name.indexOf(':');
    const prefix = name.slice(0, Math.max(colon, 0));
    if (colon >= 0 && prefix !== 'xml') attrs[`xmlns:${prefix}`] = resolve(work, prefix, prefixes).ns;
  }
}

/** XML-NAMES §2-6 for a tag with prefixes: declares and resolves them, and compares expanded names. */
export function bind(work: Work, buffer: Buffer, base: number, depth: number, prefixes: Prefixes, most: number): void {
  const { attributes } = work;
  const first = ATTRIBUTE * work.headerCount;
  const last = first + ATTRIBUTE * work.count;
  const names: string[] = [];
  for (let k = first; k < last; k += ATTRIBUTE) {
    const name = buffer.toString('utf8', base + attributes[k]!, base + attributes[k + 1]!);
    names.push(name);
    if (!name.startsWith('xmlns:')) continue;
    const prefix = name.slice(6);
    const ns = decodeValue(work, buffer, base, k);
    checkNamespace(ns);
    if (prefix === 'xmlns' || ns === XMLNS_NS || (prefix === 'xml') !== (ns === XML_NS)) {
      fail('not-well-formed', 'a reserved prefix or namespace is declared');
    }
    if (ns === '') fail('not-well-formed', 'a prefix is declared without a namespace');
    if (prefix === 'xml') continue;
    const outer = work.bindings;
    const count = outer === undefined ? 1 : outer.count + 1;
    if (count > most) fail('policy-violation', `more than ${most} prefixes`);
    work.bindings = { prefix, ns, depth: depth + 1, outer, count };
  }
  if (work.declaration >= 0) checkDefault(work, buffer, base);

  if (work.tagColon !== 0) {
    const start = base + work.tagStart + 1;
    const prefix = buffer.toString('utf8', start, start + work.tagColon);
    if (prefix === 'xml') fail('bad-namespace-prefix', 'an element uses the reserved prefix xml');
    if (resolve(work, prefix, prefixes).depth <= 1 && depth > 0) work.rewrite = true;
  }
  let expanded: Set<string> | undefined;
  for (const name of names) {
    const colon = name.indexOf(':');
    if (colon < 0) continue;
    const prefix = name.slice(0, colon);
    if (prefix === 'xml' || prefix === 'xmlns') continue;
    const binding = resolve(work, prefix, prefixes);
    if (binding.depth <= 1 && depth > 0) work.rewrite = true;
    const key = `${name.slice(colon + 1)} ${binding.ns}`;
    if (expanded?.has(key)) fail('not-well-formed', 'duplicate attribute');
    (expanded ??= new Set()).add(key);
  }
}

/** Checks the default namespace that the tag declares. */
export function checkDefault(work: Work, buffer: Buffer, base: number): void {
  if (isOrdinary(work, buffer, base)) return;
  const k = ATTRIBUTE * (work.headerCount + work.declaration);
  const ns = decodeValue(work, buffer, base, k);
  if (ns === XML_NS || ns === XMLNS_NS) fail('not-well-formed', 'a reserved namespace is declared');
  checkNamespace(ns);
}

function resolve(work: Work, prefix: string, prefixes: Prefixes): { readonly ns: string; readonly depth: number } {
  for (let b = work.bindings; b !== undefined; b = b.outer) if (b.prefix === prefix) return b;
  if (Object.hasOwn(prefixes, prefix)) return { ns: prefixes[prefix]!, depth: 0 };
  return fail('bad-namespace-prefix', 'undeclared prefix');
}

/**
 * Whether the tag's `xmlns` is certain to be allowed: its length differs from both reserved namespaces and it begins
 * and ends with a visible character. True for most tags.
 */
function isOrdinary(work: Work, buffer: Buffer, base: number): boolean {
  const { attributes, nsLength } = work;
  const k = ATTRIBUTE * (work.headerCount + work.declaration);
  const first = buffer[base + attributes[k + 2]!]!;
  const last = buffer[base + attributes[k + 3]! - 1]!;
  return (
    work.plain &&
    nsLength !== XML_NS.length &&
    nsLength !== XMLNS_NS.length &&
    nsLength <= NAMESPACE_LENGTH &&
    first > 0x20 &&
    first < 0x80 &&
    last > 0x20 &&
    last < 0x80
  );
}

/** Some parsers trim namespace names, and would confuse two that differ for us. */
function checkNamespace(ns: string): void {
  if (ns.trim() !== ns) fail('not-well-formed', 'a namespace begins or ends with white space');
  if (ns.length > NAMESPACE_LENGTH) {
    fail('policy-violation', `a namespace of more than ${NAMESPACE_LENGTH} characters`);
  }
}

/** Returns a value of any tag; `k` is the offset of its numbers in `attributes`. */
function decodeValue({ attributes }: Work, buffer: Buffer, base: number, k: number): string {
  return attributeValue(buffer.toString('utf8', base + attributes[k + 2]!, base + attributes[k + 3]!));
}

/**
 * Returns a value of the top-level tag. `text` is the element as a string if its character and byte offsets are equal.
 */
export function readValue(work: Work, buffer: Buffer, base: number, k: number, text: string | undefined): string {
  if (text === undefined) return decodeValue(work, buffer, base, k);
  const raw = text.slice(work.attributes[k + 2]!, work.attributes[k + 3]!);
  return work.headerPlain ? raw : attributeValue(raw);
}

/** Drops the prefixes declared deeper than `depth`. */
export function unbind(work: Work, depth: number): void {
  while (work.bindings !== undefined && work.bindings.depth > depth) work.bindings = work.bindings.outer;
}

/** XML 1.0 §3.1: refuses a duplicate attribute. The current name spans `from` to `to` and is the last of its tag. */
export function checkUnique(work: Work, buffer: Buffer, base: number, from: number, to: number): void {
  const { attributes } = work;
  const first = ATTRIBUTE * work.headerCount;
  for (let k = first; k < first + ATTRIBUTE * work.count; k += ATTRIBUTE) {
    const start = base + attributes[k]!;
    if (base + attributes[k + 1]! - start !== to - from) continue;
    let i = 0;
    while (i < to - from && buffer[start + i] === buffer[from + i]) i++;
    if (i === to - from) fail('not-well-formed', 'duplicate attribute');
  }
}
