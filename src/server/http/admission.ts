/** What no handler gets to see: requests that another parser, such as that of a proxy, might read differently. */
import type { IncomingMessage } from 'node:http';
import { HttpError } from '../module/http.js';
import type { Incoming } from './message.js';

/** Names and values. More headers than any browser or proxy sends. */
const mostFields = 2 * 100;

/** Returns why a request is refused. Undefined if it is not. */
export function refusal(request: Incoming): HttpError | undefined {
  // HTTP/2 knows no framing headers, and Node limits its header lists and checks :authority.
  if ('stream' in request) return undefined;
  const { rawHeaders } = request;
  if (rawHeaders.length > mostFields) return new HttpError(431, 'There are too many header fields.');
  return hostRefusal(rawHeaders) ?? codingRefusal(request);
}

/** RFC 9112 §3.2. Node refuses a request without a Host header, and takes the first of several. */
function hostRefusal(rawHeaders: readonly string[]): HttpError | undefined {
  let host: string | undefined;
  for (let n = 0; n < rawHeaders.length; n += 2) {
    const name = rawHeaders[n]!;
    if (name.length !== 4 || name.toLowerCase() !== 'host') continue;
    if (host !== undefined) return new HttpError(400, 'There are several Host headers.');
    host = rawHeaders[n + 1]!;
  }
  if (host === undefined || /^(?:[\w.-]*|\[[\da-f:.]+\])(?::\d*)?$/i.test(host)) return undefined;
  return new HttpError(400, 'The Host header is not a host name.');
}

/** RFC 9112 §6.1. Node decodes the coding chunked alone, and hands on what it contains. */
function codingRefusal({ headers, httpVersion }: IncomingMessage): HttpError | undefined {
  const coding = headers['transfer-encoding'];
  if (coding === undefined) return undefined;
  if (httpVersion !== '1.1') return new HttpError(400, 'HTTP/1.0 has no transfer codings.');
  return coding.toLowerCase() === 'chunked' ? undefined : new HttpError(501, 'The only transfer coding is chunked.');
}
