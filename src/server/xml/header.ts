/** RFC 6120 §4.2 and §11.5: the stream header and the XML declaration before it. */
import { BYTES, SPACE } from './bytes.js';
import { fail } from './errors.js';
import type { StreamOpen } from './items.js';
import { type Prefixes, readAttributes, readValue, topNs } from './namespaces.js';
import { setAttribute } from './tree.js';
import { ATTRIBUTE, type Work } from './work.js';

const STREAM_NS = 'http://etherx.jabber.org/streams';
/** Maximum length of an XML declaration, in characters. */
const DECLARATION_LENGTH = 200;
const DECLARATION =
  /^<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?:"([\w.-]*)"|'([\w.-]*)')(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*(?:"([A-Za-z][\w.-]*)"|'([A-Za-z][\w.-]*)'))?(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?:"(?:yes|no)"|'(?:yes|no)'))?[ \t\r\n]*\?>$/;

export const NO_PREFIXES: Prefixes = Object.freeze({});
/** The values in nearly every header; shared, so that an idle stream holds no copies. */
const USUAL = ['stream:stream', 'jabber:client', 'jabber:server'];
const USUAL_PREFIXES: Prefixes = Object.freeze({ stream: STREAM_NS });

const shared = (text: string) => USUAL.find((usual) => usual === text) ?? text;

/**
 * XML 1.0 §2.8: returns the length in bytes of the declaration at `at`, or undefined if it is incomplete. Refuses other
 * processing instructions, and a declaration that is not at the start of the stream.
 */
export function declarationLength(buffer: Buffer, at: number, end: number, isAtStart: boolean): number | undefined {
  const text = buffer.toString('latin1', at, Math.min(end, at + DECLARATION_LENGTH));
  if (!isAtStart || !/^<\?(?:$|x(?:$|m(?:$|l(?:$|[ \t\r\n]))))/.test(text)) {
    fail('restricted-xml', 'processing instructions are not allowed');
  }
  const length = text.indexOf('?>') + 2;
  if (length < 2) {
    if (text.length >= DECLARATION_LENGTH) fail('not-well-formed', 'the XML declaration is too long');
    return undefined;
  }
  const parts = DECLARATION.exec(text.slice(0, length));
  if (parts === null || (parts[1] ?? parts[2]) !== '1.0') fail('not-well-formed', 'invalid XML 1.0 declaration');
  const encoding = parts[3] ?? parts[4];
  if (encoding !== undefined && !/^utf-8$/i.test(encoding)) fail('unsupported-encoding', 'only UTF-8 is supported');
  return length;
}

/** Whether the end tag of the stream is at `at`. False if it is incomplete; throws XmlError on anything else. */
export function isEndTag(buffer: Buffer, at: number, end: number, name: string): boolean {
  const expected = Buffer.from(`</${name}`);
  for (let i = 0; i < expected.length; i++) {
    if (at + i === end) return false;
    if (buffer[at + i] !== expected[i]) fail('not-well-formed', 'the end tag does not match the stream header');
  }
  let i = at + expected.length;
  while (i < end && (BYTES[buffer[i]!]! & SPACE) !== 0) {
    if (++i - at > DECLARATION_LENGTH + expected.length) fail('policy-violation', 'the end tag is too long');
  }
  if (i === end) return false;
  if (buffer[i] !== 0x3e /* > */) fail('not-well-formed', 'the end tag does not match the stream header');
  return true;
}

/** Returns the header whose start tag has been read; `name` includes the prefix. */
export function readHeader(
  work: Work,
  buffer: Buffer,
  base: number,
): { readonly name: string; readonly open: StreamOpen } {
  work.head();
  const rawName = buffer.toString('utf8', base + 1, base + work.nameEnd);
  const ns = topNs(work, buffer, base, undefined, '', NO_PREFIXES);
  const attrs = readAttributes(work, buffer, base, undefined, NO_PREFIXES);
  const defaultNs = work.declaration < 0 ? '' : readValue(work, buffer, base, ATTRIBUTE * work.declaration, undefined);
  const colon = work.tagColon;
  return {
    name: shared(rawName),
    open: {
      kind: 'open',
      name: colon === 0 ? rawName : rawName.slice(colon + 1),
      ns,
      prefix: colon === 0 ? undefined : rawName.slice(0, colon),
      attrs,
      defaultNs: shared(defaultNs),
      prefixes: declared(work),
    },
  };
}

/** RFC 6120 §4.2: refuses a second header. Read as a stanza, it would stay incomplete until the stream ends. */
export function refuseHeader(work: Work, buffer: Buffer, base: number, defaultNs: string, prefixes: Prefixes): void {
  const local = work.tagColon === 0 ? 1 : work.tagColon + 2;
  if (work.nameEnd - local !== 6) return;
  if (buffer.toString('latin1', base + local, base + work.nameEnd) !== 'stream') return;
  if (topNs(work, buffer, base, undefined, defaultNs, prefixes) === STREAM_NS)
    fail('bad-format', 'second stream header');
}

/** Returns the prefixes that the header declares. */
function declared({ bindings }: Work): Prefixes {
  if (bindings === undefined) return NO_PREFIXES;
  if (bindings.prefix === 'stream' && bindings.ns === STREAM_NS && bindings.count === 1) return USUAL_PREFIXES;
  const prefixes: Record<string, string> = {};
  for (let b: typeof bindings | undefined = bindings; b !== undefined; b = b.outer)
    setAttribute(prefixes, b.prefix, b.ns);
  return Object.freeze(prefixes);
}
