/**
 * Finds the end of an element that exceeds a limit, without reading it, so that the stream can go on after it. Only the
 * start tag of the element is stored. What is skipped is not checked: end tags need not match.
 */
import { fail } from './errors.js';

const TEXT = 0;
/** After `<`. */
const OPENED = 1;
const START_TAG = 2;
const VALUE = 3;
const END_TAG = 4;
/** After `<!`. */
const DECLARED = 5;
const CDATA = 6;

const LESS = 0x3c;
const GREATER = 0x3e;
const SLASH = 0x2f;
const CDATA_START = '[CDATA[';
const EMPTY_END = Buffer.from('/>');
/** A longer start tag is not stored. */
const MOST_TAG = 65_536;
const NOTHING = Buffer.alloc(0);

export class Skip {
  /** Which limit the element exceeds. */
  readonly reason: string;
  isOver = false;
  readonly #most: number;
  #size = 0;
  #state = TEXT;
  #depth = 0;
  #quote = 0;
  /** The two bytes before the current one. */
  #last = 0;
  #lastButOne = 0;
  /** Bytes of `CDATA_START` read so far. */
  #matched = 0;
  /** The start tag; complete once `#isTagOver`. Empty if it is too long. */
  #tag: Buffer = NOTHING;
  #isTagOver = false;

  constructor(reason: string, most: number) {
    this.reason = reason;
    this.#most = most;
  }

  /** The start tag of the element as an empty element. Empty if it is too long. */
  get tag(): Buffer {
    const { length } = this.#tag;
    if (length === 0) return NOTHING;
    return this.#tag[length - 2] === SLASH ? this.#tag : Buffer.concat([this.#tag.subarray(0, length - 1), EMPTY_END]);
  }

  /**
   * Skips the bytes of the element between `at` and `end`, and returns the offset of the first byte not skipped. Throws
   * XmlError if there are too many.
   */
  over(buffer: Buffer, at: number, end: number): number {
    let i = at;
    while (i < end && !this.isOver) this.#byte(buffer[i++]!, buffer, at, i);
    if (!this.#isTagOver) this.#keep(buffer, at, i);
    this.#size += i - at;
    if (this.#size > this.#most) fail('policy-violation', `${this.reason}; it has more than ${this.#most} bytes`);
    return i;
  }

  /** `next`: offset after the byte. */
  #byte(c: number, buffer: Buffer, from: number, next: number): void {
    switch (this.#state) {
      case TEXT:
        if (c === LESS) this.#state = OPENED;
        break;
      case OPENED:
        if (c === SLASH) this.#state = END_TAG;
        else if (c === 0x21 /* ! */) {
          this.#state = DECLARED;
          this.#matched = 0;
        } else if (c === 0x3f /* ? */) fail('restricted-xml', 'processing instructions are not allowed');
        else this.#state = START_TAG;
        break;
      case START_TAG:
        if (c === 0x22 || c === 0x27) {
          this.#quote = c;
          this.#state = VALUE;
        } else if (c === GREATER) {
          if (!this.#isTagOver) {
            this.#keep(buffer, from, next);
            this.#isTagOver = true;
          }
          if (this.#last === SLASH) this.isOver = this.#depth === 0;
          else this.#depth++;
          this.#state = TEXT;
        }
        break;
      case VALUE:
        if (c === this.#quote) this.#state = START_TAG;
        break;
      case END_TAG:
        if (c === GREATER) {
          this.isOver = --this.#depth === 0;
          this.#state = TEXT;
        }
        break;
      case DECLARED:
        if (c !== CDATA_START.charCodeAt(this.#matched)) fail('restricted-xml', 'a declaration within a stanza');
        if (++this.#matched === CDATA_START.length) this.#state = CDATA;
        break;
      case CDATA:
        if (c === GREATER && this.#last === 0x5d && this.#lastButOne === 0x5d) this.#state = TEXT;
        break;
    }
    this.#lastButOne = this.#last;
    this.#last = c;
  }

  #keep(buffer: Buffer, from: number, to: number): void {
    const isTooLong = this.#tag.length + to - from > MOST_TAG;
    this.#tag = isTooLong ? NOTHING : Buffer.concat([this.#tag, buffer.subarray(from, to)]);
    this.#isTagOver ||= isTooLong;
  }
}
