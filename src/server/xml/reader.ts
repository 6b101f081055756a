/**
 * RFC 6120 §4 and §11: reads a stream of bytes as top-level elements, one at a time. One pass over the bytes checks
 * everything that XML 1.0, Namespaces in XML and RFC 6120 §11 ask for, reads the header of the element and notes
 * where its children lie; the content stays text. RFC 7395's framing is the other mode of the same reader.
 *
 * Where the text is cut into chunks makes no difference to what is read or refused: the scanner stops at any byte and
 * goes on there, and every error is decided by the bytes up to it.
 */
import { isChar, isNameChar, isNameStart, isSpace } from './characters.js';
import { attributeValue, build, type Element, setAttribute, XML_NS } from './tree.js';
import { escapeText, serialize } from './write.js';

export interface ReaderLimits {
  /** Bytes of one top-level element, or of the stream header. */
  readonly stanzaBytes: number;
  /** Elements in one another, the top-level element counted. */
  readonly depth: number;
  /** Attributes of one element, declarations included; also prefixes declared by a stanza at once. */
  readonly attributes: number;
  /**
   * Elements of one top-level element, itself included; no limit if not given. Each attribute of an element beyond five
   * counts as one more: reading and building it costs as much.
   */
  readonly elements?: number;
  /** Bytes of one name; 256 if not given. */
  readonly nameLength?: number;
}

/** The stream error conditions (RFC 6120 §4.9.3) that text can earn. */
export type XmlErrorCondition =
  | 'bad-format'
  | 'bad-namespace-prefix'
  | 'not-well-formed'
  | 'policy-violation'
  | 'restricted-xml'
  | 'unsupported-encoding';

/** The text cannot be read on. */
export class XmlError extends Error {
  override readonly name = 'XmlError';

  constructor(
    readonly condition: XmlErrorCondition,
    readonly text: string,
  ) {
    super(`${condition}: ${text}`);
  }
}

/**
 * The direct children of an element, five numbers each: where the child starts and ends in the content, the length of
 * its name, where its namespace stands in the content, and the length of that. Instead of the fourth, -1 says that the
 * child is in the element's own namespace, and -2 - n that the namespace stands at n with references in it.
 * content.ts reads this.
 */
export type ChildIndex = readonly number[];

/** A complete top-level element: its header parsed, its content as text. */
export interface TopLevel {
  readonly kind: 'element';
  /** Without prefix. */
  readonly name: string;
  readonly ns: string;
  /**
   * Unescaped. Unprefixed attributes and `xml:lang`; others as `prefix:name`, with `xmlns:prefix` beside them. The
   * values share memory with `content`.
   */
  readonly attrs: Record<string, string>;
  /**
   * The text between the tags. It needs nothing declared outside but `ns` as its default namespace; direct children
   * have no prefix, and there is no CDATA in it.
   */
  readonly content: string;
  readonly children: ChildIndex;
}

/** The stream header (RFC 6120 §4.2). */
export interface StreamOpen {
  readonly kind: 'open';
  readonly name: string;
  readonly ns: string;
  readonly prefix: string | undefined;
  readonly attrs: Record<string, string>;
  /** The content namespace, '' where there is none. */
  readonly defaultNs: string;
  readonly prefixes: Readonly<Record<string, string>>;
}

export interface StreamClose {
  readonly kind: 'close';
}

export type StreamItem = StreamOpen | TopLevel | StreamClose;

const STREAM_NS = 'http://etherx.jabber.org/streams';
const XMLNS_NS = 'http://www.w3.org/2000/xmlns/';
/** Longer names of namespaces are refused: written out for each element, they would make much of little. */
const NAMESPACE_LENGTH = 256;
/** Attributes of one element that `ReaderLimits.elements` does not count. */
const USUAL_ATTRIBUTES = 5;
/** Bytes of the longest XML declaration that is waited for, and of the longest reference. */
const DECLARATION_LENGTH = 200;
const REFERENCE_LENGTH = 16;
const NAME_LENGTH = 256;
const CDATA_START = Buffer.from('<![CDATA[');
const FROM = Buffer.from('from');
const TYPE = Buffer.from('type');
const XML_LANG = Buffer.from('xml:lang');
const XML = Buffer.from('xml');
const XMLNS = Buffer.from('xmlns');
const DECLARATION =
  /^<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?:"([\w.-]*)"|'([\w.-]*)')(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*(?:"([A-Za-z][\w.-]*)"|'([A-Za-z][\w.-]*)'))?(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?:"(?:yes|no)"|'(?:yes|no)'))?[ \t\r\n]*\?>$/;

const CLOSE: StreamClose = { kind: 'close' };
const NO_PREFIXES: Readonly<Record<string, string>> = Object.freeze({});
/** What nearly every header says; shared, so that a waiting stream does not hold its own. */
const USUAL = ['stream:stream', 'jabber:client', 'jabber:server'];
const USUAL_PREFIXES: Readonly<Record<string, string>> = Object.freeze({ stream: STREAM_NS });
const NO_CHILDREN: ChildIndex = Object.freeze([]);

/** Phases of a reader. */
const HEADER = 0;
const STANZAS = 1;
/** An empty tag opened and closed the stream. */
const ENDING = 2;
const CLOSED = 3;

/** What may still come in front of the header: nothing, a declaration, a byte order mark. */
const BEGUN = 0;
const MARKED = 1;
const UNTOUCHED = 2;
/** As untouched, but white space may yet arrive that was sent in the stream before. */
const RESTARTED = 3;

/** Where in an element the scanner stands. */
// biome-ignore lint/suspicious/noConstEnum: has to be a constant in the loops over bytes
const enum State {
  Text,
  Markup,
  Tag,
  Equals,
  Quote,
  Value,
  EndTag,
  Cdata,
}

/** What a byte can be. */
// biome-ignore lint/suspicious/noConstEnum: as above
const enum Is {
  /** XML 1.0 §2.3 NameStartChar, without the colon and what is beyond ASCII. */
  NameStart = 1,
  /** NameChar, likewise. */
  Name = 2,
  Space = 4,
  /** Ends a run of plain character data: markup, a reference, `]` (of `]]>`), a forbidden character, beyond ASCII. */
  TextStop = 8,
  /** Ends a run of plain attribute value: as above, quotes, and white space that is to be normalised. */
  ValueStop = 16,
}

const BYTES = Uint8Array.from({ length: 256 }, (_, c) => {
  const special = c >= 0x80 || c === 0x3c || c === 0x26 || (c < 0x20 && !isSpace(c));
  return (
    (c < 0x80 && isNameStart(c) ? Is.NameStart : 0) |
    (c < 0x80 && isNameChar(c) ? Is.Name : 0) |
    (isSpace(c) ? Is.Space : 0) |
    (special || c === 0x5d ? Is.TextStop : 0) |
    (special || c < 0x20 || c === 0x22 || c === 0x27 ? Is.ValueStop : 0)
  );
});

/** Numbers for each attribute of a tag: start and end of its name, start and end of its value, in bytes. */
const ATTRIBUTE = 4;
/** Numbers for each open element. */
const OPEN = 3;
/** Numbers for each child in a ChildIndex. */
const CHILD = 5;

/** Numbers that are not kept from one element to the next. */
const MANY = 1000;

/** A declared prefix. */
interface Binding {
  readonly prefix: string;
  readonly ns: string;
  /** Of the element that declares it; 1 is the top-level element. */
  readonly depth: number;
  readonly outer: Binding | undefined;
  readonly count: number;
}

/** What is known of an element while it is being read. All offsets count from its start; in bytes if not said. */
class Work {
  state = State.Markup;
  depth = 0;
  /** Start tags so far. */
  elements = 0;
  /** By how much bytes are ahead of UTF-16 units here. */
  shift = 0;
  /** Of each open element the start of its name, the length of that, and its bytes less its UTF-16 units. */
  open: number[] = [];
  children: number[] = [];
  childCount = 0;
  /** The top-level tag's attributes, then those of the tag in hand. */
  attributes: number[] = [];
  bindings: Binding | undefined;
  /** Whether the content leans on something outside, or has CDATA, and has to be written anew. */
  rewrite = false;

  // The top-level element, once its start tag has been read.
  headerCount = 0;
  headerPlain = true;
  headerNameEnd = 0;
  headerColon = 0;
  headerDeclaration = -1;
  /** In UTF-16 units. */
  contentStart = 0;
  contentShift = 0;

  // The name read last: bytes in front of its colon, 0 where there is none; bytes less UTF-16 units.
  colon = 0;
  nameShift = 0;

  // The tag in hand.
  tagStart = 0;
  tagShift = 0;
  nameEnd = 0;
  tagColon = 0;
  tagNameShift = 0;
  count = 0;
  /** Bit set of the hashes of attribute names: only a bit that is set already calls for comparing. */
  hashes = 0;
  /** There are prefixes to look up, or to declare. */
  prefixed = false;
  /** No value has references or white space to normalise. */
  plain = true;
  quote = 0;
  /** Which attribute is `xmlns`, -1 if none; where its value is, in UTF-16 units. */
  declaration = -1;
  nsStart = -1;
  nsLength = 0;

  begin(): void {
    this.state = State.Markup;
    this.depth = 0;
    this.elements = 0;
    this.shift = 0;
    this.childCount = 0;
    this.headerCount = 0;
    this.bindings = undefined;
    this.rewrite = false;
    if (this.children.length > MANY) this.children = [];
  }

  /** Gives back what larger elements have left behind. */
  trim(): void {
    this.open.length = Math.min(this.open.length, OPEN * this.depth);
    this.children.length = Math.min(this.children.length, CHILD * this.childCount);
    const attributes = ATTRIBUTE * (this.headerCount + this.count + 1);
    this.attributes.length = Math.min(this.attributes.length, attributes);
  }
}

/** Serves every reader whose element arrives whole; one that has to wait takes it along. */
let idle = new Work();

export class XmlReader {
  /** May be raised while reading, say after authentication. */
  limits: ReaderLimits;
  private readonly framed: boolean;
  private phase: number;
  private fresh = UNTOUCHED;
  private error: XmlError | undefined;
  /** What has not been consumed lies in `buffer` from `start` to `end`; scanned so far up to `at`. */
  private buffer: Buffer | undefined;
  /** `buffer` is our own, to append to. */
  private owned = false;
  private start = 0;
  private at = 0;
  private end = 0;
  private view: DataView | undefined;
  private frames: Buffer[] | undefined;
  /** Of the element that is waiting for more bytes. */
  private work: Work | undefined;
  // The stream header.
  private headerName = '';
  private defaultNs = '';
  private prefixes = NO_PREFIXES;

  /** `stream` reads a header, stanzas and a closing tag; `framed` one element in each chunk (RFC 7395 §3.3). */
  constructor(mode: 'stream' | 'framed', limits: ReaderLimits) {
    this.framed = mode === 'framed';
    this.phase = this.framed ? STANZAS : HEADER;
    this.limits = limits;
  }

  /** Takes a chunk, which is the reader's until all of it has been consumed. What follows the end is ignored. */
  push(chunk: Buffer): void {
    if (this.error !== undefined || this.phase === CLOSED || (chunk.length === 0 && !this.framed)) return;
    if (this.buffer === undefined) {
      this.buffer = chunk;
      this.owned = false;
      this.start = this.at = 0;
      this.end = chunk.length;
    } else if (this.framed) {
      (this.frames ??= []).push(chunk);
    } else {
      this.append(chunk);
    }
  }

  /**
   * The next complete item; undefined means that more bytes are needed. White space between items is skipped.
   * Throws XmlError, and the same one ever after.
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

  /** A new stream header comes next (RFC 6120 §5.4.3.3, §6.4.6); bytes not yet consumed belong to the new stream. */
  restart(): void {
    if (this.framed) return;
    this.phase = HEADER;
    this.fresh = RESTARTED;
    this.headerName = this.defaultNs = '';
    this.prefixes = NO_PREFIXES;
  }

  /** Throws away what has not been consumed, as STARTTLS asks (RFC 6120 §5.4.3.3); answers how many bytes. */
  discard(): number {
    const count = this.buffered;
    this.release();
    return count;
  }

  /** Bytes that have not been consumed. */
  get buffered(): number {
    let count = this.end - this.start;
    if (this.frames !== undefined) for (const frame of this.frames) count += frame.length;
    return count;
  }

  /** Between top-level elements. */
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
      while (at < end && (BYTES[buffer[at]!]! & Is.Space) !== 0) at++;
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
          if (!this.readDeclaration(at)) return this.wait();
          break;
        case 0x21 /* ! */:
          if (at + 2 === end) return this.wait();
          return buffer[at + 2] === 0x5b /* [ */ ? this.refuseText(0x5b) : refuseDeclaration(buffer[at + 2]!);
        case 0x2f /* / */:
          return this.readEnd(at);
        default:
          this.fresh = BEGUN;
          idle.begin();
          return this.scan(idle);
      }
    }
    return undefined;
  }

  /** RFC 6120 §4.9.3.1 for text between stanzas; what is before the header, or no character, is no XML at all. */
  private refuseText(c: number): never {
    fail(this.phase === STANZAS && c >= 0x20 ? 'bad-format' : 'not-well-formed', 'text outside of any element');
  }

  /** XML 1.0 §2.8: `<?xml …?>`, which may stand at the very start only. False where it is incomplete. */
  private readDeclaration(at: number): boolean {
    const text = this.buffer!.toString('latin1', at, Math.min(this.end, at + DECLARATION_LENGTH));
    if (this.fresh === BEGUN || !/^<\?(?:$|x(?:$|m(?:$|l(?:$|[ \t\r\n]))))/.test(text)) {
      fail('restricted-xml', 'processing instructions are not allowed');
    }
    const length = text.indexOf('?>') + 2;
    if (length < 2) {
      if (text.length >= DECLARATION_LENGTH) fail('not-well-formed', 'the XML declaration does not end');
      return false;
    }
    const parts = DECLARATION.exec(text.slice(0, length));
    if (parts === null || (parts[1] ?? parts[2]) !== '1.0') fail('not-well-formed', 'not an XML 1.0 declaration');
    const encoding = parts[3] ?? parts[4];
    if (encoding !== undefined && !/^utf-8$/i.test(encoding)) fail('unsupported-encoding', 'only UTF-8 is supported');
    this.fresh = BEGUN;
    this.start = this.at = at + length;
    if (this.start === this.end) this.proceed();
    return true;
  }

  /** The closing tag of the stream. */
  private readEnd(at: number): StreamClose | undefined {
    if (this.phase !== STANZAS || this.framed) fail('not-well-formed', 'an end tag without start tag');
    const buffer = this.buffer!;
    const expected = Buffer.from(`</${this.headerName}`);
    for (let i = 0; i < expected.length; i++) {
      if (at + i === this.end) return this.wait();
      if (buffer[at + i] !== expected[i]) fail('not-well-formed', 'not the end tag of the stream');
    }
    let i = at + expected.length;
    while (i < this.end && (BYTES[buffer[i]!]! & Is.Space) !== 0) {
      if (++i - at > DECLARATION_LENGTH + expected.length) fail('policy-violation', 'the end tag is too long');
    }
    if (i === this.end) return this.wait();
    if (buffer[i] !== 0x3e /* > */) fail('not-well-formed', 'not the end tag of the stream');
    return this.close();
  }

  private close(): StreamClose {
    this.phase = CLOSED;
    this.release();
    return CLOSE;
  }

  /**
   * Scans the element that begins at `start`, from `at` on. One function, long as it is: what it knows of the byte in
   * hand stays in registers.
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
      if (state === State.Text) {
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
            fail('not-well-formed', 'a character that XML does not allow');
          }
        }
        state = State.Markup;
      }

      if (state === State.Markup) {
        if (i + 1 >= end) break;
        let c = buffer[i + 1]!;
        if (c === 0x2f /* / */) {
          let name = base + open[OPEN * depth - 3]!;
          const nameEnd = name + open[OPEN * depth - 2]!;
          let j = i + 2;
          for (; name < nameEnd; name++, j++) {
            if (j >= end) break scanning;
            if (buffer[j] !== buffer[name]) fail('not-well-formed', 'an end tag that does not match');
          }
          work.tagStart = i - base;
          work.tagShift = shift;
          shift += open[OPEN * depth - 1]!;
          i = j;
          state = State.EndTag;
        } else if ((bytes[c]! & Is.NameStart) !== 0 || c >= 0x80) {
          let j = i + 1;
          while (j < end && (bytes[buffer[j]!]! & Is.Name) !== 0) j++;
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
          state = State.Tag;
        } else if (c === 0x21 /* ! */) {
          for (let k = 2; k < 9; k++) {
            if (i + k >= end) break scanning;
            if (buffer[i + k] !== CDATA_START[k]) refuseDeclaration(buffer[i + 2]!);
          }
          i += 9;
          work.rewrite = true;
          state = State.Cdata;
        } else if (c === 0x3f /* ? */) {
          fail('restricted-xml', 'processing instructions are not allowed');
        } else {
          fail('not-well-formed', 'not a name');
        }
      }

      if (state === State.Tag) {
        while (i < end && (bytes[buffer[i]!]! & Is.Space) !== 0) i++;
        if (i >= end) break;
        let c = buffer[i]!;
        if (c === 0x3e /* > */ || c === 0x2f /* / */) {
          const empty = c === 0x2f;
          if (empty) {
            if (i + 1 >= end) break;
            if (buffer[i + 1] !== 0x3e) fail('not-well-formed', 'a / in a start tag');
          }
          if (depth >= limits.depth) fail('policy-violation', `elements are nested more than ${limits.depth} deep`);
          work.elements += 1 + Math.max(0, work.count - USUAL_ATTRIBUTES);
          if (work.elements > mostElements) fail('policy-violation', `more than ${mostElements} elements`);
          const tagEnd = i + (empty ? 2 : 1);
          if (work.prefixed) this.bind(work, buffer, base, depth);
          else if (work.declaration >= 0 && !isOrdinary(work, buffer, base)) this.checkDefault(work, buffer, base);
          if (depth === 0) {
            i = tagEnd;
            if (this.phase === HEADER) return this.opened(work, buffer, base, i, empty);
            this.begun(work, buffer, base, i, shift);
            if (empty) return this.complete(work, i, shift, work.contentStart);
          } else if (depth === 1) {
            const child = CHILD * work.childCount++;
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
            open[OPEN * depth] = work.tagStart + 1;
            open[OPEN * depth + 1] = work.nameEnd - work.tagStart - 1;
            open[OPEN * depth + 2] = work.tagNameShift;
            depth++;
          } else if (work.bindings !== undefined) {
            unbind(work, depth);
          }
          i = tagEnd;
          state = State.Text;
          continue;
        }
        if ((bytes[buffer[i - 1]!]! & Is.Space) === 0)
          fail('not-well-formed', 'not white space in front of an attribute');
        if (work.count >= limits.attributes) fail('policy-violation', `more than ${limits.attributes} attributes`);
        let j = i;
        while (j < end && (bytes[buffer[j]!]! & Is.Name) !== 0) j++;
        if (j < end && ((c = buffer[j]!) === 0x3a /* : */ || c >= 0x80 || j === i)) {
          j = qname(buffer, i, end, nameLength, work);
        } else {
          if ((bytes[buffer[i]!]! & Is.NameStart) === 0) fail('not-well-formed', 'not a name');
          work.colon = work.nameShift = 0;
          if (j - i > nameLength) refuseName();
        }
        if (j < 0 || j >= end) break;
        const at = ATTRIBUTE * (work.headerCount + work.count);
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
        state = State.Equals;
      }

      if (state === State.Equals) {
        while (i < end && (bytes[buffer[i]!]! & Is.Space) !== 0) i++;
        if (i >= end) break;
        if (buffer[i] !== 0x3d /* = */) fail('not-well-formed', 'an attribute without value');
        i++;
        state = State.Quote;
      }

      if (state === State.Quote) {
        while (i < end && (bytes[buffer[i]!]! & Is.Space) !== 0) i++;
        if (i >= end) break;
        work.quote = buffer[i]!;
        if (work.quote !== 0x22 && work.quote !== 0x27) fail('not-well-formed', 'an attribute without quotes');
        i++;
        attributes[ATTRIBUTE * (work.headerCount + work.count) + 2] = i - base;
        if (work.declaration === work.count) work.nsStart = i - base - shift;
        state = State.Value;
      }

      if (state === State.Value) {
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
            fail('not-well-formed', '< in an attribute');
          } else if (c < 0x20) {
            if ((bytes[c]! & Is.Space) === 0) fail('not-well-formed', 'a character that XML does not allow');
            work.plain = false;
            i++;
          } else {
            i++; // the other quote
          }
        }
        attributes[ATTRIBUTE * (work.headerCount + work.count) + 3] = i - base;
        if (work.declaration === work.count) work.nsLength = i - base - shift - work.nsStart;
        i++;
        work.count++;
        state = State.Tag;
        continue;
      }

      if (state === State.EndTag) {
        while (i < end && (bytes[buffer[i]!]! & Is.Space) !== 0) i++;
        if (i >= end) break;
        if (buffer[i] !== 0x3e /* > */) fail('not-well-formed', 'an end tag that does not match');
        i++;
        depth--;
        if (depth === 0) return this.complete(work, i, shift, work.tagStart - work.tagShift);
        if (depth === 1) work.children[CHILD * work.childCount - 4] = i - base - shift - work.contentStart;
        if (work.bindings !== undefined) unbind(work, depth);
        state = State.Text;
        continue;
      }

      if (state === State.Cdata) {
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
            fail('not-well-formed', 'a character that XML does not allow');
          } else {
            i++;
          }
        }
        i += 3;
        state = State.Text;
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

  /** A view of the buffer for reading words, where enough is left to make it worth while. */
  private lookAt(buffer: Buffer, at: number): DataView | undefined {
    if (this.view === undefined && this.end - at > 128) {
      this.view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
    }
    return this.view;
  }

  /** The start tag of a top-level element has been read, up to `at`. */
  private begun(work: Work, buffer: Buffer, base: number, at: number, shift: number): void {
    work.headerCount = work.count;
    work.headerPlain = work.plain;
    work.headerNameEnd = work.nameEnd;
    work.headerColon = work.tagColon;
    work.headerDeclaration = work.declaration;
    work.contentStart = at - base - shift;
    work.contentShift = shift;
    if (work.tagColon !== 0) work.rewrite = true;
    // RFC 6120 §4.2: one header a stream. Taken for a stanza, a second one would be waited for until its end.
    const local = work.tagColon === 0 ? 1 : work.tagColon + 2;
    if (
      !this.framed &&
      work.nameEnd - local === 6 &&
      buffer.toString('latin1', base + local, base + work.nameEnd) === 'stream'
    ) {
      if (this.topNs(work, buffer, base) === STREAM_NS) fail('bad-format', 'a second stream header');
    }
  }

  private topNs(work: Work, buffer: Buffer, base: number): string {
    if (work.headerColon !== 0) {
      return this.resolve(work, buffer.toString('utf8', base + 1, base + 1 + work.headerColon)).ns;
    }
    if (work.headerDeclaration < 0) return this.defaultNs;
    return readValue(work, buffer, base, ATTRIBUTE * work.headerDeclaration, undefined);
  }

  /** The top-level element ends at `at`, its content at `contentEnd`. */
  private complete(work: Work, at: number, shift: number, contentEnd: number): TopLevel {
    const buffer = this.buffer!;
    const base = this.start;
    const text = shift === 0 ? buffer.toString('latin1', base, at) : buffer.toString('utf8', base, at);
    // A wrong index would pass off text as elements that nobody has checked.
    if (text.length !== at - base - shift) throw new Error('the offsets of an element are wrong');
    const { contentStart, headerColon } = work;
    const nameStart = headerColon === 0 ? 1 : headerColon + 2;
    const plainText = work.contentShift === 0 ? text : undefined;
    const name =
      plainText === undefined
        ? buffer.toString('utf8', base + nameStart, base + work.headerNameEnd)
        : plainText.slice(nameStart, work.headerNameEnd);
    const ns =
      plainText !== undefined && headerColon === 0 && work.headerDeclaration >= 0
        ? readValue(work, buffer, base, ATTRIBUTE * work.headerDeclaration, plainText)
        : this.topNs(work, buffer, base);
    const attrs = this.readAttributes(work, buffer, base, plainText);
    let content = contentEnd > contentStart ? text.slice(contentStart, contentEnd) : '';
    let children = work.childCount === 0 ? NO_CHILDREN : work.children.slice(0, CHILD * work.childCount);

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
    work.headerColon = work.tagColon;
    work.headerDeclaration = work.declaration;
    work.headerCount = work.count;
    work.headerPlain = work.plain;
    const rawName = buffer.toString('utf8', base + 1, base + work.nameEnd);
    const ns = this.topNs(work, buffer, base);
    const attrs = this.readAttributes(work, buffer, base, undefined);
    const defaultNs =
      work.declaration < 0 ? '' : readValue(work, buffer, base, ATTRIBUTE * work.declaration, undefined);
    const prefixes: Record<string, string> = {};
    for (let b = work.bindings; b !== undefined; b = b.outer) setAttribute(prefixes, b.prefix, b.ns);
    const usual = work.bindings?.prefix === 'stream' && work.bindings.ns === STREAM_NS && work.bindings.count === 1;
    this.prefixes = usual ? USUAL_PREFIXES : work.bindings === undefined ? NO_PREFIXES : Object.freeze(prefixes);
    this.defaultNs = USUAL.find((usual) => usual === defaultNs) ?? defaultNs;
    this.headerName = USUAL.find((usual) => usual === rawName) ?? rawName;
    this.work = undefined;
    this.start = this.at = at;
    this.phase = empty ? ENDING : STANZAS;
    if (at === this.end && !empty) this.release();
    const colon = work.tagColon;
    return {
      kind: 'open',
      name: colon === 0 ? rawName : rawName.slice(colon + 1),
      ns,
      prefix: colon === 0 ? undefined : rawName.slice(0, colon),
      attrs,
      defaultNs,
      prefixes: this.prefixes,
    };
  }

  /** The attributes of the top-level tag; `text` is the element where its characters stand where its bytes do. */
  private readAttributes(work: Work, buffer: Buffer, base: number, text: string | undefined): Record<string, string> {
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
    if (others) this.readOthers(work, buffer, base, attrs);
    return attrs;
  }

  private readOthers(work: Work, buffer: Buffer, base: number, attrs: Record<string, string>): void {
    for (let k = 0; k < ATTRIBUTE * work.headerCount; k += ATTRIBUTE) {
      const name = buffer.toString('utf8', base + work.attributes[k]!, base + work.attributes[k + 1]!);
      if (name === 'xmlns' || name.startsWith('xmlns:') || Object.hasOwn(attrs, name)) continue;
      setAttribute(attrs, name, readValue(work, buffer, base, k, undefined));
      const colon = name.indexOf(':');
      const prefix = name.slice(0, Math.max(colon, 0));
      if (colon >= 0 && prefix !== 'xml') attrs[`xmlns:${prefix}`] = this.resolve(work, prefix).ns;
    }
  }

  /** XML-NAMES §2-6 for a tag with prefixes: declares, looks up, compares expanded names. */
  private bind(work: Work, buffer: Buffer, base: number, depth: number): void {
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
        fail('not-well-formed', 'a reserved prefix or namespace');
      }
      if (ns === '') fail('not-well-formed', 'a prefix without namespace');
      if (prefix === 'xml') continue;
      const outer = work.bindings;
      const count = outer === undefined ? 1 : outer.count + 1;
      if (count > this.limits.attributes) fail('policy-violation', `more than ${this.limits.attributes} prefixes`);
      work.bindings = { prefix, ns, depth: depth + 1, outer, count };
    }
    if (work.declaration >= 0) this.checkDefault(work, buffer, base);

    if (work.tagColon !== 0) {
      const start = base + work.tagStart + 1;
      const prefix = buffer.toString('utf8', start, start + work.tagColon);
      if (prefix === 'xml') fail('bad-namespace-prefix', 'an element in the namespace of XML');
      if (this.resolve(work, prefix).depth <= 1 && depth > 0) work.rewrite = true;
    }
    let expanded: Set<string> | undefined;
    for (const name of names) {
      const colon = name.indexOf(':');
      if (colon < 0) continue;
      const prefix = name.slice(0, colon);
      if (prefix === 'xml' || prefix === 'xmlns') continue;
      const binding = this.resolve(work, prefix);
      if (binding.depth <= 1 && depth > 0) work.rewrite = true;
      const key = `${name.slice(colon + 1)} ${binding.ns}`;
      if (expanded?.has(key)) fail('not-well-formed', 'an attribute twice');
      (expanded ??= new Set()).add(key);
    }
  }

  private checkDefault(work: Work, buffer: Buffer, base: number): void {
    const k = ATTRIBUTE * (work.headerCount + work.declaration);
    const ns = decodeValue(work, buffer, base, k);
    if (ns === XML_NS || ns === XMLNS_NS) fail('not-well-formed', 'a reserved namespace');
    checkNamespace(ns);
  }

  private resolve(work: Work, prefix: string): { readonly ns: string; readonly depth: number } {
    for (let b = work.bindings; b !== undefined; b = b.outer) if (b.prefix === prefix) return b;
    if (Object.hasOwn(this.prefixes, prefix)) return { ns: this.prefixes[prefix]!, depth: 0 };
    return fail('bad-namespace-prefix', 'a prefix that is not declared');
  }

  /** Everything in the buffer has been consumed. */
  private proceed(): void {
    if (this.framed) this.nextFrame();
    else this.release();
  }

  /** RFC 7395 §3.3.3: one element a message. */
  private endFrame(): void {
    const buffer = this.buffer!;
    while (this.at < this.end) {
      if ((BYTES[buffer[this.at++]!]! & Is.Space) === 0) fail('bad-format', 'more than one element in a message');
    }
    this.nextFrame();
  }

  private nextFrame(): void {
    const next = this.frames?.shift();
    if (this.frames?.length === 0) this.frames = undefined;
    this.buffer = next;
    this.view = undefined;
    this.start = this.at = 0;
    this.end = next === undefined ? 0 : next.length;
    this.fresh = UNTOUCHED;
  }

  private release(): void {
    this.buffer = this.view = this.frames = this.work = undefined;
    this.owned = false;
    this.start = this.at = this.end = 0;
  }

  /** More bytes are needed: what is there moves to a buffer of its own size, so that no chunk is held. */
  private wait(): undefined {
    if (this.framed) fail('not-well-formed', 'the element is incomplete');
    const left = this.end - this.start;
    if (this.owned && this.buffer!.length <= 4 * left + 256) return;
    const kept = Buffer.allocUnsafeSlow(Math.max(64, left + (left >> 1)));
    kept.set(this.buffer!.subarray(this.start, this.end));
    this.buffer = kept;
    this.view = undefined;
    this.owned = true;
    this.at -= this.start;
    this.start = 0;
    this.end = left;
  }

  private append(chunk: Buffer): void {
    const buffer = this.buffer!;
    const held = this.end - this.start;
    const size = held + chunk.length;
    if (!this.owned || this.end + chunk.length > buffer.length) {
      const grown = this.owned && size <= buffer.length ? buffer : Buffer.allocUnsafeSlow(size + (size >> 1));
      grown.set(buffer.subarray(this.start, this.end));
      this.buffer = grown;
      this.view = undefined;
      this.owned = true;
      this.at -= this.start;
      this.start = 0;
      this.end = held;
    }
    this.buffer!.set(chunk, this.end);
    this.end += chunk.length;
  }
}

/** For text of our own: no deeper than what calls itself for each level can go. */
const UNLIMITED: ReaderLimits = { stanzaBytes: 2 ** 30, depth: 1000, attributes: 10_000, nameLength: 10_000 };

/** Reads text as the content of an element (whose own namespace is ''). Throws XmlError. */
export function readContent(content: string): TopLevel {
  return readElement(`<x>${content}</x>`);
}

/** Reads text that is exactly one element. Throws XmlError. */
export function readElement(xml: string): TopLevel {
  if (/\p{Surrogate}/u.test(xml)) fail('not-well-formed', 'half a character');
  const reader = new XmlReader('framed', UNLIMITED);
  reader.push(Buffer.from(xml));
  const top = reader.next();
  if (top?.kind !== 'element') fail('not-well-formed', 'not an element');
  return top;
}

/**
 * The content of an element, so written that it needs nothing but `ns` as its default namespace, in at most so many bytes.
 * Characters are never more than bytes, so they end the writing early.
 */
function standAlone(element: Element, ns: string, limit: number): string {
  let content = '';
  for (const child of element.children) {
    if (typeof child === 'string') {
      content += escapeText(child);
      continue;
    }
    try {
      content += serialize(child, ns, limit - content.length);
    } catch (error) {
      if (error instanceof RangeError) refuseSize(limit);
      throw error;
    }
  }
  if (Buffer.byteLength(content) > limit) refuseSize(limit);
  return content;
}

function fail(condition: XmlErrorCondition, text: string): never {
  throw new XmlError(condition, text);
}

function refuseSize(limit: number): never {
  fail('policy-violation', `an element of more than ${limit} bytes`);
}

function refuseName(): never {
  fail('policy-violation', 'a name that is too long');
}

/**
 * Whether the tag's `xmlns` can be nothing that is forbidden. Most are as long as neither of the reserved ones, and begin
 * and end with something visible.
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

/** Some readers trim names of namespaces, and would take one for another that we tell apart. */
function checkNamespace(ns: string): void {
  if (ns.trim() !== ns) fail('not-well-formed', 'white space around a namespace');
  if (ns.length > NAMESPACE_LENGTH) {
    fail('policy-violation', `a namespace of more than ${NAMESPACE_LENGTH} characters`);
  }
}

/** RFC 6120 §11.1: what begins with `<!`. */
function refuseDeclaration(third: number): never {
  const known = third === 0x2d /* - */ || (BYTES[third]! & Is.NameStart) !== 0;
  fail(known ? 'restricted-xml' : 'not-well-formed', 'comments and declarations are not allowed');
}

/** A value of any tag; `k` is where its numbers begin. */
function decodeValue({ attributes }: Work, buffer: Buffer, base: number, k: number): string {
  return attributeValue(buffer.toString('utf8', base + attributes[k + 2]!, base + attributes[k + 3]!));
}

/** A value of the top-level tag; `text` is that element where its characters stand where its bytes do. */
function readValue(work: Work, buffer: Buffer, base: number, k: number, text: string | undefined): string {
  if (text === undefined) return decodeValue(work, buffer, base, k);
  const raw = text.slice(work.attributes[k + 2]!, work.attributes[k + 3]!);
  return work.headerPlain ? raw : attributeValue(raw);
}

/** Drops the prefixes declared deeper than `depth`. */
function unbind(work: Work, depth: number): void {
  while (work.bindings !== undefined && work.bindings.depth > depth) work.bindings = work.bindings.outer;
}

/** XML 1.0 §3.1: no attribute twice. The name in hand lies from `from` to `to`, and is the last of its tag. */
function checkUnique(work: Work, buffer: Buffer, base: number, from: number, to: number): void {
  const { attributes } = work;
  const first = ATTRIBUTE * work.headerCount;
  for (let k = first; k < first + ATTRIBUTE * work.count; k += ATTRIBUTE) {
    const start = base + attributes[k]!;
    if (base + attributes[k + 1]! - start !== to - from) continue;
    let i = 0;
    while (i < to - from && buffer[start + i] === buffer[from + i]) i++;
    if (i === to - from) fail('not-well-formed', 'an attribute twice');
  }
}

/** Goes over plain character data. */
function plainText(buffer: Buffer, view: DataView | undefined, at: number, end: number): number {
  const bytes = BYTES;
  let i = at;
  for (;;) {
    let near = end;
    if (view !== undefined) {
      // Four bytes at once: the high bit of one is set where it is below U+0020, `<`, `&`, `]`, or beyond ASCII.
      for (const last = end - 4; i <= last; i += 4) {
        const word = view.getInt32(i, true);
        const stops =
          word |
          (word - 0x20202020) |
          ((word ^ 0x3c3c3c3c) - 0x01010101) |
          ((word ^ 0x26262626) - 0x01010101) |
          ((word ^ 0x5d5d5d5d) - 0x01010101);
        if ((stops & 0x80808080) !== 0) break;
      }
      near = Math.min(i + 4, end);
    }
    while (i < near && (bytes[buffer[i]!]! & Is.TextStop) === 0) i++;
    if (i < near || i >= end) return i;
  }
}

/** Goes over plain attribute value. */
function plainValue(buffer: Buffer, view: DataView | undefined, at: number, end: number, quote: number): number {
  let i = at;
  if (view !== undefined) {
    const quotes = quote * 0x01010101;
    for (const last = end - 4; i <= last; i += 4) {
      const word = view.getInt32(i, true);
      const stops =
        word |
        (word - 0x20202020) |
        ((word ^ 0x3c3c3c3c) - 0x01010101) |
        ((word ^ 0x26262626) - 0x01010101) |
        ((word ^ quotes) - 0x01010101);
      if ((stops & 0x80808080) !== 0) break;
    }
  }
  const bytes = BYTES;
  while (i < end && (bytes[buffer[i]!]! & Is.ValueStop) === 0) i++;
  return i;
}

function matches(buffer: Buffer, at: number, name: Uint8Array): boolean {
  for (let i = 0; i < name.length; i++) if (buffer[at + i] !== name[i]) return false;
  return true;
}

/** RFC 3629 §4: length in bytes of the character beyond ASCII that begins at `at`; 0 where bytes are missing. */
function sequence(buffer: Buffer, at: number, end: number): number {
  const first = buffer[at]!;
  const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (first < 0xc2 || first > 0xf4) refuseCharacter();
  if (at + 1 >= end) return 0;
  const second = buffer[at + 1]!;
  if (
    (second & 0xc0) !== 0x80 ||
    (first === 0xe0 && second < 0xa0) ||
    (first === 0xed && second > 0x9f) ||
    (first === 0xf0 && second < 0x90) ||
    (first === 0xf4 && second > 0x8f)
  ) {
    refuseCharacter();
  }
  if (size === 2) return 2;
  if (at + 2 >= end) return 0;
  const third = buffer[at + 2]!;
  if ((third & 0xc0) !== 0x80 || (first === 0xef && second === 0xbf && third > 0xbd)) refuseCharacter();
  if (size === 3) return 3;
  if (at + 3 >= end) return 0;
  if ((buffer[at + 3]! & 0xc0) !== 0x80) refuseCharacter();
  return 4;
}

function refuseCharacter(): never {
  fail('not-well-formed', 'not a character in UTF-8');
}

/** XML-NAMES §4 QName. Where it ends; -1 where bytes are missing. Its colon and shift are left in `work`. */
function qname(buffer: Buffer, from: number, end: number, limit: number, work: Work): number {
  let start = true;
  let colon = 0;
  let shift = 0;
  let i = from;
  for (;;) {
    if (i - from > limit) refuseName();
    if (i >= end) return -1;
    const c = buffer[i]!;
    if (c >= 0x80) {
      const size = sequence(buffer, i, end);
      if (size === 0) return -1;
      const character = buffer.toString('utf8', i, i + size).codePointAt(0)!;
      if (start ? !isNameStart(character) : !isNameChar(character)) fail('not-well-formed', 'not a name');
      i += size;
      shift += size === 2 ? 1 : 2;
    } else if ((BYTES[c]! & (start ? Is.NameStart : Is.Name)) !== 0) {
      i++;
    } else if (c === 0x3a /* : */ && !start && colon === 0) {
      colon = i - from;
      start = true;
      i++;
      continue;
    } else if (start || c === 0x3a) {
      return fail('not-well-formed', 'not a name');
    } else {
      break;
    }
    start = false;
  }
  work.colon = colon;
  work.nameShift = shift;
  return i;
}

const ENTITIES = ['lt', 'gt', 'amp', 'quot', 'apos'].map((name) => Buffer.from(name));

/** The reference at `at` (XML 1.0 §4.1). Where it ends; -1 where bytes are missing. */
function reference(buffer: Buffer, at: number, end: number): number {
  let i = at + 1;
  if (i >= end) return -1;
  if (buffer[i] === 0x23 /* # */) {
    if (++i >= end) return -1;
    const hex = buffer[i] === 0x78; /* x */
    if (hex) i++;
    const digits = i;
    let code = 0;
    for (; ; i++) {
      if (i - at > REFERENCE_LENGTH) fail('policy-violation', 'a reference that is too long');
      if (i >= end) return -1;
      const c = buffer[i]!;
      const digit =
        c >= 0x30 && c <= 0x39 ? c - 0x30 : hex && (c | 0x20) >= 0x61 && (c | 0x20) <= 0x66 ? (c | 0x20) - 0x57 : -1;
      if (digit < 0) break;
      code = Math.min((hex ? 16 : 10) * code + digit, 0x110000);
    }
    if (buffer[i] !== 0x3b /* ; */ || i === digits || !isChar(code))
      fail('not-well-formed', 'not a character reference');
    return i + 1;
  }
  for (; ; i++) {
    if (i >= end) return -1;
    const c = buffer[i]!;
    const named = (BYTES[c]! & (i === at + 1 ? Is.NameStart : Is.Name)) !== 0 || c === 0x3a;
    if (c >= 0x80 || i - at > REFERENCE_LENGTH) refuseEntity();
    if (named) continue;
    if (c !== 0x3b /* ; */ || i === at + 1) fail('not-well-formed', 'a & that is no reference');
    const length = i - at - 1;
    if (!ENTITIES.some((name) => name.length === length && matches(buffer, at + 1, name))) refuseEntity();
    return i + 1;
  }
}

/** RFC 6120 §11.1. */
function refuseEntity(): never {
  fail('restricted-xml', 'an entity other than the five of XML');
}
