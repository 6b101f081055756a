/** State of the scanner within one element. */

/** Numbers per attribute of a tag: start and end of its name, start and end of its value, in bytes. */
export const ATTRIBUTE = 4;
/** Numbers per open element. */
export const OPEN = 3;
/** Numbers per child in a ChildIndex. */
export const CHILD = 5;

/** An array longer than this is released before the next element. */
const MANY = 1000;

/** A declared prefix. */
export interface Binding {
  readonly prefix: string;
  readonly ns: string;
  /** Depth of the declaring element; 1 is the top-level element. */
  readonly depth: number;
  readonly outer: Binding | undefined;
  readonly count: number;
}

/** State of an element being scanned. All offsets are relative to its start, in bytes unless noted. */
export class Work {
  /** State of the scanner. */
  state = 0;
  depth = 0;
  /** Start tags so far. */
  elements = 0;
  /** Bytes minus UTF-16 units so far. */
  shift = 0;
  /** Per open element: start of its name, length of its name, and bytes minus UTF-16 units of its name. */
  open: number[] = [];
  children: number[] = [];
  childCount = 0;
  /** Attributes of the top-level tag, then those of the current tag. */
  attributes: number[] = [];
  bindings: Binding | undefined;
  /** Whether the content depends on outer declarations or has CDATA, and must be rewritten. */
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

  // The name read last: bytes before its colon (0 if none), and bytes minus UTF-16 units.
  colon = 0;
  nameShift = 0;

  // The current tag.
  tagStart = 0;
  tagShift = 0;
  nameEnd = 0;
  tagColon = 0;
  tagNameShift = 0;
  count = 0;
  /** Bit set of attribute name hashes: names are compared only if the bit is already set. */
  hashes = 0;
  /** Whether there are prefixes to resolve or to declare. */
  prefixed = false;
  /** Whether no value has references or white space to normalise. */
  plain = true;
  quote = 0;
  /** Index of the `xmlns` attribute, -1 if none; start and length of its value, in UTF-16 units. */
  declaration = -1;
  nsStart = -1;
  nsLength = 0;

  /** Resets for a new top-level element; `state` is the initial scanner state. */
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

  /** Saves the current tag as that of the top-level element. */
  head(): void {
    this.headerCount = this.count;
    this.headerPlain = this.plain;
    this.headerNameEnd = this.nameEnd;
    this.headerColon = this.tagColon;
    this.headerDeclaration = this.declaration;
  }

  /** Releases array space left over from larger elements. */
  trim(): void {
    this.open.length = Math.min(this.open.length, OPEN * this.depth);
    this.children.length = Math.min(this.children.length, CHILD * this.childCount);
    const attributes = ATTRIBUTE * (this.headerCount + this.count + 1);
    this.attributes.length = Math.min(this.attributes.length, attributes);
  }
}
