/** Storing a content: at once, or in parts of which one is sent while the next is read. */
import type { Readable } from 'node:stream';
import { StorageError } from '../contract.js';
import type { Client } from './client.js';
import { inMemory } from './exchange.js';
import { framedHeaders, framedPayload } from './frames.js';
import { type Budget, type Part, Parts, Source } from './parts.js';
import { escaped, parseAnswer, textOf } from './xml.js';

export interface Encryption {
  readonly algorithm: 'AES256' | 'aws:kms';
  /** Empty: the usual one of the store. */
  readonly key: string;
}

export const encryptionHeaders = (encryption: Encryption | undefined): Record<string, string> => ({
  ...(encryption !== undefined && { 'x-amz-server-side-encryption': encryption.algorithm }),
  ...(encryption !== undefined &&
    encryption.key !== '' && { 'x-amz-server-side-encryption-aws-kms-key-id': encryption.key }),
});

export interface Storing {
  readonly client: Client;
  readonly budget: Budget;
  readonly key: string;
  readonly content: Readable;
  readonly size: number;
  readonly partBytes: number;
  readonly hasChecksums: boolean;
  /** Of the object. */
  readonly headers: Readonly<Record<string, string>>;
  /** Under which the object is made; otherwise the store answers 412. */
  readonly condition: Readonly<Record<string, string>>;
}

/** `exists`: there is an object with this key, or should be; perhaps it is this one. */
type Result = 'stored' | 'exists';

/** S3 has no more in one object. */
const mostParts = 10_000;

/** Rejects with ContentError or StorageError; then nothing is left, as far as the store answers. */
export async function store(storing: Storing): Promise<Result> {
  const { content, size, budget, hasChecksums, partBytes } = storing;
  const source = new Source(content, size);
  const parts = new Parts(source, budget, hasChecksums);
  try {
    if (size > partBytes) return await inParts(storing, parts, Math.max(partBytes, Math.ceil(size / mostParts)));
    return size === 0 ? await empty(storing, source) : await atOnce(storing, parts);
  } finally {
    parts.end();
  }
}

async function empty({ client, key, headers, condition }: Storing, source: Source): Promise<Result> {
  await source.end();
  const content = inMemory([], 0);
  const all = { ...headers, ...condition };
  return resultOf(
    await client.ask({ method: 'PUT', key, headers: all, body: { content, isStream: false }, expected: [412] }),
  );
}

async function atOnce(storing: Storing, parts: Parts): Promise<Result> {
  const { client, key, headers, condition, size } = storing;
  const part = (await parts.next(size, () => true))!;
  try {
    return resultOf(
      await client.ask({
        method: 'PUT',
        key,
        ...sent(storing, part, size, { ...headers, ...condition }),
        expected: [412],
      }),
    );
  } finally {
    part.release();
  }
}

/** 404: of a completion whose answer was lost; or somebody has removed the parts. */
const resultOf = ({ status }: { readonly status: number }): Result =>
  status === 412 || status === 404 ? 'exists' : 'stored';

/** The body of a request, with its checksum in a header or a trailer. */
function sent({ hasChecksums }: Storing, part: Part, length: number, headers: Readonly<Record<string, string>>) {
  if (!hasChecksums) return { headers, body: part };
  if (part.isStream) return { headers: { ...headers, ...framedHeaders(length) }, body: part, payload: framedPayload };
  return { headers: { ...headers, 'x-amz-checksum-crc32': part.crc() }, body: part };
}

interface Done {
  readonly etag: string;
  readonly crc: string;
}

async function inParts(storing: Storing, parts: Parts, partBytes: number): Promise<Result> {
  const { client, key, size, headers, condition, hasChecksums } = storing;
  const count = Math.ceil(size / partBytes);
  const lengthOf = (at: number) => (at === count - 1 ? size - at * partBytes : partBytes);
  // A content that is too short for one part costs no request.
  const head = (await parts.next(lengthOf(0), () => true))!;
  const begun = await client
    .ask({
      method: 'POST',
      key,
      query: { uploads: '' },
      headers: {
        ...headers,
        ...(hasChecksums && { 'x-amz-checksum-algorithm': 'CRC32', 'x-amz-checksum-type': 'FULL_OBJECT' }),
      },
    })
    .catch((error: unknown) => {
      head.release();
      throw error;
    });
  const upload = textOf(parseAnswer(begun.text) ?? { name: '', text: '', children: [] }, 'UploadId');
  if (upload === '') throw new StorageError('corrupt', `${client.where}: it does not begin an upload in parts`);
  const cancel = new AbortController();
  const done: Done[] = [];
  let isIdle = true;
  let sending: Promise<void> = Promise.resolve();
  let next: Part | undefined = head;
  const send = async (part: Part, at: number): Promise<void> => {
    isIdle = false;
    try {
      const { headers: answered } = await client.ask({
        method: 'PUT',
        key,
        query: { partNumber: String(at + 1), uploadId: upload },
        signal: cancel.signal,
        ...sent(storing, part, lengthOf(at), {}),
      });
      done[at] = { etag: answered.etag ?? '', crc: part.crc() };
    } finally {
      isIdle = true;
      part.release();
    }
  };
  try {
    for (let at = 0; at < count; ) {
      sending = send(next!, at++);
      next = undefined;
      sending.catch(() => {}); // awaited below
      if (at < count)
        next = await first(
          parts.next(lengthOf(at), () => isIdle),
          sending,
        );
      await sending;
      // The memory is spent, and this upload has nothing else to wait for.
      if (at < count) next ??= await parts.next(lengthOf(at), () => true);
    }
    const result = resultOf(await complete(storing, upload, done, condition));
    if (result === 'exists') await abandon(client, key, upload);
    return result;
  } catch (error) {
    next?.release();
    cancel.abort();
    await sending.catch(() => {});
    await abandon(client, key, upload);
    throw error;
  }
}

/** The result of `reading`, unless `sending` fails before. */
function first<R>(reading: Promise<R>, sending: Promise<void>): Promise<R> {
  return new Promise((resolve, reject) => {
    reading.then(resolve, reject);
    sending.catch(reject);
  });
}

function complete(
  { client, key, hasChecksums }: Storing,
  upload: string,
  done: readonly Done[],
  condition: Readonly<Record<string, string>>,
) {
  const list = done.map(({ etag, crc }, at) => {
    const checksum = hasChecksums ? `<ChecksumCRC32>${crc}</ChecksumCRC32>` : '';
    return `<Part><PartNumber>${at + 1}</PartNumber><ETag>${escaped(etag)}</ETag>${checksum}</Part>`;
  });
  return client.ask({
    method: 'POST',
    key,
    query: { uploadId: upload },
    headers: condition,
    text: `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${list.join('')}</CompleteMultipartUpload>`,
    // 404: an earlier attempt, whose answer was lost, has completed it.
    expected: [412, 404],
  });
}

/** What is left if this fails too is for `tidy`. */
async function abandon(client: Client, key: string, upload: string): Promise<void> {
  await client.ask({ method: 'DELETE', key, query: { uploadId: upload }, expected: [404] }).catch(() => {});
}
