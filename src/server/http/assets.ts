/** A folder of static files, such as a web client: served from memory, compressed once. */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import type { OutgoingHttpHeaders } from 'node:http';
import { extname, join, sep } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import type { Maybe } from '../maybe.js';
import type { HttpAnswer, HttpRequest } from '../module/http.js';
import { fileAnswer, isConditional, type Representation } from './files.js';

export interface AssetOptions {
  /** Whether the name of a file changes with its content, so that browsers may cache it forever. */
  isHashed?(path: string): boolean;
  /** Headers of a file beside those for its type and for caching. */
  headers?(path: string): OutgoingHttpHeaders;
  /** Maximum size of all files, in bytes. The memory used is at most three times as much. Default: 64 MiB. */
  readonly maxBytes?: number;
}

export interface Assets {
  /** Paths of all files, with `/` and without one at the beginning: `assets/main.js`. */
  readonly paths: readonly string[];
  /** Answers GET or HEAD for a file. Undefined if there is none with exactly this path. */
  answer(request: Pick<HttpRequest, 'method' | 'headers'>, path: string): Maybe<HttpAnswer> | undefined;
}

const types: Readonly<Record<string, string>> = {
  '.avif': 'image/avif',
  '.css': 'text/css; charset=utf-8',
  '.gif': 'image/gif',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.jpeg': 'image/jpeg',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
  '.mjs': 'text/javascript; charset=utf-8',
  '.mp3': 'audio/mpeg',
  '.mp4': 'video/mp4',
  '.ogg': 'audio/ogg',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.wav': 'audio/wav',
  '.webm': 'video/webm',
  '.webmanifest': 'application/manifest+json',
  '.webp': 'image/webp',
  '.woff2': 'font/woff2',
  '.xml': 'application/xml',
};

/** Media type by the extension of a file name. */
export const contentType = (name: string): string => types[extname(name).toLowerCase()] ?? 'application/octet-stream';

type Coding = 'br' | 'gzip' | 'identity';

const compressors: Readonly<Record<Exclude<Coding, 'identity'>, (bytes: Buffer) => Promise<Buffer>>> = {
  br: (bytes) =>
    promisify(brotliCompress)(bytes, {
      // Higher levels take ten times as long for a few percent.
      params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    }),
  gzip: (bytes) => promisify(gzip)(bytes, { level: 9 }),
};

/** Smaller files fit one packet anyway. */
const worthCompressing = 1000;
const compressible = /^(?:text\/|application\/(?:json|manifest\+json|wasm|xml)|image\/(?:svg\+xml|x-icon))/;

/** A file in one coding. */
interface Form {
  readonly file: Representation;
  readonly whole: HttpAnswer;
}

class Asset {
  readonly #file: string;
  readonly #headers: OutgoingHttpHeaders;
  readonly #isCompressible: boolean;
  /** Ready ones, and those that are being read or compressed. */
  readonly #ready = new Map<Coding, Form>();
  readonly #making = new Map<Coding, Promise<Form>>();

  constructor(file: string, size: number, headers: OutgoingHttpHeaders) {
    this.#file = file;
    this.#headers = headers;
    this.#isCompressible = size >= worthCompressing && compressible.test(`${headers['content-type']}`);
  }

  /** The form that the client prefers. Rejects if the file cannot be read. */
  inCoding(accepted: string | undefined): Maybe<Form> {
    const coding = this.#isCompressible ? codingOf(accepted) : 'identity';
    const ready = this.#ready.get(coding);
    if (ready !== undefined) return ready;
    let making = this.#making.get(coding);
    if (making === undefined) {
      making = this.#make(coding).finally(() => this.#making.delete(coding));
      this.#making.set(coding, making);
    }
    return making;
  }

  async #make(coding: Coding): Promise<Form> {
    const plain = await readFile(this.#file);
    const bytes = coding === 'identity' ? plain : await compressors[coding](plain);
    const tag = createHash('sha256').update(plain).digest('base64url').slice(0, 22);
    const file: Representation = {
      size: bytes.length,
      // RFC 9110 §8.8.3.3: another coding is another representation
      etag: coding === 'identity' ? `"${tag}"` : `"${tag}-${coding}"`,
      headers: {
        ...this.#headers,
        ...(this.#isCompressible ? { vary: 'Accept-Encoding' } : {}),
        ...(coding === 'identity' ? {} : { 'content-encoding': coding }),
      },
      read: (start, end) => bytes.subarray(start, end),
    };
    const whole = fileAnswer({ method: 'GET', headers: {} }, file);
    // Frozen headers are prepared for sending once.
    const made = { file, whole: { ...whole, headers: Object.freeze(whole.headers) } };
    this.#ready.set(coding, made);
    return made;
  }
}

/** What a request for the whole file gets is the same each time. */
function answerWith({ file, whole }: Form, request: Pick<HttpRequest, 'method' | 'headers'>): HttpAnswer {
  return request.method === 'GET' && !isConditional(request.headers) ? whole : fileAnswer(request, file);
}

/** In the order in which the server prefers them. */
const codings = [
  ['br', /(?:^|,)\s*br\s*(?:;\s*q=([\d.]+)\s*)?(?:,|$)/i],
  ['gzip', /(?:^|,)\s*gzip\s*(?:;\s*q=([\d.]+)\s*)?(?:,|$)/i],
] as const;

/** RFC 9110 §12.5.3. */
function codingOf(accepted = ''): Coding {
  for (const [coding, pattern] of codings) {
    const [found, quality = '1'] = pattern.exec(accepted) ?? [];
    if (found !== undefined && Number(quality) > 0) return coding;
  }
  return 'identity';
}

/**
 * Lists the files of a folder and its subfolders, except those whose names begin with a dot. They are read when they are
 * first requested; changes after that are not seen. Rejects if the folder cannot be read or its files exceed the
 * maximum.
 */
export async function loadAssets(folder: string, options: AssetOptions = {}): Promise<Assets> {
  const { isHashed = () => false, headers = () => ({}), maxBytes = 67_108_864 } = options;
  const names = await readdir(folder, { recursive: true });
  const assets = new Map<string, Asset>();
  let total = 0;
  for (const name of names.sort()) {
    const path = name.split(sep).join('/');
    if (/(?:^|\/)\./.test(path)) continue;
    const stats = await stat(join(folder, name));
    if (!stats.isFile()) continue;
    total += stats.size;
    if (total > maxBytes) throw new Error(`the files in ${folder} have more than ${maxBytes} bytes`);
    const caching = isHashed(path) ? 'public, max-age=31536000, immutable' : 'no-cache';
    const all = { 'content-type': contentType(path), 'cache-control': caching, ...headers(path) };
    assets.set(path, new Asset(join(folder, name), stats.size, all));
  }
  return {
    paths: [...assets.keys()],
    answer: (request, path) => {
      const form = assets.get(path)?.inCoding(request.headers['accept-encoding']);
      if (form === undefined) return undefined;
      return form instanceof Promise ? form.then((it) => answerWith(it, request)) : answerWith(form, request);
    },
  };
}
