/**
 * RFC 6120 §4 and §11: reads a byte stream as top-level elements, one at a time. One pass over the bytes checks
 * everything that XML 1.0, Namespaces in XML and RFC 6120 §11 require, parses the header of the element and records the
 * offsets of its children; the content stays text. The `framed` mode reads RFC 7395's framing.
 *
 * The result does not depend on chunk boundaries: the scanner can stop and resume at any byte, and every error is
 * determined by the bytes up to it.
 */
import {
  BYTES,
  matches,
  NAME,
  NAME_START,
  plainText,
  plainValue,
  qname,
  reference,
  refuseDeclaration,
  SPACE,
  sequence,
} from './bytes.js';
import { fail, refuseName, refuseSize, XmlError } from './errors.js';
import { declarationLength, isEndTag, NO_PREFIXES, readHeader, refuseHeader } from './header.js';
import type { ChildIndex, ReaderLimits, StreamClose, StreamItem, StreamOpen, TopLevel } from './items.js';
import { bind, checkDefault, checkUnique, type Prefixes, readAttributes, topNs, unbind } from './namespaces.js';
import { standAlone } from './stand-alone.js';
import { build } from './tree.js';
import { Unread } from './unread.js';
import { ATTRIBUTE, CHILD, OPEN, Work } from './work.js';

/** Attributes per element that `ReaderLimits.elements` does not count. */
const USUAL_ATTRIBUTES = 5;
const NAME_LENGTH = 256;
const CDATA_START = Buffer.from('<![CDATA[');
const XML = Buffer.from('xml');
const XMLNS = Buffer.from('xmlns');
const CLOSE: StreamClose = { kind: 'close' };
const NO_CHILDREN: ChildIndex = Object.freeze([]);

/** Phases of a reader. */
const HEADER = 0;
const STANZAS = 1;
/** An empty tag has opened and closed the stream. */
const ENDING = 2;
const CLOSED = 3;

/** What may still precede the header: nothing, a declaration, a byte order mark. */
const BEGUN = 0;
const MARKED = 1;
const UNTOUCHED = 2;
/** Like UNTOUCHED, but white space sent in the previous stream may still arrive. */
const RESTARTED = 3;

// States of the scanner within an element.
const TEXT = 0;
const MARKUP = 1;
const TAG = 2;
const EQUALS = 3;
const QUOTE = 4;
const VALUE = 5;
const END_TAG = 6;
const CDATA = 7;

// Local copies: V8 looks up imported constants on each use.
const IS_SPACE = SPACE;
const IS_NAME = NAME;
const IS_NAME_START = NAME_START;
const PER_ATTRIBUTE = ATTRIBUTE;
const PER_OPEN = OPEN;
const PER_CHILD = CHILD;

/** Shared by every reader whose element arrives whole. A reader that must wait takes it over. */
let idle = new Work();

export { XmlError } from './errors.js';
export type { ChildIndex, ReaderLimits, StreamClose, StreamItem, StreamOpen, TopLevel } from './items.js';

export class XmlReader extends Unread {
  /** May be raised while reading, for example after authentication. */
  limits: ReaderLimits;
  private readonly framed: boolean;
  private phase: number;
  private fresh = UNTOUCHED;
  private error: XmlError | undefined;
  /** State of the incomplete element, if any. */
  private work: Work | undefined;
  // The stream header.
  private headerName = '';
  private defaultNs = '';
  private prefixes: Prefixes = NO_PREFIXES;

  /** `stream` reads a header, stanzas and a closing tag; `framed` reads one element per chunk (RFC 7395 §3.3). */
  constructor(mode: 'stream' | 'framed', limits: ReaderLimits) {
    super();
    this.framed = mode === 'framed';
    this.phase = this.framed ? STANZAS : HEADER;
    this.limits = limits;
  }

  /** Takes ownership of a chunk until it has been consumed. Input after the end of the stream is ignored. */
  push(chunk: Buffer): void {
    if (this.error !== undefined || this.phase === CLOSED || (chunk.length === 0 && !this.framed)) return;
    this.take(chunk, this.framed);
  }

  /**
   * Returns the next complete item, or undefined if more bytes are needed. Skips white space between items. Throws
   * XmlError; later calls throw the same error.
   */
  next(): StreamItem | undefined {
    if (this.error !== undefined) throw this.error;
    try {
      return this.work === undefined ? this.read() : this.scan(this.work);
    } catch (error) {
      if (error instanceof XmlError) {
        this.error = error;
        this.release();
      }
      throw error;
    }
  }

  /** Expects a new stream header (RFC 6120 §5.4.3.3, §6.4.6). Unconsumed bytes belong to the new stream. */
  restart(): void {
    if (this.framed) return;
    this.phase = HEADER;
    this.fresh = RESTARTED;
    this.headerName = this.defaultNs = '';
    this.prefixes = NO_PREFIXES;
  }

  /** Discards unconsumed bytes, as STARTTLS requires (RFC 6120 §5.4.3.3). Returns their number. */
  discard(): number {
    const count = this.buffered;
    this.release();
    return count;
  }

  /** Reads between top-level elements. */
  private read(): StreamItem | undefined {
    while (this.buffer !== undefined) {
      if (this.phase === ENDING) return this.close();
      const { buffer, end } = this;
      let at = this.start;
      if (this.fresh >= UNTOUCHED && buffer[at] === 0xef) {
        // RFC 6120 §11.6: a byte order mark is ignored.
        const left = end - at;
        if (!this.framed && (left === 1 || (left === 2 && buffer[at + 1] === 0xbb))) return this.wait();
        if (left > 2 && buffer[at + 1] === 0xbb && buffer[at + 2] === 0xbf) {
          at += 3;
          this.fresh = MARKED;
        }
      }
      const from = at;
      while (at < end && (BYTES[buffer[at]!]! & IS_SPACE) !== 0) at++;
      if (at > from && this.fresh !== RESTARTED) this.fresh = BEGUN;
      this.start = this.at = at;
      if (at === end) {
        this.proceed();
        continue;
      }
      const c = buffer[at]!;
      if (c !== 0x3c /* < */) return this.refuseText(c);
      if (at + 1 === end) return this.wait();
      switch (buffer[at + 1]) {
        case 0x3f /* ? */:
          {
            const length = declarationLength(buffer, at, end, this.fresh !== BEGUN);
            if (length === undefined) return this.wait();
            this.fresh = BEGUN;
            this.start = this.at = at + length;
            if (this.start === end) this.proceed();
            break;
          }
        case 0x21 /* ! */:
          if (at + 2 === end) return this.wait();
          return buffer[at + 2] === 0x5b /* [ */ ? this.refuseText(0x5b) : refuseDeclaration(buffer[at + 2]!);
        case 0x2f /* / */:
          return this.readEnd(at);
        default:
          this.fresh = BEGUN;
          idle.begin(MARKUP);
          return this.scan(idle);
      }
    }
    return undefined;
  }

  /** RFC 6120 §4.9.3.1 for text between stanzas. Text before the header, or a control character, is not XML at all. */
  private refuseText(c: number): never {
    fail(this.phase === STANZAS && c >= 0x20 ? 'bad-format' : 'not-well-formed', 'text outside of an element');
  }

  /** Reads the closing tag of the stream. */
  private readEnd(at: number): StreamClose | undefined {
    if (this.phase !== STANZAS || this.framed) fail('not-well-formed', 'an end tag without a start tag');
    return isEndTag(this.buffer!, at, this.end, this.headerName) ? this.close() : this.wait();
  }

  private close(): StreamClose {
    this.phase = CLOSED;
    this.release();
    return CLOSE;
  }

  /**
   * Scans the element that begins at `start`, resuming at `at`. This is one long function so that its state stays in
   * registers.
   */
  private scan(work: Work): StreamItem | undefined {
    const buffer = this.buffer!;
    const base = this.start;
    const { limits } = this;
    const cap = base + limits.stanzaBytes;
    const end = Math.min(cap, this.end);
    const nameLength = limits.nameLength ?? NAME_LENGTH;
    const mostElements = limits.elements ?? Number.POSITIVE_INFINITY;
    const { open, attributes } = work;
    const bytes = BYTES;
    const view = this.lookAt(buffer, this.at);
    let { state, depth, shift } = work;
    let i = this.at;

    scanning: for (;;) {
      if (state === TEXT) {
        for (;;) {
          i = plainText(buffer, view, i, end);
          if (i >= end) break scanning;
          const c = buffer[i]!;
          if (c === 0x3c /* < */) break;
          if (c >= 0x80) {
            do {
              const size = sequence(buffer, i, end);
              if (size === 0) break scanning;
              i += size;
              shift += size === 2 ? 1 : 2;
            } while (i < end && buffer[i]! >= 0x80);
          } else if (c === 0x26 /* & */) {
            const after = reference(buffer, i, end);
            if (after < 0) break scanning;
            i = after;
          } else if (c === 0x5d /* ] */) {
            if (i + 1 >= end) break scanning;
            if (buffer[i + 1] === 0x5d) {
              if (i + 2 >= end) break scanning;
              if (buffer[i + 2] === 0x3e) fail('not-well-formed', ']]> in text');
            }
            i++;
          } else {
            fail('not-well-formed', 'a character not allowed in XML');
          }
        }
        state = MARKUP;
      }

      if (state === MARKUP) {
        if (i + 1 >= end) break;
        let c = buffer[i + 1]!;
        if (c === 0x2f /* / */) {
          let name = base + open[PER_OPEN * depth - 3]!;
          const nameEnd = name + open[PER_OPEN * depth - 2]!;
          let j = i + 2;
          for (; name < nameEnd; name++, j++) {
            if (j >= end) break scanning;
            if (buffer[j] !== buffer[name]) fail('not-well-formed', 'mismatched end tag');
          }
          work.tagStart = i - base;
          work.tagShift = shift;
          shift += open[PER_OPEN * depth - 1]!;
          i = j;
          state = END_TAG;
        } else if ((bytes[c]! & IS_NAME_START) !== 0 || c >= 0x80) {
          let j = i + 1;
          while (j < end && (bytes[buffer[j]!]! & IS_NAME) !== 0) j++;
          if (j < end && ((c = buffer[j]!) === 0x3a /* : */ || c >= 0x80)) {
            j = qname(buffer, i + 1, end, nameLength, work);
          } else {
            work.colon = work.nameShift = 0;
            if (j - i - 1 > nameLength) refuseName();
          }
          if (j < 0 || j >= end) break;
          work.tagStart = i - base;
          work.tagShift = shift;
          work.nameEnd = j - base;
          work.tagColon = work.colon;
          work.tagNameShift = work.nameShift;
          work.prefixed = work.colon !== 0;
          work.plain = true;
          work.count = 0;
          work.hashes = 0;
          work.declaration = -1;
          shift += work.nameShift;
          i = j;
          state = TAG;
        } else if (c === 0x21 /* ! */) {
          for (let k = 2; k < 9; k++) {
            if (i + k >= end) break scanning;
            if (buffer[i + k] !== CDATA_START[k]) refuseDeclaration(buffer[i + 2]!);
          }
          i += 9;
          work.rewrite = true;
          state = CDATA;
        } else if (c === 0x3f /* ? */) {
          fail('restricted-xml', 'processing instructions are not allowed');
        } else {
          fail('not-well-formed', 'invalid name');
        }
      }

      if (state === TAG) {
        while (i < end && (bytes[buffer[i]!]! & IS_SPACE) !== 0) i++;
        if (i >= end) break;
        let c = buffer[i]!;
        if (c === 0x3e /* > */ || c === 0x2f /* / */) {
          const empty = c === 0x2f;
          if (empty) {
            if (i + 1 >= end) break;
            if (buffer[i + 1] !== 0x3e) fail('not-well-formed', 'unexpected / in a start tag');
          }
          if (depth >= limits.depth) fail('policy-violation', `elements are nested more than ${limits.depth} deep`);
          work.elements += 1 + Math.max(0, work.count - USUAL_ATTRIBUTES);
          if (work.elements > mostElements) fail('policy-violation', `more than ${mostElements} elements`);
          const tagEnd = i + (empty ? 2 : 1);
          if (work.prefixed) bind(work, buffer, base, depth, this.prefixes, limits.attributes);
          else if (work.declaration >= 0) checkDefault(work, buffer, base);
          if (depth === 0) {
            i = tagEnd;
            if (this.phase === HEADER) return this.opened(work, buffer, base, i, empty);
            this.begun(work, buffer, base, i, shift);
            if (empty) return this.complete(work, i, shift, work.contentStart);
          } else if (depth === 1) {
            const child = PER_CHILD * work.childCount++;
            const { children } = work;
            const nsStart = work.nsStart - work.contentStart;
            children[child] = work.tagStart - work.tagShift - work.contentStart;
            children[child + 1] = tagEnd - base - shift - work.contentStart;
            children[child + 2] = work.nameEnd - work.tagStart - 1 - work.tagNameShift;
            children[child + 3] = work.declaration < 0 ? -1 : work.plain ? nsStart : -2 - nsStart;
            children[child + 4] = work.declaration < 0 ? 0 : work.nsLength;
            if (work.tagColon !== 0) work.rewrite = true;
          }
          if (!empty) {
            open[PER_OPEN * depth] = work.tagStart + 1;
            open[PER_OPEN * depth + 1] = work.nameEnd - work.tagStart - 1;
            open[PER_OPEN * depth + 2] = work.tagNameShift;
            depth++;
          } else if (work.bindings !== undefined) {
            unbind(work, depth);
          }
          i = tagEnd;
          state = TEXT;
          continue;
        }
        if ((bytes[buffer[i - 1]!]! & IS_SPACE) === 0)
          fail('not-well-formed', 'missing white space before an attribute');
        if (work.count >= limits.attributes) fail('policy-violation', `more than ${limits.attributes} attributes`);
        let j = i;
        while (j < end && (bytes[buffer[j]!]! & IS_NAME) !== 0) j++;
        if (j < end && ((c = buffer[j]!) === 0x3a /* : */ || c >= 0x80 || j === i)) {
          j = qname(buffer, i, end, nameLength, work);
        } else {
          if ((bytes[buffer[i]!]! & IS_NAME_START) === 0) fail('not-well-formed', 'invalid name');
          work.colon = work.nameShift = 0;
          if (j - i > nameLength) refuseName();
        }
        if (j < 0 || j >= end) break;
        const at = PER_ATTRIBUTE * (work.headerCount + work.count);
        attributes[at] = i - base;
        attributes[at + 1] = j - base;
        const bit = 1 << (5 * (j - i) + buffer[i]! + 3 * buffer[j - 1]!);
        if ((work.hashes & bit) !== 0) checkUnique(work, buffer, base, i, j);
        work.hashes |= bit;
        if (work.colon !== 0) {
          if (work.colon !== 3 || !matches(buffer, i, XML)) work.prefixed = true;
        } else if (j - i === 5 && matches(buffer, i, XMLNS)) {
          work.declaration = work.count;
        }
        shift += work.nameShift;
        i = j;
        state = EQUALS;
      }

      if (state === EQUALS) {
        while (i < end && (bytes[buffer[i]!]! & IS_SPACE) !== 0) i++;
        if (i >= end) break;
        if (buffer[i] !== 0x3d /* = */) fail('not-well-formed', 'an attribute without a value');
        i++;
        state = QUOTE;
      }

      if (state === QUOTE) {
        while (i < end && (bytes[buffer[i]!]! & IS_SPACE) !== 0) i++;
        if (i >= end) break;
        work.quote = buffer[i]!;
        if (work.quote !== 0x22 && work.quote !== 0x27) fail('not-well-formed', 'an attribute value without quotes');
        i++;
        attributes[PER_ATTRIBUTE * (work.headerCount + work.count) + 2] = i - base;
        if (work.declaration === work.count) work.nsStart = i - base - shift;
        state = VALUE;
      }

      if (state === VALUE) {
        const { quote } = work;
        for (;;) {
          i = plainValue(buffer, view, i, end, quote);
          if (i >= end) break scanning;
          const c = buffer[i]!;
          if (c === quote) break;
          if (c >= 0x80) {
            do {
              const size = sequence(buffer, i, end);
              if (size === 0) break scanning;
              i += size;
              shift += size === 2 ? 1 : 2;
            } while (i < end && buffer[i]! >= 0x80);
          } else if (c === 0x26 /* & */) {
            const after = reference(buffer, i, end);
            if (after < 0) break scanning;
            work.plain = false;
            i = after;
          } else if (c === 0x3c /* < */) {
            fail('not-well-formed', 'unescaped < in an attribute value');
          } else if (c < 0x20) {
            if ((bytes[c]! & IS_SPACE) === 0) fail('not-well-formed', 'a character not allowed in XML');
            work.plain = false;
            i++;
          } else {
            i++; // the other quote
          }
        }
        attributes[PER_ATTRIBUTE * (work.headerCount + work.count) + 3] = i - base;
        if (work.declaration === work.count) work.nsLength = i - base - shift - work.nsStart;
        i++;
        work.count++;
        state = TAG;
        continue;
      }

      if (state === END_TAG) {
        while (i < end && (bytes[buffer[i]!]! & IS_SPACE) !== 0) i++;
        if (i >= end) break;
        if (buffer[i] !== 0x3e /* > */) fail('not-well-formed', 'mismatched end tag');
        i++;
        depth--;
        if (depth === 0) return this.complete(work, i, shift, work.tagStart - work.tagShift);
        if (depth === 1) work.children[PER_CHILD * work.childCount - 4] = i - base - shift - work.contentStart;
        if (work.bindings !== undefined) unbind(work, depth);
        state = TEXT;
        continue;
      }

      if (state === CDATA) {
        for (;;) {
          i = plainText(buffer, view, i, end);
          if (i >= end) break scanning;
          const c = buffer[i]!;
          if (c >= 0x80) {
            const size = sequence(buffer, i, end);
            if (size === 0) break scanning;
            i += size;
            shift += size === 2 ? 1 : 2;
          } else if (c === 0x5d /* ] */) {
            if (i + 1 >= end) break scanning;
            if (buffer[i + 1] === 0x5d) {
              if (i + 2 >= end) break scanning;
              if (buffer[i + 2] === 0x3e) break;
            }
            i++;
          } else if (c < 0x20) {
            fail('not-well-formed', 'a character not allowed in XML');
          } else {
            i++;
          }
        }
        i += 3;
        state = TEXT;
      }
    }

    if (this.end >= cap) refuseSize(limits.stanzaBytes);
    this.at = i;
    work.state = state;
    work.depth = depth;
    work.shift = shift;
    if (this.work === undefined) {
      work.trim();
      this.work = work;
      idle = new Work();
    }
    return this.wait();
  }

  /** The start tag of a top-level element has been read; it ends at `at`. */
  private begun(work: Work, buffer: Buffer, base: number, at: number, shift: number): void {
    work.head();
    work.contentStart = at - base - shift;
    work.contentShift = shift;
    if (work.tagColon !== 0) work.rewrite = true;
    if (!this.framed) refuseHeader(work, buffer, base, this.defaultNs, this.prefixes);
  }

  /** Completes the top-level element that ends at `at`; its content ends at `contentEnd`. */
  private complete(work: Work, at: number, shift: number, contentEnd: number): TopLevel {
    const buffer = this.buffer!;
    const base = this.start;
    const text = shift === 0 ? buffer.toString('latin1', base, at) : buffer.toString('utf8', base, at);
    // A wrong index would present unvalidated text as elements.
    if (text.length !== at - base - shift) throw new Error('wrong offsets of an element');
    const { contentStart, headerColon } = work;
    const nameStart = headerColon === 0 ? 1 : headerColon + 2;
    const plain = work.contentShift === 0 ? text : undefined;
    const name =
      plain === undefined
        ? buffer.toString('utf8', base + nameStart, base + work.headerNameEnd)
        : plain.slice(nameStart, work.headerNameEnd);
    const ns = topNs(work, buffer, base, plain, this.defaultNs, this.prefixes);
    const attrs = readAttributes(work, buffer, base, plain, this.prefixes);
    let content = contentEnd > contentStart ? text.slice(contentStart, contentEnd) : '';
    let children = work.childCount === 0 ? NO_CHILDREN : work.children.slice(0, PER_CHILD * work.childCount);

    const { rewrite } = work;
    const { defaultNs, prefixes } = this;
    this.work = undefined;
    this.start = this.at = at;
    if (this.framed) this.endFrame();
    else if (at === this.end) this.release();
    if (rewrite && content !== '') {
      content = standAlone(build(text, 0, defaultNs, prefixes), ns, this.limits.stanzaBytes);
      children = readContent(content).children;
    }
    return { kind: 'element', name, ns, attrs, content, children };
  }

  private opened(work: Work, buffer: Buffer, base: number, at: number, empty: boolean): StreamOpen {
    const { name, open } = readHeader(work, buffer, base);
    this.headerName = name;
    this.defaultNs = open.defaultNs;
    this.prefixes = open.prefixes;
    this.work = undefined;
    this.start = this.at = at;
    this.phase = empty ? ENDING : STANZAS;
    if (at === this.end && !empty) this.release();
    return open;
  }

  /** The buffer has been consumed. */
  private proceed(): void {
    if (this.framed) this.frame();
    else this.release();
  }

  /** RFC 7395 §3.3.3: one element per message. */
  private endFrame(): void {
    const buffer = this.buffer!;
    while (this.at < this.end)
      if ((BYTES[buffer[this.at++]!]! & IS_SPACE) === 0) fail('bad-format', 'more than one element in a message');
    this.frame();
  }

  /** More bytes are needed: the unconsumed ones are copied, so that the chunk can be freed. */
  private wait(): undefined {
    if (this.framed) fail('not-well-formed', 'the element is incomplete');
    this.compact();
  }

  private frame(): void {
    this.nextFrame();
    this.fresh = UNTOUCHED;
  }

  private release(): void {
    this.work = undefined;
    this.drop();
  }
}

/** For our own text. The depth is bounded by what recursive functions can handle. */
const UNLIMITED: ReaderLimits = { stanzaBytes: 2 ** 30, depth: 1000, attributes: 10_000, nameLength: 10_000 };

/** Parses text as the content of an element (whose own namespace is ''). Throws XmlError. */
export function readContent(content: string): TopLevel {
  return readElement(`<x>${content}</x>`);
}

/** Parses text that is exactly one element. Throws XmlError. */
export function readElement(xml: string): TopLevel {
  if (/\p{Surrogate}/u.test(xml)) fail('not-well-formed', 'unpaired surrogate');
  const reader = new XmlReader('framed', UNLIMITED);
  reader.push(Buffer.from(xml));
  const top = reader.next();
  if (top?.kind !== 'element') fail('not-well-formed', 'an element is expected');
  return top;
}
