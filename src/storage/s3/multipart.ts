/** Uploads in parts that nobody completed. */
import { StorageError } from '../contract.js';
import type { Client } from './client.js';
import { Refused } from './errors.js';
import { type Answer, childrenOf, parseAnswer, textOf } from './xml.js';

export interface Unfinished {
  readonly key: string;
  readonly upload: string;
}

const mostPages = 100;

/** Those below a prefix that have not grown since `before`, in milliseconds since 1970. */
export async function* unfinished(client: Client, prefix: string, before: number): AsyncGenerator<Unfinished> {
  let found = 0;
  for await (const one of uploads(client, prefix)) {
    found++;
    if (await isOld(client, one, before)) yield one;
  }
  if (found > 0) return;
  // MinIO takes a prefix for the name of an object.
  try {
    for await (const one of uploads(client, ''))
      if (one.key.startsWith(prefix) && (await isOld(client, one, before))) yield one;
  } catch (error) {
    // A key may be allowed to see its own prefix alone.
    if (!(error instanceof StorageError && error.cause instanceof Refused && error.cause.status === 403)) throw error;
  }
}

interface Begun extends Unfinished {
  readonly at: number;
}

async function* uploads(client: Client, prefix: string): AsyncGenerator<Begun> {
  let markers: Record<string, string> = {};
  for (let pages = 0; pages < mostPages; pages++) {
    const { text } = await client.ask({
      method: 'GET',
      query: { uploads: '', ...(prefix !== '' && { prefix }), ...markers },
    });
    const page = parsed(client, text, 'ListMultipartUploadsResult');
    for (const one of childrenOf(page, 'Upload'))
      yield { key: textOf(one, 'Key'), upload: textOf(one, 'UploadId'), at: Date.parse(textOf(one, 'Initiated')) };
    const next = {
      'key-marker': textOf(page, 'NextKeyMarker'),
      'upload-id-marker': textOf(page, 'NextUploadIdMarker'),
    };
    if (textOf(page, 'IsTruncated') !== 'true') return;
    if (JSON.stringify(next) === JSON.stringify(markers)) return;
    markers = next;
  }
}

async function isOld(client: Client, { key, upload, at }: Begun, before: number): Promise<boolean> {
  if (!(at < before)) return false;
  const { status, text } = await client.ask({ method: 'GET', key, query: { uploadId: upload }, expected: [404] });
  if (status === 404) return false;
  const parts = childrenOf(parsed(client, text, 'ListPartsResult'), 'Part');
  return parts.every((part) => !(Date.parse(textOf(part, 'LastModified')) >= before));
}

function parsed(client: Client, text: string, name: string): Answer {
  const answer = parseAnswer(text);
  if (answer?.name !== name) throw new StorageError('corrupt', `${client.where}: its list of uploads cannot be read`);
  return answer;
}
