/** Addresses at which clients get contents from the store itself, or from a network of caches in front of it. */
import type { BlobHeaders } from '../blobs.js';
import type { Client } from './client.js';
import { encodePath } from './sign.js';

export interface BlobLinks {
  /** How long a signed address can be used. */
  readonly seconds: number;
  /** Beginning of addresses that are not signed, with a slash at the end. */
  readonly base: string | undefined;
}

/** What the store cannot be told, such as `nosniff`, is missing: types that browsers run are none of these. */
export async function linkOf(
  client: Client,
  { seconds, base }: BlobLinks,
  object: string,
  { method, headers }: { readonly method: 'GET' | 'HEAD'; readonly headers: BlobHeaders },
): Promise<{ readonly url: string; readonly seconds: number | undefined }> {
  if (base !== undefined) return { url: `${base}${encodePath(object)}`, seconds: undefined };
  const query = {
    ...(headers.type !== undefined && { 'response-content-type': headers.type }),
    ...(headers.disposition !== undefined && { 'response-content-disposition': headers.disposition }),
  };
  return { url: client.link(method, object, query, seconds), seconds };
}
