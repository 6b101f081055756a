/**
 * HTTP requests other than upgrades: each goes to the module that serves its path on the requested host. An unclaimed
 * path is answered with 404.
 */
import { monotonic } from '../clock.js';
import type { Maybe } from '../maybe.js';
import { type HttpAnswer, HttpError, type HttpMethod } from '../module/http.js';
import type { BodyGate, HttpRoute } from '../routing/hooks.js';
import type { Peer } from '../transport/peer.js';
import { refusal } from './admission.js';
import { BodyStream, collectBody, Disconnected, discardBody, readBody } from './body.js';
import { addCors, addPreflight } from './cors.js';
import { errorAnswer } from './errors.js';
import { closeAfter, cut, hasBody, type Incoming, isBlocked, type Outgoing, sinkOf } from './message.js';
import { ReceivedRequest, type RequestParts } from './received.js';
import { findRoute, type Routes } from './routes.js';
import { send, sendWhole } from './send.js';
import { SlowClients } from './slow-clients.js';
import { authorityOf, pathOf } from './target.js';

export interface HttpRouterParts {
  /** Returns the routes of the host with this name or service name, or of the first host for an unknown name. */
  routes(name: string): Routes;
  /** The server's own answer. Returns undefined if there is none, which must look as if the path did not exist. */
  own(request: Incoming, path: string): Maybe<HttpAnswer> | undefined;
  /** Returns the sender, or undefined if the address given by a trusted proxy cannot be parsed. */
  peer(request: Incoming): Peer | undefined;
  failed(error: unknown, path: string): void;
  /** Minimum rate of bodies and answers. */
  bytesPerSecond(): number;
  limitHit(limit: string): void;
}

const empty = Buffer.alloc(0);

export class HttpRouter {
  readonly #parts: HttpRouterParts;
  readonly #slowClients: SlowClients;
  #stopped = false;

  constructor(parts: HttpRouterParts) {
    this.#parts = parts;
    this.#slowClients = new SlowClients({
      now: monotonic,
      bytesPerSecond: () => parts.bytesPerSecond(),
      limitHit: (limit) => parts.limitHit(limit),
    });
  }

  /** Cuts clients that send or read too slowly. Called every second. */
  cutSlow(): void {
    this.#slowClients.cutSlow();
  }

  /** Stops calling modules: their storage is about to be closed. */
  stop(): void {
    this.#stopped = true;
  }

  /** Resolves once the answer has been passed on. Never rejects. */
  answer(request: Incoming, response: Outgoing): Maybe<void> {
    try {
      const answer = this.#find(request, response);
      const sent =
        answer instanceof Promise
          ? answer.then((it) => this.#send(request, response, it))
          : this.#send(request, response, answer);
      return sent?.catch((error: unknown) => this.#fail(request, response, error));
    } catch (error) {
      this.#fail(request, response, error);
    }
  }

  /** Answers a request that is for no module with an error. */
  refuse(request: Incoming, response: Outgoing, error: HttpError): void {
    this.#fail(request, response, error);
  }

  #find(request: Incoming, response: Outgoing): Maybe<HttpAnswer> {
    const refused = refusal(request);
    if (refused !== undefined) {
      closeAfter(response);
      throw refused;
    }
    const path = pathOf(request);
    const own = this.#parts.own(request, path);
    if (own !== undefined) return own;
    const found = findRoute(this.#parts.routes(authorityOf(request)), path);
    if (found === undefined) throw new HttpError(404);
    const { byMethod } = found;
    const method = request.method as HttpMethod;
    const preflight = method === 'OPTIONS' && !byMethod.has(method);
    const route = routeOf(byMethod, preflight ? request.headers['access-control-request-method'] : method);
    const cors = (route ?? [...byMethod.values()].find((one) => one.cors !== undefined))?.cors;
    const isAllowed = cors !== undefined && addCors(cors, request, response);
    if (preflight && route !== undefined) {
      if (isAllowed) addPreflight(cors, byMethod, response);
      return { status: 204, headers: { allow: allowed(byMethod) } };
    }
    if (route === undefined) throw new HttpError(405, undefined, { headers: { allow: allowed(byMethod) } });
    const peer = this.#parts.peer(request);
    if (peer === undefined) throw new HttpError(400, 'The proxy sent no valid address of the client.');
    const rest = found.path === '/' ? path.slice(path === '/' ? 1 : 0) : path.slice(found.path.length);
    const { address, secure } = peer;
    const parts = { path, rest, address, secure, body: empty, unread: undefined };
    if (!hasBody(request)) return this.#call(route, request, response, parts);
    // After an ignored upgrade the rest of the connection is not read.
    if (request.headers.upgrade !== undefined) throw new HttpError(400, 'An upgrade request cannot have a body.');
    if (route.body === 'stream')
      return this.#call(route, request, response, {
        ...parts,
        unread: new BodyStream(request, response, this.#slowClients),
      });
    if (typeof route.body === 'number') return this.#callWithBody(route, route.body, request, response, parts);
    const length = request.headers['content-length'];
    const gate = route.body({ address, length: length === undefined ? undefined : Number(length) });
    return this.#callWithGate(route, gate, request, response, parts);
  }

  async #callWithBody(
    route: HttpRoute,
    limit: number,
    request: Incoming,
    response: Outgoing,
    parts: RequestParts,
  ): Promise<HttpAnswer> {
    const body = await readBody(request, response, this.#slowClients, limit);
    return this.#call(route, request, response, { ...parts, body });
  }

  async #callWithGate(
    route: HttpRoute,
    gate: BodyGate,
    request: Incoming,
    response: Outgoing,
    parts: RequestParts,
  ): Promise<HttpAnswer> {
    try {
      await collectBody(request, response, this.#slowClients, gate);
    } catch (error) {
      gate.release();
      throw error;
    }
    return this.#call(route, request, response, parts, gate);
  }

  #call(
    route: HttpRoute,
    request: Incoming,
    response: Outgoing,
    parts: RequestParts,
    gate?: BodyGate,
  ): Maybe<HttpAnswer> {
    if (this.#stopped && route.isServedAtLast !== true)
      throw new HttpError(503, 'The server is shutting down.', { headers: { 'retry-after': '10' } });
    return route.handler(new ReceivedRequest(request, response, parts), gate);
  }

  #send(request: Incoming, response: Outgoing, answer: HttpAnswer): Promise<void> | undefined {
    const sent = send(request, response, answer, this.#slowClients);
    this.#discard(request, response);
    return sent;
  }

  /** What is left of a short body is read, and after that of a long one the connection ends (`closeAfter`). */
  #discard(request: Incoming, response: Outgoing): void {
    if (!request.complete && hasBody(request) && !isBlocked(request)) discardBody(request, response, this.#slowClients);
  }

  #fail(request: Incoming, response: Outgoing, error: unknown): void {
    const sink = sinkOf(response);
    const isGone = sink.destroyed || sink.writableEnded;
    if (error instanceof Disconnected || (isGone && (error as Error | undefined)?.name === 'AbortError')) {
      cut(response);
      return;
    }
    if (!(error instanceof HttpError)) this.#parts.failed(error, pathOf(request));
    if (response.headersSent || isGone) {
      cut(response);
      return;
    }
    const known = error instanceof HttpError ? error : new HttpError(500);
    if (known.status === 413) this.#parts.limitHit('http_body');
    try {
      sendWhole(request, response, errorAnswer(known, request.headers.accept));
    } catch (invalid) {
      this.#parts.failed(invalid, pathOf(request));
      sendWhole(request, response, errorAnswer(new HttpError(500), request.headers.accept));
    }
    this.#discard(request, response);
  }
}

/** §9.3.2: HEAD is answered like GET. */
function routeOf(byMethod: ReadonlyMap<HttpMethod, HttpRoute>, method: string | undefined): HttpRoute | undefined {
  return byMethod.get(method as HttpMethod) ?? (method === 'HEAD' ? byMethod.get('GET') : undefined);
}

function allowed(byMethod: ReadonlyMap<HttpMethod, HttpRoute>): string {
  const all = new Set(byMethod.keys());
  if (all.has('GET')) all.add('HEAD');
  return [...all].sort().join(', ');
}
