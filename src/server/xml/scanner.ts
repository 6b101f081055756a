/**
 * The scan of one element: one pass over its bytes checks everything that XML 1.0, Namespaces in XML and RFC 6120 §11
 * require, parses the header of the element and records the offsets of its children. The result does not depend on
 * chunk boundaries: the scanner can stop and resume at any byte.
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
import { fail, refuseName, refuseSize } from './errors.js';
import { NO_PREFIXES, refuseHeader } from './header.js';
import type { ChildIndex, ReaderLimits, StreamItem, StreamOpen, TopLevel } from './items.js';
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
export const NO_CHILDREN: ChildIndex = Object.freeze([]);

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

export abstract class Scanner extends Unread {
  /** May be raised while reading, for example after authentication. */
  limits: ReaderLimits;
  protected readonly framed: boolean;
  /** Whether the element is the stream header. */
  protected abstract readonly isHeader: boolean;
  /** State of the incomplete element, if any. */
  protected work: Work | undefined;
  // Of the stream header.
  protected defaultNs = '';
  protected prefixes: Prefixes = NO_PREFIXES;

  constructor(framed: boolean, limits: ReaderLimits) {
    super();
    this.framed = framed;
    this.limits = limits;
  }

  /** The start tag of the stream header has been read; it ends at `at`. */
  protected abstract opened(work: Work, buffer: Buffer, base: number, at: number, empty: boolean): StreamOpen;
  /** The children of rewritten content. */
  protected abstract childrenOf(content: string): ChildIndex;
  /** A framed element ends at `at`. */
  protected abstract endFrame(): void;
  /** More bytes are needed. */
  protected abstract wait(): undefined;

  /** Scans the element that begins at `start`. */
  protected scanNew(): StreamItem | undefined {
    idle.begin(MARKUP);
    return this.scan(idle);
  }

  protected release(): void {
    this.work = undefined;
    this.drop();
  }

  /**
   * Scans the element that begins at `start`, resuming at `at`. This is one long function so that its state stays in
   * registers.
   */
  protected scan(work: Work): StreamItem | undefined {
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
            if (this.isHeader) return this.opened(work, buffer, base, i, empty);
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
    // Before the element is consumed: rewritten, it may exceed a limit, and is then skipped.
    if (rewrite && content !== '') {
      content = standAlone(build(text, 0, defaultNs, prefixes), ns, this.limits.stanzaBytes);
      children = this.childrenOf(content);
    }
    this.work = undefined;
    this.start = this.at = at;
    if (this.framed) this.endFrame();
    else if (at === this.end) this.release();
    return { kind: 'element', name, ns, attrs, content, children };
  }
}
