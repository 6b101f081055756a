/** Which pages of other origins may use a path (https://fetch.spec.whatwg.org/#http-cors-protocol). */
import { isAllowedOrigin } from '../config/address.js';
import type { HttpCors, HttpMethod } from '../module/http.js';
import type { HttpRoute } from '../routing/hooks.js';
import type { Incoming, Outgoing } from './message.js';

/** How long browsers may cache the answer to a preflight request, in seconds; they limit it themselves. */
const preflightAge = 7200;

/** Adds the headers that let a page of an allowed origin read the answer. Returns false if its origin is not allowed. */
export function addCors({ origins, exposed }: HttpCors, request: Incoming, response: Outgoing): boolean {
  const { origin } = request.headers;
  const allowed = origins === '*' ? ['*'] : origins();
  if (allowed.includes('*')) response.setHeader('access-control-allow-origin', '*');
  else {
    // Caches must not give the answer to one origin to another.
    response.setHeader('vary', 'Origin');
    if (origin === undefined || !isAllowedOrigin(origin, allowed)) return false;
    response.setHeader('access-control-allow-origin', origin);
  }
  if (exposed !== undefined) response.setHeader('access-control-expose-headers', exposed.join(', '));
  return true;
}

/** Adds what a preflight request asks for. */
export function addPreflight(
  { headers }: HttpCors,
  byMethod: ReadonlyMap<HttpMethod, HttpRoute>,
  response: Outgoing,
): void {
  const methods = [...byMethod].flatMap(([method, { cors }]) => (cors === undefined ? [] : [method]));
  response.setHeader('access-control-allow-methods', methods.join(', '));
  if (headers !== undefined) response.setHeader('access-control-allow-headers', headers.join(', '));
  response.setHeader('access-control-max-age', preflightAge);
}
