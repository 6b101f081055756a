/** Requests and responses of HTTP/1.1 and HTTP/2: Node's classes for both have the same methods. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse, Http2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { TLSSocket } from 'node:tls';

export type Incoming = IncomingMessage | Http2ServerRequest;
export type Outgoing = ServerResponse | Http2ServerResponse;

/** RFC 9113 §7: without an error code the end would look like that of a complete answer. */
const internalError = 0x02;

/** Unread bodies up to this size are read and thrown away, so that the connection can be used again. */
const discarded = 65_536;

/** Whether the request has a body, known before it is read (RFC 9112 §6.3, RFC 9113 §8.1). */
export function hasBody(request: Incoming): boolean {
  if ('stream' in request) return !request.stream.endAfterHeaders;
  return request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
}

/** Whether the connection would have to read much of a body that nobody wants before the next request (HTTP/1.1). */
export function isBlocked(request: Incoming): boolean {
  if (request.complete || !hasBody(request)) return false;
  const { 'content-length': length, expect } = request.headers;
  return length === undefined || Number(length) > discarded || expect !== undefined;
}

/** What takes the answer: Node's response for HTTP/2 lacks some of the state of a stream. */
export const sinkOf = (response: Outgoing): Writable => ('stream' in response ? response.stream : response);

/** Whether all of a closed answer was sent. A stream of HTTP/2 that the client resets is finished as well. */
export const isComplete = (response: Outgoing): boolean =>
  'stream' in response ? response.writableEnded && response.stream.rstCode === 0 : response.writableFinished;

/** How long a client of HTTP/2 has to take an answer that it gets before it has sent its request, in ms. */
const resetAfter = 1000;

/** Reads nothing more of the request after the answer: ends the connection, or the stream of HTTP/2 (RFC 9113 §8.1). */
export function closeAfter(response: Outgoing): void {
  if (!('stream' in response)) {
    response.shouldKeepAlive = false;
    return;
  }
  const { stream } = response;
  // A reset that arrives together with the answer makes some clients lose it.
  stream.once('finish', () => void setTimeout(() => stream.close(), resetAfter).unref());
}

/** Ends an answer that cannot be completed, so that the client notices. */
export function cut(response: Outgoing): void {
  if ('stream' in response) response.stream.close(internalError);
  else response.destroy();
}

/** HTTP/2 hides the socket of a session behind a proxy object. */
const carriers = new WeakMap<Http2Session, Socket>();

export function carriedBy(session: Http2Session, socket: Socket): void {
  carriers.set(session, socket);
}

export function socketOf(request: Incoming): Socket {
  if (!('stream' in request)) return request.socket;
  const { session } = request.stream;
  // A closed stream has no session.
  return (session === undefined ? undefined : carriers.get(session)) ?? request.socket;
}

/** Whether TLS ends in this process. */
export const isEncrypted = (request: Incoming): boolean => (socketOf(request) as Partial<TLSSocket>).encrypted === true;
