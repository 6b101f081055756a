/** HTTPS requests to services of others: bounded in size and time, without redirects. */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { type Agent, request } from 'node:https';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface RequestOptions {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly headers?: OutgoingHttpHeaders | undefined;
  readonly body?: Buffer | string | undefined;
  /** Without it, a connection of its own. */
  readonly agent?: Agent | undefined;
  /** Trusted authorities in PEM. Those of Node if undefined. */
  readonly ca?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** From the connection to the last byte, in ms. */
  readonly timeoutMs: number;
  /** A longer answer is an error, or its first bytes are enough. */
  readonly mostBytes: number;
  readonly isCut?: boolean | undefined;
}

/** Rejects if there is no complete answer. The answer may report an error. */
export function ask(url: string | URL, options: RequestOptions): Promise<Answer> {
  const { protocol, host } = new URL(url);
  if (protocol !== 'https:') return Promise.reject(new Error(`${url} is not an https address`));
  const { method, headers = {}, body, agent, ca, signal, timeoutMs, mostBytes, isCut = false } = options;
  const timeout = AbortSignal.timeout(timeoutMs);
  const until = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
    const sent = request(
      url,
      { method, headers: { ...headers, ...length }, signal: until, agent: agent ?? false, ...(ca && { ca: [...ca] }) },
      (answer) => {
        const chunks: Buffer[] = [];
        let size = 0;
        const done = () => {
          const read = Buffer.concat(chunks).subarray(0, mostBytes).toString('utf8');
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: read });
        };
        answer
          .on('data', (chunk: Buffer) => {
            size += chunk.length;
            if (size - chunk.length <= mostBytes) chunks.push(chunk);
            if (size <= mostBytes) return;
            if (isCut) done();
            answer.destroy(new Error(`the answer of ${url} has more than ${mostBytes} bytes`));
          })
          .once('end', done)
          .once('error', reject);
      },
    );
    sent.once('error', (error) =>
      reject(timeout.aborted ? new Error(`${host} did not answer within ${timeoutMs / 1000} seconds`) : error),
    );
    sent.end(body);
  });
}

/** RFC 9110 §10.2.3: the pause that an answer asks for, in ms. `now`: by the wall clock. */
export function retryAfter({ headers }: Pick<Answer, 'headers'>, now: number): number | undefined {
  const value = headers['retry-after']?.trim();
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  // Date.parse takes much else for a date.
  const at = value.endsWith(' GMT') ? Date.parse(value) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}
