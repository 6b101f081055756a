/**
 * Other servers and components may connect to any node of a cluster. Their streams live at the home of their domain: the
 * node that takes the connection reads the header, which names the domain, and relays everything to the home, beginning
 * with the header itself. So the home authenticates the peer, counts it, resumes its sessions (XEP-0198) and sends over
 * its streams (XEP-0288), wherever they arrive.
 */
import { z } from 'zod';
import { Jid } from '../address/jid.js';
import { monotonic } from '../clock.js';
import type { RelayEnd, RelayEvents } from '../cluster/relay.js';
import { NS } from '../stanza/ns.js';
import type { RelayedPeer, Transport, TransportReader } from '../transport/transport.js';
import type { StreamOpen } from '../xml/reader.js';
import { type GatewayParts, type HandOver, headerText } from './c2s/gateway.js';
import { Pipe, RelayedTransport } from './relayed.js';
import { tlsFacts } from './s2s/inspection.js';

export type PeerKind = 'server' | 'component';

const schema = z.object({
  peer: z.enum(['server', 'component']),
  kind: z.enum(['tcp', 'tls']),
  secure: z.boolean(),
  loopback: z.boolean(),
  remoteAddress: z.string(),
  tls: z
    .object({
      protocol: z.string(),
      cipher: z.string(),
      names: z.object({ xmppAddr: z.array(z.string()), dns: z.array(z.string()), srv: z.array(z.string()) }).optional(),
    })
    .optional(),
  /** Milliseconds since it connected. */
  age: z.number(),
  header: z.string(),
});

export interface PeerGatewayParts extends Pick<GatewayParts, 'homeOf' | 'open'> {
  /** The names in the peer's certificate. Returns undefined if it is not verified, or there is none. */
  verifiedNames(transport: Transport): RelayedPeer['names'];
}

const nobody: RelayEvents = { received() {}, drained() {}, ended() {}, closed() {} };
const noBindings = { channelBindingTypes: [], channelBinding: () => undefined };

export class PeerGateway {
  readonly #parts: PeerGatewayParts;
  readonly #pipes = new Set<Pipe>();
  readonly #takers = new Map<PeerKind, (transport: RelayedTransport, at: number) => void>();

  constructor(parts: PeerGatewayParts) {
    this.#parts = parts;
  }

  /** Streams relayed to other nodes. */
  get size(): number {
    return this.#pipes.size;
  }

  /** Whether streams with a domain belong to another node. */
  isElsewhere(domain: string): boolean {
    return this.#parts.homeOf(Jid.parse(domain)) !== undefined;
  }

  /** Takes streams that other nodes hand over from now on. */
  serve(peer: PeerKind, connected: (transport: RelayedTransport, at: number) => void): void {
    this.#takers.set(peer, connected);
  }

  /** This node stops: closes relayed streams, so that their peers connect to another node. */
  stop(): void {
    for (const pipe of this.#pipes) pipe.stop();
  }

  /**
   * The hand-over of a stream whose header was read, and not answered yet. Returns undefined if it stays here: this node
   * is the home, or another one has handed it over already.
   */
  wayFor(
    peer: PeerKind,
    domain: string,
    transport: Transport,
    header: StreamOpen,
    connectedAt: number,
  ): HandOver | undefined {
    if (transport instanceof RelayedTransport) return undefined;
    const home = this.#parts.homeOf(Jid.parse(domain));
    if (home === undefined) return undefined;
    const { kind, secure, loopback, remoteAddress } = transport;
    const facts = tlsFacts(transport);
    const names = this.#parts.verifiedNames(transport);
    const opening = {
      peer,
      kind,
      secure,
      loopback,
      remoteAddress,
      tls: facts === null ? undefined : { ...facts, names },
      age: Math.max(0, monotonic() - connectedAt),
      header: headerText(header, transport),
    };
    const isServer = peer === 'server';
    return {
      peer: home,
      opening: JSON.stringify(opening),
      header: {
        isSent: false,
        ns: isServer ? NS.server : NS.component,
        from: isServer ? header.attrs.to : domain,
        version: isServer ? '1.0' : undefined,
      },
    };
  }

  /** Starts the relay to the home. Returns what reads the connection from now on. */
  open({ peer, opening, header }: HandOver, transport: Transport): TransportReader {
    let reader: TransportReader | undefined;
    this.#parts.open(peer, opening, (relay) => {
      const pipe = new Pipe(transport, relay, {
        header,
        over: (over) => void this.#pipes.delete(over),
        // Only sessions of clients move.
        moved: (connection) => connection.destroy(),
      });
      this.#pipes.add(pipe);
      reader = pipe.reader;
      return pipe.events;
    });
    return reader!;
  }

  /**
   * Takes over a stream from another node. Returns undefined if the opening is that of a client. Throws ZodError if it
   * is invalid.
   */
  accept(text: string, relay: RelayEnd): RelayEvents | undefined {
    if (!text.startsWith('{"peer":')) return undefined;
    const { peer, header, age, tls, ...connection } = schema.parse(JSON.parse(text));
    const taker = this.#takers.get(peer);
    // Its ports are not open yet, or cannot be opened.
    if (taker === undefined) {
      relay.close();
      return nobody;
    }
    const transport = new RelayedTransport(relay, {
      ...connection,
      framing: 'stream',
      bindings: noBindings,
      certificate: undefined,
      relayedPeer: tls && { ...tls, names: tls.names },
    });
    taker(transport, monotonic() - age);
    transport.reader.received(Buffer.from(header));
    return transport;
  }
}
