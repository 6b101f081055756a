/** HTTPS requests to an authority: bounded in size and time, without redirects. */
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface RequestOptions {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Trusted authorities in PEM. Those of Node if undefined. */
  readonly ca?: readonly string[] | undefined;
  readonly signal: AbortSignal;
}

/** Certificate chains are the longest answers. */
const maxBytes = 2 ** 20;
const timeout = 30_000;

/** Rejects if there is no complete answer. The answer may report an error. */
export function ask(url: string, { method, headers = {}, body, ca, signal }: RequestOptions): Promise<Answer> {
  if (!url.startsWith('https://')) return Promise.reject(new Error(`${url} is not an https address`));
  return new Promise((resolve, reject) => {
    const until = AbortSignal.any([signal, AbortSignal.timeout(timeout)]);
    const sent = request(
      url,
      { method, headers, signal: until, agent: false, ...(ca && { ca: [...ca] }) },
      (answer) => {
        const chunks: Buffer[] = [];
        let size = 0;
        answer.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > maxBytes) answer.destroy(new Error(`the answer of ${url} has more than ${maxBytes} bytes`));
          else chunks.push(chunk);
        });
        answer.once('error', reject);
        answer.once('end', () =>
          resolve({
            status: answer.statusCode ?? 0,
            headers: answer.headers,
            body: Buffer.concat(chunks).toString('utf8'),
          }),
        );
      },
    );
    sent.once('error', (error) =>
      reject(
        until.aborted && !signal.aborted
          ? new Error(`${new URL(url).host} did not answer within ${timeout / 1000} seconds`)
          : error,
      ),
    );
    sent.end(body);
  });
}
