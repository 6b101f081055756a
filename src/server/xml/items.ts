/** What a reader makes of a stream, and within which limits. */

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
