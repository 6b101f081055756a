/**
 * A small store with the protocol of S3, in this process and in memory, whose failures a test chooses: what a real server
 * shows rarely or never. It believes every signature; test/s3 has a real server that does not.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { crc32 } from 'node:zlib';

export interface StoredObject {
  content: Buffer;
  readonly at: number;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Upload {
  readonly key: string;
  readonly at: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly parts: Map<number, { readonly content: Buffer; readonly at: number }>;
}

export interface Asked {
  readonly method: string;
  /** Of the object; empty for the bucket. */
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
}

/** Answers instead of the store, or lets it answer (undefined). */
export type Fault = (asked: Asked, request: IncomingMessage, response: ServerResponse) => boolean | undefined;

const kept = /^(content-type|content-disposition|cache-control|x-amz-meta-.*|x-amz-server-side-encryption)$/;

export class S3Store {
  readonly objects = new Map<string, StoredObject>();
  readonly uploads = new Map<string, Upload>();
  /** All requests, as `METHOD key?query`. */
  readonly asked: string[] = [];
  fault: Fault | undefined;
  /** What its clock is ahead, in ms. */
  skew = 0;
  /** Knows If-None-Match. */
  isConditional = true;
  readonly #server: Server;
  #uploads = 0;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch(() => request.destroy());
    });
  }

  static async open(): Promise<S3Store> {
    const store = new S3Store();
    store.#server.listen(0, '127.0.0.1');
    await once(store.#server, 'listening');
    return store;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, this.endpoint);
    const [, , ...rest] = decodeURIComponent(url.pathname).split('/');
    const asked: Asked = {
      method: request.method!,
      key: rest.join('/'),
      query: url.searchParams,
      headers: request.headers,
    };
    this.asked.push(`${asked.method} ${asked.key}${url.search}`);
    const now = Date.now() + this.skew;
    response.setHeader('date', new Date(now).toUTCString());
    if (this.fault?.(asked, request, response) === true) return;
    const { headers } = request;
    const [, ...time] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(String(headers['x-amz-date'])) ?? [];
    const [year, month, day, hour, minute, second] = time.map(Number);
    const signed = Date.UTC(year!, month! - 1, day, hour, minute, second);
    if (!(Math.abs(now - signed) < 900_000)) {
      request.resume();
      refuse(response, 403, 'RequestTimeTooSkewed');
      return;
    }
    const body = await buffer(request);
    const content = headers['content-encoding'] === 'aws-chunked' ? unframed(body) : { content: body, crc: undefined };
    const crc = headers['x-amz-checksum-crc32'] ?? content.crc;
    if (crc !== undefined && crc !== crcOf(content.content)) refuse(response, 400, 'BadDigest');
    else this.#serve(asked, content.content, response);
  }

  #serve(asked: Asked, content: Buffer, response: ServerResponse): unknown {
    const { method, key, query } = asked;
    const upload = this.uploads.get(query.get('uploadId') ?? '');
    if (query.has('uploadId') && upload === undefined) return refuse(response, 404, 'NoSuchUpload');
    if (key === '') return query.has('uploads') ? this.#listUploads(query, response) : this.#list(query, response);
    const own = Object.fromEntries(
      Object.entries(asked.headers).flatMap(([name, value]) => (kept.test(name) ? [[name, String(value)]] : [])),
    );
    const isRefused = this.isConditional && asked.headers['if-none-match'] === '*' && this.objects.has(key);
    if (method === 'POST' && query.has('uploads')) {
      const id = `u${++this.#uploads}`;
      this.uploads.set(id, { key, at: Date.now(), headers: own, parts: new Map() });
      return response.end(`<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`);
    }
    if (method === 'PUT' && upload !== undefined) {
      upload.parts.set(Number(query.get('partNumber')), { content, at: Date.now() });
      return response.setHeader('etag', etagOf(content)).end();
    }
    if (method === 'POST') {
      if (isRefused) return refuse(response, 412, 'PreconditionFailed');
      const named = [...content.toString().matchAll(/<PartNumber>(\d+)<\/PartNumber><ETag>([^<]*)<\/ETag>/g)];
      const parts = named.map(([, number, etag]) => ({ part: upload!.parts.get(Number(number)), etag }));
      if (parts.some(({ part, etag }) => part === undefined || etagOf(part.content) !== etag))
        return refuse(response, 400, 'InvalidPart');
      const whole = Buffer.concat(parts.map(({ part }) => part!.content));
      this.objects.set(key, { content: whole, at: Date.now(), headers: upload!.headers });
      this.uploads.delete(query.get('uploadId')!);
      return response.end('<CompleteMultipartUploadResult/>');
    }
    if (method === 'GET' && upload !== undefined) {
      const parts = [...upload.parts].map(
        ([number, { at }]) => `<Part><PartNumber>${number}</PartNumber><LastModified>${iso(at)}</LastModified></Part>`,
      );
      return response.end(`<ListPartsResult>${parts.join('')}</ListPartsResult>`);
    }
    if (method === 'DELETE') {
      if (upload === undefined) this.objects.delete(key);
      else this.uploads.delete(query.get('uploadId')!);
      return response.writeHead(204).end();
    }
    if (method === 'PUT') {
      if (isRefused) return refuse(response, 412, 'PreconditionFailed');
      this.objects.set(key, { content, at: Date.now(), headers: own });
      return response.setHeader('etag', etagOf(content)).end();
    }
    return this.#get(asked, response);
  }

  #get({ key, headers }: Asked, response: ServerResponse): unknown {
    const object = this.objects.get(key);
    if (object === undefined) return refuse(response, 404, 'NoSuchKey');
    const { content, at } = object;
    const match = headers['if-match'];
    if (match !== undefined && match !== etagOf(content)) return refuse(response, 412, 'PreconditionFailed');
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
    const part = first === undefined ? content : content.subarray(Number(first), Number(last) + 1);
    for (const [name, value] of Object.entries(object.headers)) response.setHeader(name, value);
    const facts = { etag: etagOf(content), 'last-modified': new Date(at).toUTCString(), 'content-length': part.length };
    const checksum = headers['x-amz-checksum-mode'] === undefined ? {} : { 'x-amz-checksum-crc32': crcOf(content) };
    return response.writeHead(first === undefined ? 200 : 206, { ...facts, ...checksum }).end(part);
  }

  #list(query: URLSearchParams, response: ServerResponse): unknown {
    const prefix = query.get('prefix') ?? '';
    const after = query.get('continuation-token') ?? query.get('start-after') ?? '';
    const found = new Map<string, string>();
    for (const key of [...this.objects.keys()].sort()) {
      if (!key.startsWith(prefix) || key <= after) continue;
      const slash = key.indexOf('/', prefix.length);
      const { content, at } = this.objects.get(key)!;
      if (slash >= 0) {
        const common = key.slice(0, slash + 1);
        if (common > after) found.set(common, `<CommonPrefixes><Prefix>${common}</Prefix></CommonPrefixes>`);
      } else
        found.set(
          key,
          `<Contents><Key>${key}</Key><Size>${content.length}</Size><LastModified>${iso(at)}</LastModified></Contents>`,
        );
    }
    const most = Number(query.get('max-keys') ?? 1000);
    const page = [...found].slice(0, most);
    const isTruncated = found.size > most;
    const next = isTruncated ? `<NextContinuationToken>${page.at(-1)![0]}</NextContinuationToken>` : '';
    const entries = page.map(([, entry]) => entry).join('');
    return response.end(
      `<ListBucketResult><IsTruncated>${isTruncated}</IsTruncated>${next}${entries}</ListBucketResult>`,
    );
  }

  #listUploads(query: URLSearchParams, response: ServerResponse): unknown {
    const prefix = query.get('prefix') ?? '';
    const found = [...this.uploads].filter(([, { key }]) => key.startsWith(prefix));
    const list = found.map(
      ([id, { key, at }]) =>
        `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>${iso(at)}</Initiated></Upload>`,
    );
    return response.end(`<ListMultipartUploadsResult>${list.join('')}</ListMultipartUploadsResult>`);
  }
}

export function refuse(response: ServerResponse, status: number, code: string): unknown {
  return response.writeHead(status).end(`<Error><Code>${code}</Code><Message>refused</Message></Error>`);
}

const iso = (at: number): string => new Date(at).toISOString();
const etagOf = (content: Buffer): string => `"${createHash('md5').update(content).digest('hex')}"`;

function crcOf(content: Buffer): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(content));
  return bytes.toString('base64');
}

/** The content of a body in the encoding `aws-chunked`, and the checksum in its trailer. */
function unframed(body: Buffer): { readonly content: Buffer; readonly crc: string | undefined } {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = body.indexOf('\r\n', at);
    const length = Number.parseInt(body.subarray(at, end).toString(), 16);
    if (length === 0)
      return {
        content: Buffer.concat(parts),
        crc: /^x-amz-checksum-crc32:(\S+)\r\n\r\n$/.exec(body.subarray(end + 2).toString())?.[1],
      };
    parts.push(body.subarray(end + 2, end + 2 + length));
    at = end + 2 + length + 2;
  }
}
