/** Sends answers. */
import { type OutgoingHttpHeaders, validateHeaderValue } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isPrivateName } from '../config/public-names.js';
import type { HttpAnswer } from '../module/http.js';
import { closeAfter, type Incoming, isBlocked, isEncrypted, type Outgoing } from './message.js';
import { securityHeaders } from './security.js';
import type { SlowClients } from './slow-clients.js';
import { authorityOf } from './target.js';

/** Answers of up to this size are in the buffers of the system at once, in bytes. */
const quick = 16_384;

type Head = Omit<HttpAnswer, 'body'>;
export type WholeAnswer = Head & { readonly body?: string | Uint8Array | undefined };

/**
 * Sends an answer. Throws if a header is invalid; nothing has been sent then. Returns a promise for a body that is a
 * stream: it rejects if the stream fails, and resolves once the answer is complete or the client has disconnected.
 */
export function send(
  request: Incoming,
  response: Outgoing,
  answer: HttpAnswer,
  slowClients: SlowClients,
): Promise<void> | undefined {
  const { status = 200, headers, body } = answer;
  if (!(body instanceof Readable)) {
    sendWhole(request, response, answer as WholeAnswer);
    if (body !== undefined && body.length > quick) slowClients.watchAnswer(response).bytes = body.length;
    return undefined;
  }
  const all = headersOf(request, response, headers);
  all['content-type'] ??= 'application/octet-stream';
  try {
    begin(request, response, status, all);
  } catch (error) {
    body.destroy();
    throw error;
  }
  const length = all['content-length'];
  return sendStream(request, response, body, slowClients, length === undefined ? undefined : Number(length));
}

/** Sends an answer whose body is not a stream. */
export function sendWhole(request: Incoming, response: Outgoing, { status, headers, body }: WholeAnswer): void {
  const all = headersOf(request, response, headers);
  if (body === undefined) {
    begin(request, response, status ?? 204, all);
    response.end();
    return;
  }
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  all['content-type'] ??= 'text/plain; charset=utf-8';
  all['content-length'] = bytes.length;
  begin(request, response, status ?? 200, all);
  response.end(bytes);
}

/**
 * Merged headers of answers that are sent again and again, by HSTS: their headers are frozen and complete, so that
 * nothing is added for a single answer.
 */
const merged = [new WeakMap<object, OutgoingHttpHeaders>(), new WeakMap<object, OutgoingHttpHeaders>()] as const;

/** The headers of an answer by their names in lower case, with those that all answers have. */
function headersOf(request: Incoming, response: Outgoing, headers: OutgoingHttpHeaders = {}): OutgoingHttpHeaders {
  const isOurTls = isEncrypted(request) && !isPrivateName(authorityOf(request));
  const vary = response.getHeader('vary');
  if (vary !== undefined || !isPrepared(headers)) return merge(isOurTls, headers, vary);
  const known = merged[isOurTls ? 1 : 0];
  let all = known.get(headers);
  if (all === undefined) known.set(headers, (all = merge(isOurTls, headers, undefined)));
  return all;
}

const isPrepared = (headers: OutgoingHttpHeaders): boolean =>
  headers['content-length'] !== undefined && headers['content-type'] !== undefined && Object.isFrozen(headers);

function merge(isOurTls: boolean, headers: OutgoingHttpHeaders, vary: unknown): OutgoingHttpHeaders {
  const all = { ...securityHeaders(isOurTls) };
  for (const name in headers) if (headers[name] !== undefined) all[name.toLowerCase()] = headers[name];
  if (vary !== undefined && all.vary !== undefined) all.vary = `${vary}, ${all.vary}`;
  return all;
}

/** Throws if a header is invalid. The response is then as it was before. */
function begin(request: Incoming, response: Outgoing, status: number, headers: OutgoingHttpHeaders): void {
  if (isBlocked(request)) closeAfter(response);
  try {
    // HTTP/2 does not check it.
    if ('stream' in response)
      for (const name in headers) for (const one of [headers[name]].flat()) validateHeaderValue(name, `${one}`);
    response.writeHead(status, headers);
  } catch (error) {
    for (const name in headers) response.removeHeader(name);
    throw error;
  }
}

async function sendStream(
  request: Incoming,
  response: Outgoing,
  body: Readable,
  slowClients: SlowClients,
  length: number | undefined,
): Promise<void> {
  if (request.method === 'HEAD') {
    body.destroy();
    response.end();
    return;
  }
  const transfer = slowClients.watchAnswer(response);
  body.on('data', (chunk: Buffer | string) => {
    transfer.bytes += Buffer.byteLength(chunk);
  });
  try {
    await pipeline(body, response, { end: false });
  } catch (error) {
    // The client has disconnected.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
    return;
  }
  // RFC 9112 §6.3: the client would take the beginning of the next answer for the rest of this one.
  if (length !== undefined && transfer.bytes !== length)
    throw new Error(`the answer was announced with ${length} bytes and has ${transfer.bytes}`);
  response.end();
}
