/**
 * Protocol between a command and the running server: HTTP/1.1 with JSON over a Unix socket that only the server's user
 * can open.
 *
 * `POST /v1/user/add` with the parameters as a JSON object. The response is `{"result": …}` with 200, or `{"error":
 * {"code", "message"}}` with a status below. With `Accept: application/x-ndjson`, the response is a line `{"progress":
 * "text"}` for each progress report, `{"output": "text"}` for each piece of a long output, and one of the above at the end.
 */
import type { Failure } from './command.js';

export const linesType = 'application/x-ndjson';

export interface Refusal {
  readonly code: Failure | 'internal' | 'unknown-command';
  readonly message: string;
}

export type Answer = { readonly result: unknown } | { readonly error: Refusal };

export type Line = Answer | { readonly progress: string } | { readonly output: string };

export const statusCodes: Readonly<Record<Refusal['code'], number>> = {
  usage: 400,
  'not-found': 404,
  'unknown-command': 404,
  conflict: 409,
  configuration: 422,
  busy: 503,
  'not-running': 503,
  failed: 500,
  internal: 500,
};

export function pathOf(name: string): string {
  return `/v1/${name.replaceAll(' ', '/')}`;
}
