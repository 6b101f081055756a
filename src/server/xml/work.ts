/** What a reader notes of an element before it is complete. */

/** Numbers for each attribute of a tag: start and end of its name, start and end of its value, in bytes. */
export const ATTRIBUTE = 4;
/** Numbers for each open element. */
export const OPEN = 3;
/** Numbers for each child in a ChildIndex. */
export const CHILD = 5;

/** Numbers that are not kept from one element to the next. */
const MANY = 1000;

/** A declared prefix. */
export interface Binding {
  readonly prefix: string;
  readonly ns: string;
  /** Of the element that declares it; 1 is the top-level element. */
  readonly depth: number;
  readonly outer: Binding | undefined;
  readonly count: number;
}

/** What is known of an element while it is being read. All offsets count from its start; in bytes if not said. */
export class Work {
  /** Where in it the scanner stands. */
  state = 0;
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

  /** A top-level element begins; `state` is where the scanner stands. */
  begin(state: number): void {
    this.state = state;
    this.depth = 0;
    this.elements = 0;
    this.shift = 0;
    this.childCount = 0;
    this.headerCount = 0;
    this.bindings = undefined;
    this.rewrite = false;
    if (this.children.length > MANY) this.children = [];
  }

  /** The start tag in hand is the top-level element's. */
  head(): void {
    this.headerCount = this.count;
    this.headerPlain = this.plain;
    this.headerNameEnd = this.nameEnd;
    this.headerColon = this.tagColon;
    this.headerDeclaration = this.declaration;
  }

  /** Gives back what larger elements have left behind. */
  trim(): void {
    this.open.length = Math.min(this.open.length, OPEN * this.depth);
    this.children.length = Math.min(this.children.length, CHILD * this.childCount);
    const attributes = ATTRIBUTE * (this.headerCount + this.count + 1);
    this.attributes.length = Math.min(this.attributes.length, attributes);
  }
}
