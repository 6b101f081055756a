/**
 * BOSH in a cluster. A session stays at the node that created it, which its sid names. A balancer may send each request to
 * another node: that node forwards it over a relay of its own, with the body in one direction and the answer in the other.
 */
import { z } from 'zod';
import type { RelayEnd, RelayEvents, RelayPeer } from './cluster/relay.js';
import type { BoshBody } from './transport/bosh/bodies.js';
import type { BoshHttpAnswer, BoshHttpRequest, BoshService } from './transport/bosh/service.js';

export interface BoshGatewayParts {
  /** Returns undefined if no other member of the cluster has this number. */
  member(number: number): RelayPeer | undefined;
  open(peer: RelayPeer, opening: string, events: (relay: RelayEnd) => RelayEvents): void;
  /** A forwarded request could not be answered because of an error of this server. */
  failed(error: unknown): void;
}

const openingSchema = z.object({
  bosh: z.object({ address: z.string(), secure: z.boolean(), tooLong: z.boolean().default(false) }),
});
const headSchema = z.object({ status: z.int(), content: z.string() });

const ignored: RelayEvents = { received() {}, drained() {}, ended() {}, closed() {} };

/**
 * The session may still exist: XEP-0124 §17.1 has clients repeat a request that was not answered by the session. If the
 * node is gone, the next request is told that there is no such session.
 */
const unreached: BoshHttpAnswer = {
  status: 503,
  headers: { 'content-type': 'text/plain; charset=utf-8' },
  body: 'The node of this session cannot be reached.\n',
};

/** Marks a sid with the node of its session. */
export const sidAt = (node: number, sid: string): string => `${node}-${sid}`;

/** Returns undefined if a sid names no node. */
function nodeOf(sid: string): number | undefined {
  const [, digits] = /^(\d{1,4})-/.exec(sid) ?? [];
  return digits === undefined ? undefined : Number(digits);
}

export class BoshGateway {
  readonly #parts: BoshGatewayParts;
  /** Ends each forwarded request that has no answer yet. */
  readonly #forwarded = new Set<() => void>();
  #service: BoshService | undefined;
  #isStopped = false;

  constructor(parts: BoshGatewayParts) {
    this.#parts = parts;
  }

  /** Answers what other nodes forward from now on. */
  serve(service: BoshService): void {
    this.#service = service;
  }

  /** Whether the sid names another node. */
  isElsewhere(sid: string): boolean {
    return this.#peerOf(sid) !== undefined;
  }

  #peerOf(sid: string): RelayPeer | undefined {
    const number = nodeOf(sid);
    return number === undefined ? undefined : this.#parts.member(number);
  }

  /** Forwards a request to the node of its session. Returns undefined if this is no other node's. */
  forward(sid: string, request: BoshHttpRequest): Promise<BoshHttpAnswer> | undefined {
    const peer = this.#peerOf(sid);
    if (peer === undefined) return undefined;
    if (this.#isStopped || request.gone.aborted) {
      request.body.release();
      return Promise.resolve(unreached);
    }
    return new Promise((resolve) => this.#open(peer, request, resolve));
  }

  #open(
    peer: RelayPeer,
    { address, secure, body, gone }: BoshHttpRequest,
    resolve: (it: BoshHttpAnswer) => void,
  ): void {
    const opening: z.input<typeof openingSchema> = { bosh: { address, secure, tooLong: body.isTooLong } };
    this.#parts.open(peer, JSON.stringify(opening), (relay) => {
      const chunks: Buffer[] = [];
      const over = (answer: BoshHttpAnswer): void => {
        if (!this.#forwarded.delete(giveUp)) return;
        gone.removeEventListener('abort', giveUp);
        body.release();
        relay.close();
        resolve(answer);
      };
      const giveUp = (): void => over(unreached);
      this.#forwarded.add(giveUp);
      gone.addEventListener('abort', giveUp);
      relay.send(body.bytes());
      relay.end();
      body.drop();
      return {
        received: (chunk) => {
          chunks.push(chunk);
          relay.took(chunk.length);
        },
        drained: () => {
          // The answer may be long in coming.
          if (relay.queued === 0) body.release();
        },
        ended: () => over(answerIn(chunks) ?? unreached),
        closed: giveUp,
      };
    });
  }

  /** Takes a request that another node forwards. Returns undefined if the opening is that of a stream. */
  accept(text: string, relay: RelayEnd): RelayEvents | undefined {
    if (!text.startsWith('{"bosh":')) return undefined;
    const { bosh } = openingSchema.parse(JSON.parse(text));
    const service = this.#service;
    // The server has not started yet.
    if (service === undefined) {
      relay.close();
      return ignored;
    }
    const gone = new AbortController();
    const { address, secure, tooLong } = bosh;
    const body: BoshBody = service.body(address, 0);
    let isOver = false;
    return {
      received: (chunk) => {
        // Its beginning is enough to refuse it.
        if (body.isTooLong || body.takes(chunk) || body.isTooLong) relay.took(chunk.length);
        else {
          isOver = true;
          relay.close();
        }
      },
      drained() {},
      ended: () => {
        if (isOver) return;
        isOver = true;
        body.isTooLong ||= tooLong;
        service.answerHere({ address, secure, body, gone: gone.signal }).then(
          ({ status, headers, body }) => {
            const head: z.input<typeof headSchema> = { status, content: headers['content-type'] };
            relay.send(Buffer.from(JSON.stringify(head)));
            if (body !== '') relay.send(Buffer.from(body));
            relay.end();
          },
          (error: unknown) => {
            this.#parts.failed(error);
            relay.close();
          },
        );
      },
      closed: () => {
        if (!isOver) body.release();
        gone.abort();
      },
    };
  }

  /** This node stops: clients repeat their requests at another node. */
  stop(): void {
    this.#isStopped = true;
    for (const giveUp of [...this.#forwarded]) giveUp();
  }
}

/** The head of an answer is one chunk, and so is its body. Returns undefined if there is no head. */
function answerIn([head, ...body]: readonly Buffer[]): BoshHttpAnswer | undefined {
  if (head === undefined) return undefined;
  const { status, content } = headSchema.parse(JSON.parse(head.toString()));
  return { status, headers: { 'content-type': content }, body: Buffer.concat(body).toString() };
}
