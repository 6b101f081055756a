/**
 * How a stream is framed on its connection: RFC 6120 over TCP, RFC 7395 over WebSocket. The stream decides which
 * elements are sent and when; the framing writes and recognises headers, ends and errors. BOSH (XEP-0206) is framed as
 * RFC 7395 by its transport, which makes `<open/>` and `<close/>` of attributes of `<body/>` and the other way round.
 */
import { NS } from '../stanza/ns.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Transport } from '../transport/transport.js';
import { type Element, el, serialize } from '../xml/element.js';
import type { StreamItem } from '../xml/reader.js';

/** Attributes of a stream header (RFC 6120 §4.7); undefined ones are omitted. */
export type HeaderAttributes = Readonly<Record<string, string | undefined>>;

export interface Framing {
  /** `stream`: the reader finds where elements end. `framed`: each chunk is one element. */
  readonly mode: 'stream' | 'framed';
  /**
   * Elements handled before other connections get their turn, for framings with one element per chunk, where the time
   * of one chunk says nothing. 0: turns end by time.
   */
  readonly elementsPerTurn: number;
  /** Maps an item to what it means for the stream: some framings have elements for the header and the end. */
  read(item: StreamItem): StreamItem;
  /** Whether a chunk is the peer's end. Called after our end was sent, when nothing else is read. */
  isEnd(chunk: Buffer): boolean;
  /** The stream header; `ns` is the content namespace. */
  open(attributes: HeaderAttributes, ns: string): string;
  /** Whether a text that the server sends is such a header. */
  isHeader(text: string): boolean;
  /** `<stream:features/>`. */
  features(children: readonly Element[]): string;
  /** The end, after an error with these children if there is one. Each string is written on its own. */
  end(error: readonly Element[] | undefined): readonly string[];
  /** A stanza; `ns` is the content namespace. */
  stanza(stanza: Stanza, ns: string): string;
  /** Whether our end closes our half of the connection. If not, the connection closes after both ends. */
  readonly closesHalf: boolean;
  /** A no-op that keeps the connection open in routers (RFC 6120 §4.6.1). Undefined if the framing has none. */
  readonly keepalive: string | undefined;
}

/** RFC 6120 §4. */
const plain: Framing = {
  mode: 'stream',
  elementsPerTurn: 0,
  closesHalf: true,
  keepalive: ' ',
  read: (item) => item,
  isEnd: () => false,
  open: (attributes, ns) => {
    const header = serialize(el('stream:stream', { xmlns: ns, 'xmlns:stream': NS.stream, ...attributes }));
    return `<?xml version='1.0'?>${header.slice(0, -2)}>`;
  },
  isHeader: (text) => text.startsWith('<?xml '),
  features: (children) => serialize(el('stream:features', null, ...children)),
  end: (error) =>
    error === undefined ? ['</stream:stream>'] : [serialize(el('stream:error', null, ...error)), '</stream:stream>'],
  stanza: (stanza) => stanza.toXml(),
};

/** RFC 7395 §3.3: elements declare their own namespaces. §3.4, §3.6: `<open/>` and `<close/>`. */
const webSocket: Framing = {
  mode: 'framed',
  elementsPerTurn: 32,
  closesHalf: false,
  // §3.7: WebSocket has its own pings.
  keepalive: undefined,
  read: (item) => {
    if (item.kind !== 'element' || item.ns !== NS.framing) return item;
    if (item.name === 'close') return { kind: 'close' };
    if (item.name !== 'open') return item;
    const { attrs } = item;
    return {
      kind: 'open',
      name: 'stream',
      ns: NS.stream,
      prefix: undefined,
      attrs,
      defaultNs: NS.client,
      prefixes: {},
    };
  },
  isEnd: (chunk) => chunk.subarray(0, 6).toString() === '<close',
  open: (attributes) => serialize(el('open', { xmlns: NS.framing, ...attributes })),
  isHeader: (text) => text.startsWith('<open '),
  features: (children) => serialize(el('stream:features', { 'xmlns:stream': NS.stream }, ...children)),
  end: (error) => {
    const close = `<close xmlns='${NS.framing}'/>`;
    return error === undefined
      ? [close]
      : [serialize(el('stream:error', { 'xmlns:stream': NS.stream }, ...error)), close];
  },
  stanza: (stanza, ns) => stanza.toXml(ns),
};

/** XEP-0206 §6: nothing follows our end, so the peer's is not waited for. */
const bosh: Framing = { ...webSocket, closesHalf: true };

const framings: Readonly<Record<Transport['framing'], Framing>> = { stream: plain, websocket: webSocket, bosh };

/** Returns the framing of a transport. */
export function framingOf({ framing }: Transport): Framing {
  return framings[framing];
}
