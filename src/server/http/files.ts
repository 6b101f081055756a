/**
 * Files over HTTP: conditional requests (RFC 9110 §13) and ranges (§14). A request for several ranges gets the whole
 * file, as §14.2 allows.
 */
import { type FileHandle, open } from 'node:fs/promises';
import type { OutgoingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import { type HttpAnswer, HttpError, type HttpRequest } from '../module/http.js';
import { securityHeaders } from './security.js';

/** What a path serves: stored bytes that do not change under one tag. */
export interface Representation {
  readonly size: number;
  /** A strong validator (§8.8.3) with its quotation marks: different bytes have different tags. */
  readonly etag?: string | undefined;
  readonly modified?: Date | undefined;
  readonly headers?: OutgoingHttpHeaders | undefined;
  /** Returns the bytes from `start` up to, not including, `end`. Called at most once, and only if they are sent. */
  read(start: number, end: number): Readable | Uint8Array;
}

/**
 * Headers of a 304 answer: those of §15.4.5, and those that replace the security headers of every answer. The client updates
 * its copy by all of them (RFC 9111 §3.2), so the defaults would replace the stricter or wider ones of the file.
 */
const kept = new Set([
  ...['cache-control', 'content-location', 'date', 'expires', 'vary'],
  ...Object.keys(securityHeaders(true)),
]);

/** Whether a request may be answered with less than the whole file. */
export const isConditional = (headers: HttpRequest['headers']): boolean =>
  headers['if-none-match'] !== undefined ||
  headers['if-modified-since'] !== undefined ||
  headers.range !== undefined ||
  headers['if-match'] !== undefined ||
  headers['if-unmodified-since'] !== undefined;

/** Answers GET or HEAD. Throws HttpError: 412, 416. */
export function fileAnswer(
  { method, headers }: Pick<HttpRequest, 'method' | 'headers'>,
  file: Representation,
): HttpAnswer {
  const { size, etag, modified } = file;
  const seconds = modified === undefined ? undefined : Math.floor(modified.getTime() / 1000);
  const validators: OutgoingHttpHeaders = {
    ...(etag === undefined ? {} : { etag }),
    ...(modified === undefined ? {} : { 'last-modified': modified.toUTCString() }),
  };
  // The order of §13.2.2.
  const { 'if-match': match, 'if-none-match': noneMatch } = headers;
  const isKept =
    match !== undefined
      ? matches(match, etag, true)
      : !(seconds !== undefined && seconds > (secondsOf(headers['if-unmodified-since']) ?? Number.POSITIVE_INFINITY));
  if (!isKept) throw new HttpError(412, undefined, { headers: validators });
  const isKnown =
    noneMatch !== undefined
      ? matches(noneMatch, etag, false)
      : seconds !== undefined && seconds <= (secondsOf(headers['if-modified-since']) ?? Number.NEGATIVE_INFINITY);
  if (isKnown) {
    const own = Object.entries(file.headers ?? {}).filter(([name]) => kept.has(name));
    return { status: 304, headers: { ...Object.fromEntries(own), ...validators } };
  }
  const common: OutgoingHttpHeaders = { ...file.headers, ...validators, 'accept-ranges': 'bytes' };
  // §14.2: for GET alone
  if (method === 'GET' && headers.range !== undefined && isSame(headers['if-range'], etag, seconds)) {
    const range = rangeOf(headers.range, size);
    if (range === 'unsatisfiable')
      throw new HttpError(416, undefined, { headers: { ...validators, 'content-range': `bytes */${size}` } });
    if (range !== undefined) {
      const [start, end] = range;
      const partial = { 'content-range': `bytes ${start}-${end - 1}/${size}`, 'content-length': end - start };
      return { status: 206, headers: { ...common, ...partial }, body: file.read(start, end) };
    }
  }
  const whole = { ...common, 'content-length': size };
  return method === 'HEAD' ? { status: 200, headers: whole } : { headers: whole, body: file.read(0, size) };
}

/** §13.1.1 (strong comparison), §13.1.2 (weak comparison). */
function matches(list: string, etag: string | undefined, isStrong: boolean): boolean {
  if (list.trim() === '*') return true;
  return [...list.matchAll(/(W\/)?("[^"]*")/g)].some(
    ([, weak, tag]) => tag === etag && !(isStrong && weak !== undefined),
  );
}

/** §13.1.5: whether what the client has part of is still what is served. */
function isSame(
  condition: string | string[] | undefined,
  etag: string | undefined,
  seconds: number | undefined,
): boolean {
  if (condition === undefined) return true;
  if (typeof condition !== 'string') return false;
  const isTag = condition.includes('"');
  return isTag ? condition.trim() === etag : seconds !== undefined && secondsOf(condition) === seconds;
}

function secondsOf(date: string | undefined): number | undefined {
  const time = Date.parse(date ?? '');
  return Number.isNaN(time) ? undefined : time / 1000;
}

/** §14.1.2. Returns undefined for what is not one valid range of bytes: it is ignored then. The end is exclusive. */
function rangeOf(header: string, size: number): readonly [number, number] | 'unsatisfiable' | undefined {
  const [whole, first = '', last = ''] = /^\s*bytes\s*=\s*(\d*)-(\d*)\s*$/i.exec(header) ?? [];
  if (whole === undefined || (first === '' && last === '')) return undefined;
  if (first === '') {
    const start = Math.max(0, size - Number(last));
    return start < size ? [start, size] : 'unsatisfiable';
  }
  if (last !== '' && Number(last) < Number(first)) return undefined;
  if (Number(first) >= size) return 'unsatisfiable';
  return [Number(first), last === '' ? size : Math.min(size, Number(last) + 1)];
}

/**
 * Answers GET or HEAD with a file. A file that is replaced or changed has another tag. Rejects with HttpError 404 if
 * there is no such file.
 */
export async function sendFile(
  request: Pick<HttpRequest, 'method' | 'headers'>,
  path: string,
  headers: OutgoingHttpHeaders,
): Promise<HttpAnswer> {
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' || error.code === 'ENOTDIR' ? new HttpError(404, undefined, { cause: error }) : error;
  });
  let isRead = false;
  try {
    const stats = await file.stat({ bigint: true });
    if (!stats.isFile()) throw new HttpError(404);
    return fileAnswer(request, {
      size: Number(stats.size),
      etag: `"${stats.ino.toString(36)}-${stats.size.toString(36)}-${stats.mtimeNs.toString(36)}"`,
      modified: stats.mtime,
      headers,
      read: (start, end) => {
        if (start === end) return Buffer.alloc(0);
        isRead = true;
        return streamOf(file, start, end);
      },
    });
  } finally {
    if (!isRead) await file.close();
  }
}

/** Closes the file when the stream ends or is destroyed. */
const streamOf = (file: FileHandle, start: number, end: number): Readable =>
  file.createReadStream({ start, end: end - 1, autoClose: true });
