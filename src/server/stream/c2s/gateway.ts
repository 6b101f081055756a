/**
 * Clients may connect to any node of a cluster. The first element of a login names the account: if its home is another
 * node, the stream is handed over there before anything is checked, so that credentials, tokens and failure counts stay
 * with the account. The home continues where this node stopped: header and features have been sent, and the login
 * begins.
 */
import { z } from 'zod';
import type { Jid } from '../../address/jid.js';
import { monotonic } from '../../clock.js';
import type { RelayEnd, RelayEvents, RelayPeer } from '../../cluster/relay.js';
import { NS } from '../../stanza/ns.js';
import type { Transport, TransportReader } from '../../transport/transport.js';
import { type Element, el, elementOf, serialize } from '../../xml/element.js';
import type { StreamOpen, TopLevel } from '../../xml/reader.js';
import { type ConnectionState, type NextHome, Pipe, type PipeHeader, RelayedTransport } from '../relayed.js';
import type { ChannelBindings } from '../sasl/binding.js';
import { certifiedAccounts } from '../sasl/external.js';
import { accountOf, SaslError } from '../sasl/mechanism.js';
import type { Negotiation } from './negotiation.js';

export interface GatewayParts {
  /** The home of an address. Returns undefined if it is this node, or not known. */
  homeOf(jid: Jid): RelayPeer | undefined;
  open(peer: RelayPeer, opening: string, events: (relay: RelayEnd) => RelayEvents): void;
  /** A stream for an account of this node arrived through another node. Its reader gets what the client has sent. */
  connected(transport: RelayedTransport, at: number, continued: Continued): void;
  /** The connection of a session that another node has handed over. */
  arrived(transport: Transport, ticket: string): void;
  isSelf(peer: RelayPeer): boolean;
}

/** State of a stream that another node has started. */
export interface Continued {
  /** Failed login attempts. */
  readonly attempts: number;
  /** How many times it was handed over: once for each home of the accounts that a client tries. */
  readonly hops: number;
  /** A registration form was sent. */
  readonly signsUp: boolean;
}

/** A client's stream as the gateway sees it. */
export interface GatewayStream {
  readonly transport: Transport;
  readonly host: { readonly domain: string } | undefined;
  readonly negotiation: Negotiation | undefined;
  readonly header: StreamOpen | undefined;
  readonly connectedAt: number;
  readonly hops: number;
  readonly signsUp: boolean;
}

/** Most hand-overs of one connection. Beyond that the login is processed where the stream is, and refused. */
const mostHops = 8;
/** Longest first message in base64, in characters; far longer than any mechanism accepts. */
const longestMessage = 16_384;

const noBindings: ChannelBindings = { channelBindingTypes: [], channelBinding: () => undefined };

const connection = {
  kind: z.enum(['tcp', 'tls', 'websocket', 'bosh']),
  framing: z.enum(['stream', 'websocket', 'bosh']),
  secure: z.boolean(),
  loopback: z.boolean(),
  remoteAddress: z.string(),
};
/** The opening of a stream whose session has moved. */
const movedSchema = z.object({ ...connection, ticket: z.string() });

const base64 = z.string().transform((text) => Buffer.from(text, 'base64'));
const schema = z.object({
  ...connection,
  /** Milliseconds since the client connected. */
  age: z.number(),
  bindings: z.partialRecord(z.enum(['tls-exporter', 'tls-server-end-point']), base64),
  certificate: z.object({ trusted: z.boolean(), xmppAddresses: z.array(z.string()) }).optional(),
  attempts: z.number(),
  hops: z.number(),
  signsUp: z.boolean(),
  /** The header and the first element of the login, as framed. */
  said: z.array(z.string()),
});

export class Gateway {
  readonly #parts: GatewayParts;
  readonly #pipes = new Set<Pipe>();
  /** Streams whose gateways have not been told yet where they go on. */
  readonly #leaving = new Set<RelayedTransport>();

  constructor(parts: GatewayParts) {
    this.#parts = parts;
  }

  /** Streams relayed to other nodes. */
  get size(): number {
    return this.#pipes.size;
  }

  /** Streams of other nodes whose sessions have moved, and whose gateways have not been told yet. */
  get leaving(): number {
    return this.#leaving.size;
  }

  /** This node stops: closes relayed streams, so that their clients connect to another node. */
  stop(): void {
    for (const pipe of this.#pipes) pipe.stop();
  }

  /**
   * The hand-over for a login whose account has another home. Returns undefined if the login stays here. `incomplete`: the
   * login request, if `item` is its missing first message.
   */
  wayFor(stream: GatewayStream, item: TopLevel, incomplete: TopLevel | undefined): HandOver | undefined {
    const { host, negotiation, header, hops, signsUp } = stream;
    if (host === undefined || negotiation === undefined || header === undefined || hops >= mostHops) return undefined;
    const login = incomplete === undefined ? elementOf(item) : completed(elementOf(incomplete), item);
    if (login === undefined) return undefined;
    const account = accountNamed(login, host.domain, negotiation);
    const peer = account && this.#parts.homeOf(account);
    if (peer === undefined) return undefined;
    const { transport } = stream;
    const { bindings, certificate, attempts } = negotiation;
    const opening: z.input<typeof schema> = {
      ...described(transport),
      age: Math.max(0, monotonic() - stream.connectedAt),
      bindings: Object.fromEntries(
        bindings.channelBindingTypes.map((type) => [type, bindings.channelBinding(type)?.toString('base64') ?? '']),
      ),
      certificate: certificate && { trusted: certificate.trusted, xmppAddresses: [...certificate.xmppAddresses] },
      attempts,
      hops: hops + 1,
      signsUp,
      said: [headerText(header, transport), serialize(login)],
    };
    return { peer, opening: JSON.stringify(opening), header: sentFrom(host.domain) };
  }

  /** Starts the relay to the home. Everything the connection receives from now on goes to the returned pipe. */
  open({ peer, opening, header }: HandOver, transport: Transport): Pipe {
    let pipe: Pipe | undefined;
    this.#parts.open(peer, opening, (relay) => {
      pipe = new Pipe(transport, relay, {
        header,
        over: (over) => this.#pipes.delete(over),
        moved: (connection, to, chunks, state) => this.#goOn(connection, to, chunks, state),
      });
      this.#pipes.add(pipe);
      return pipe.events;
    });
    return pipe!;
  }

  /**
   * The session of a stream has moved from this node: its connection follows. `handOver` passes it to a reader, with
   * everything that the session has not handled.
   */
  follow(transport: Transport, to: NextHome, handOver: (reader: TransportReader) => void): void {
    if (transport instanceof RelayedTransport) this.#leave(transport, to, handOver);
    else handOver(this.open(sessionAt(to, transport), transport).reader);
  }

  #leave(transport: RelayedTransport, to: NextHome, handOver: (reader: TransportReader) => void): void {
    this.#leaving.add(transport);
    const gone = (): void => void this.#leaving.delete(transport);
    const lost = (rest: readonly Buffer[]): void => {
      gone();
      this.#abandon(transport, to, rest);
    };
    handOver(transport.leaveFor(to, lost, gone));
  }

  /** The connection was lost before it could follow: the new home does not wait for it. */
  #abandon(transport: Transport, to: NextHome, rest: readonly Buffer[]): void {
    this.#parts.open(to.peer, openingOf(transport, to), (relay) => {
      setImmediate(() => {
        for (const chunk of rest) relay.send(chunk);
        relay.close(true);
      });
      return { received() {}, drained() {}, ended() {}, closed() {} };
    });
  }

  /** The session of a relayed stream has moved to another node, or to this one. */
  #goOn(transport: Transport, to: NextHome, chunks: readonly Buffer[], { hasEnded, isClosed }: ConnectionState): void {
    if (this.#parts.isSelf(to.peer)) this.#parts.arrived(transport, to.ticket);
    else transport.reader = this.open(sessionAt(to, transport), transport).reader;
    const { reader } = transport;
    for (const chunk of chunks) reader.received(chunk);
    if (hasEnded) reader.ended();
    if (isClosed) reader.closed();
    if (reader.hasPaused !== true) transport.resume();
  }

  /** Takes over a stream from another node. Throws ZodError if the opening is invalid. */
  accept(text: string, relay: RelayEnd): RelayEvents {
    const opening: unknown = JSON.parse(text);
    const moved = movedSchema.safeParse(opening);
    if (moved.success) {
      const { ticket, ...info } = moved.data;
      const transport = new RelayedTransport(relay, { ...info, bindings: noBindings, certificate: undefined });
      this.#parts.arrived(transport, ticket);
      return transport;
    }
    const { said, age, attempts, hops, signsUp, certificate, bindings, ...connection } = schema.parse(opening);
    const known = new Map(Object.entries(bindings).filter(([, bytes]) => bytes !== undefined && bytes.length > 0));
    const transport = new RelayedTransport(relay, {
      ...connection,
      certificate,
      bindings: {
        channelBindingTypes: (['tls-exporter', 'tls-server-end-point'] as const).filter((type) => known.has(type)),
        channelBinding: (type) => known.get(type),
      },
    });
    this.#parts.connected(transport, monotonic() - age, { attempts, hops, signsUp });
    for (const one of said) transport.reader.received(Buffer.from(one));
    return transport;
  }
}

export interface HandOver {
  readonly peer: RelayPeer;
  readonly opening: string;
  readonly header: PipeHeader;
}

/** Our header was sent before the login. */
const sentFrom = (from: string | undefined): PipeHeader => ({ isSent: true, ns: NS.client, from, version: '1.0' });

/** Whether a login lacks the client's first message, which the server must request. */
export function lacksFirstMessage(item: TopLevel): boolean {
  if (item.name === 'auth' && item.ns === NS.sasl) return item.content === '';
  return item.name === 'authenticate' && initialOf(elementOf(item)) === undefined;
}

/** The login with its missing first message. Returns undefined if the element is not a response. */
function completed(login: Element, item: TopLevel): Element | undefined {
  if (item.name !== 'response' || item.ns !== login.getNS()) return undefined;
  const text = item.content.trim();
  // RFC 6120 §6.4.2: an empty message differs from none.
  if (item.ns === NS.sasl) login.t(text === '' ? '=' : text);
  else login.cnode(el('initial-response', null, text));
  return login;
}

const initialOf = (login: Element): string | undefined =>
  login.getChild('initial-response', NS.sasl2)?.getText() ?? undefined;

/** The account named by a login. Returns undefined if no mechanism would accept it: the login then refuses it. */
function accountNamed(login: Element, host: string, { certificate }: Negotiation): Jid | undefined {
  const { mechanism = '' } = login.attrs as Record<string, string | undefined>;
  const text = (login.is('auth', NS.sasl) ? login.getText() : initialOf(login))?.trim();
  if (text === undefined || text.length > longestMessage) return undefined;
  const message = text === '=' ? '' : Buffer.from(text, 'base64').toString();
  if (mechanism === 'EXTERNAL') {
    const accounts = certifiedAccounts(certificate, host);
    return accounts.find(({ bare }) => bare === message) ?? accounts[0];
  }
  const name = nameIn(mechanism, message);
  if (name === undefined || name === '') return undefined;
  try {
    return accountOf(name, host);
  } catch (error) {
    if (error instanceof SaslError) return undefined;
    throw error;
  }
}

function nameIn(mechanism: string, message: string): string | undefined {
  // RFC 4616 §2: authzid NUL authcid NUL passwd
  if (mechanism === 'PLAIN') return message.split('\0', 3)[1];
  // RFC 5802 §7: gs2-header, then n=saslname
  if (mechanism.startsWith('SCRAM-'))
    return /^[^,]*,[^,]*,n=([^,]*)/.exec(message)?.[1]?.replaceAll('=2C', ',').replaceAll('=3D', '=');
  // draft-schmaus-kitten-sasl-ht: authcid NUL proof
  if (mechanism.startsWith('HT-')) return message.split('\0', 1)[0];
  return undefined;
}

function described({ kind, framing, secure, loopback, remoteAddress }: Transport) {
  return { kind, framing, secure, loopback, remoteAddress };
}

const openingOf = (transport: Transport, { ticket }: NextHome): string =>
  JSON.stringify({ ...described(transport), ticket } satisfies z.input<typeof movedSchema>);

/** A session has no further header. */
const sessionAt = (to: NextHome, transport: Transport): HandOver => ({
  peer: to.peer,
  opening: openingOf(transport, to),
  header: sentFrom(undefined),
});

/** The client's header, with its namespace prefixes, which later elements may use. */
export function headerText(
  { attrs, defaultNs, prefix = 'stream', prefixes }: StreamOpen,
  { framing }: Pick<Transport, 'framing'>,
): string {
  const { to, from, version, 'xml:lang': lang } = attrs;
  const attributes = { to, from, version, 'xml:lang': lang };
  if (framing !== 'stream') return serialize(el('open', { xmlns: NS.framing, ...attributes }));
  const declared = Object.fromEntries(
    Object.entries(prefixes)
      .filter(([name]) => name !== prefix && name !== 'xml')
      .map(([name, ns]) => [`xmlns:${name}`, ns]),
  );
  const text = serialize(
    el(`${prefix}:stream`, { xmlns: defaultNs, [`xmlns:${prefix}`]: NS.stream, ...declared, ...attributes }),
  );
  return `${text.slice(0, -2)}>`;
}
