/** What a reader returns, and its limits. */

export interface ReaderLimits {
  /** Maximum bytes of a top-level element, or of the stream header. */
  readonly stanzaBytes: number;
  /** Maximum nesting depth, the top-level element included. */
  readonly depth: number;
  /** Maximum attributes of an element, declarations included; also the maximum of prefixes in scope within a stanza. */
  readonly attributes: number;
  /**
   * Maximum elements in a top-level element, itself included; unlimited if absent. Each attribute of an element beyond
   * five counts as one more: it costs as much to read and build.
   */
  readonly elements?: number;
  /** Maximum bytes of a name; 256 if absent. */
  readonly nameLength?: number;
  /**
   * If set, an element of a stream that exceeds another limit is skipped up to this many bytes, and then does not end
   * the stream (`TopLevel.excess`).
   */
  readonly skippedBytes?: number | undefined;
}

/**
 * The direct children of an element, five numbers each: start and end of the child in the content, length of its name,
 * offset of its namespace in the content, length of its namespace. The offset is -1 if the child is in the element's
 * own namespace, and -2 - n if the namespace is at n and contains references. Read by content.ts.
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
   * The text between the tags. Its only outer dependency is `ns` as default namespace. Direct children have no prefix,
   * and there is no CDATA.
   */
  readonly content: string;
  readonly children: ChildIndex;
  /**
   * Which limit the element exceeds. Its content was skipped then; name and attributes are empty too if its start tag
   * exceeds the limit.
   */
  readonly excess?: string;
}

/** Whether nothing is known of a skipped element. */
export const isUnreadable = ({ excess, name }: TopLevel): boolean => excess !== undefined && name === '';

/** The stream header (RFC 6120 §4.2). */
export interface StreamOpen {
  readonly kind: 'open';
  readonly name: string;
  readonly ns: string;
  readonly prefix: string | undefined;
  readonly attrs: Record<string, string>;
  /** The content namespace; '' if there is none. */
  readonly defaultNs: string;
  readonly prefixes: Readonly<Record<string, string>>;
}

export interface StreamClose {
  readonly kind: 'close';
}

export type StreamItem = StreamOpen | TopLevel | StreamClose;
