/**
 * AWS Signature Version 4 (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html), in
 * headers and in links. The payload of a content is not part of the signature: its checksum and TLS protect it.
 */
import { createHash, createHmac } from 'node:crypto';

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretKey: string;
  readonly sessionToken?: string | undefined;
}

export interface Signed {
  readonly method: string;
  /** With its port, if that is not the usual one. */
  readonly host: string;
  /** Encoded (`encodePath`). */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
}

export interface Signing {
  readonly credentials: Credentials;
  readonly region: string;
  /** In milliseconds since 1970. */
  readonly now: number;
}

/** For contents whose hash is not known when the request begins. */
export const unsignedPayload = 'UNSIGNED-PAYLOAD';

export const sha256 = (text: string | Uint8Array): string => createHash('sha256').update(text).digest('hex');

/** RFC 3986: all but unreserved characters. */
export const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);

export const encodePath = (path: string): string => path.split('/').map(encode).join('/');

/** In the order that is signed. */
export const queryText = (query: Readonly<Record<string, string>>): string =>
  Object.entries(query)
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join('&');

/** Returns the headers to add to a request. `headers`: with lower-case names, all signed. */
export function signedHeaders(
  request: Signed,
  headers: Readonly<Record<string, string>>,
  payload: string,
  signing: Signing,
): Record<string, string> {
  const { sessionToken } = signing.credentials;
  const time = timestamp(signing.now);
  const added = {
    'x-amz-date': time,
    'x-amz-content-sha256': payload,
    ...(sessionToken !== undefined && { 'x-amz-security-token': sessionToken }),
  };
  const all: Record<string, string> = { ...headers, ...added, host: request.host };
  const names = Object.keys(all).sort();
  const { scope, signature } = sign(request, all, names, payload, time, signing);
  const { accessKeyId } = signing.credentials;
  const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope},SignedHeaders=${names.join(';')},Signature=${signature}`;
  return { ...added, authorization };
}

/** Returns the query of a link that anybody may use for some time. */
export function signedQuery(request: Signed, seconds: number, signing: Signing): string {
  const { accessKeyId, sessionToken } = signing.credentials;
  const time = timestamp(signing.now);
  const query = {
    ...request.query,
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${accessKeyId}/${scopeOf(time, signing.region)}`,
    'X-Amz-Date': time,
    'X-Amz-Expires': String(seconds),
    'X-Amz-SignedHeaders': 'host',
    ...(sessionToken !== undefined && { 'X-Amz-Security-Token': sessionToken }),
  };
  const { signature } = sign({ ...request, query }, { host: request.host }, ['host'], unsignedPayload, time, signing);
  return `${queryText(query)}&X-Amz-Signature=${signature}`;
}

const scopeOf = (time: string, region: string): string => `${time.slice(0, 8)}/${region}/s3/aws4_request`;

function sign(
  { method, path, query }: Signed,
  headers: Readonly<Record<string, string>>,
  names: readonly string[],
  payload: string,
  time: string,
  { credentials, region }: Signing,
): { readonly scope: string; readonly signature: string } {
  const lines = names.map((name) => `${name}:${headers[name]!.trim().replace(/ +/g, ' ')}\n`).join('');
  const canonical = [method, path, queryText(query), lines, names.join(';'), payload].join('\n');
  const scope = scopeOf(time, region);
  const keyOfDay = hmac(`AWS4${credentials.secretKey}`, time.slice(0, 8));
  const key = ['s3', 'aws4_request'].reduce(hmac, hmac(keyOfDay, region));
  const signature = hmac(key, ['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n')).toString('hex');
  return { scope, signature };
}

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();

/** `20261130T093000Z` */
const timestamp = (now: number): string => new Date(now).toISOString().replace(/[-:]|\.\d{3}/g, '');
