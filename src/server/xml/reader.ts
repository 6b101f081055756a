/**
 * RFC 6120 §4 and §11: reads a byte stream as top-level elements, one at a time. scanner.ts reads an element; its
 * header is parsed, its content stays text. The `framed` mode reads RFC 7395's framing.
 *
 * The result does not depend on chunk boundaries, and every error is determined by the bytes up to it.
 */
import { BYTES, refuseDeclaration, SPACE } from './bytes.js';
import { fail, XmlError } from './errors.js';
import { declarationLength, isEndTag, NO_PREFIXES, readHeader } from './header.js';
import type { ChildIndex, ReaderLimits, StreamClose, StreamItem, StreamOpen, TopLevel } from './items.js';
import { NO_CHILDREN, Scanner } from './scanner.js';
import { Skip } from './skip.js';
import type { Work } from './work.js';

const CLOSE: StreamClose = { kind: 'close' };

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

export { XmlError } from './errors.js';
export type { ChildIndex, ReaderLimits, StreamClose, StreamItem, StreamOpen, TopLevel } from './items.js';
export { isUnreadable } from './items.js';

// A local copy: V8 looks up imported constants on each use.
const IS_SPACE = SPACE;

export class XmlReader extends Scanner {
  private phase: number;
  private fresh = UNTOUCHED;
  private error: XmlError | undefined;
  /** Thrown after what was pushed. */
  private refusal: XmlError | undefined;
  /** The element that is being skipped, if any. */
  private skip: Skip | undefined;
  private headerName = '';

  /** `stream` reads a header, stanzas and a closing tag; `framed` reads one element per chunk (RFC 7395 §3.3). */
  constructor(mode: 'stream' | 'framed', limits: ReaderLimits) {
    super(mode === 'framed', limits);
    this.phase = this.framed ? STANZAS : HEADER;
  }

  /** Takes ownership of a chunk until it has been consumed. Input after the end of the stream is ignored. */
  push(chunk: Buffer): void {
    const isOver = this.error !== undefined || this.refusal !== undefined || this.phase === CLOSED;
    if (isOver || (chunk.length === 0 && !this.framed)) return;
    this.take(chunk, this.framed);
  }

  /** What follows cannot be read: `next` throws this error after the items that have been pushed. */
  refuse(error: XmlError): void {
    this.refusal ??= error;
  }

  /**
   * Returns the next complete item, or undefined if more bytes are needed. Skips white space between items. Throws
   * XmlError; later calls throw the same error.
   */
  next(): StreamItem | undefined {
    if (this.error !== undefined) throw this.error;
    try {
      if (this.skip !== undefined) return this.skipped(this.skip);
      return this.work === undefined ? this.read() : this.scan(this.work);
    } catch (error) {
      if (!(error instanceof XmlError)) throw error;
      if (this.skip === undefined && this.maySkip(error)) {
        this.skip = new Skip(error.text, this.limits.skippedBytes!);
        return this.next();
      }
      this.error = error;
      this.release();
      throw error;
    }
  }

  private maySkip({ condition }: XmlError): boolean {
    return (
      condition === 'policy-violation' &&
      this.limits.skippedBytes !== undefined &&
      this.phase === STANZAS &&
      !this.framed
    );
  }

  /** Skips the element that begins at `start`, or goes on with that. */
  private skipped(skip: Skip): TopLevel | undefined {
    if (this.buffer === undefined) return undefined;
    const at = skip.over(this.buffer, this.start, this.end);
    this.work = undefined;
    this.start = this.at = at;
    if (at === this.end) this.release();
    if (!skip.isOver) return undefined;
    this.skip = undefined;
    return { ...this.headerOf(skip), content: '', children: NO_CHILDREN, excess: skip.reason };
  }

  /** The name and attributes of a skipped element; none if its start tag is what exceeds a limit. */
  private headerOf({ tag }: Skip): Pick<TopLevel, 'kind' | 'name' | 'ns' | 'attrs'> {
    const reader = new XmlReader('stream', { ...this.limits, skippedBytes: undefined });
    reader.phase = STANZAS;
    reader.defaultNs = this.defaultNs;
    reader.prefixes = this.prefixes;
    try {
      reader.push(tag);
      const item = reader.next();
      if (item?.kind === 'element') return item;
    } catch (error) {
      if (!(error instanceof XmlError)) throw error;
    }
    return { kind: 'element', name: '', ns: '', attrs: {} };
  }

  protected get isHeader(): boolean {
    return this.phase === HEADER;
  }

  protected childrenOf(content: string): ChildIndex {
    return readContent(content).children;
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
          return this.scanNew();
      }
    }
    if (this.refusal !== undefined) throw this.refusal;
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

  protected opened(work: Work, buffer: Buffer, base: number, at: number, empty: boolean): StreamOpen {
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
  protected endFrame(): void {
    const buffer = this.buffer!;
    while (this.at < this.end)
      if ((BYTES[buffer[this.at++]!]! & IS_SPACE) === 0) fail('bad-format', 'more than one element in a message');
    this.frame();
  }

  /** More bytes are needed: the unconsumed ones are copied, so that the chunk can be freed. */
  protected wait(): undefined {
    if (this.framed) fail('not-well-formed', 'the element is incomplete');
    this.compact();
  }

  private frame(): void {
    this.nextFrame();
    this.fresh = UNTOUCHED;
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
