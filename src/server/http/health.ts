/** What load balancers and supervisors ask: whether the process lives, and whether it should get new clients. */
import type { HttpAnswer } from '../module/http.js';

/** Returns undefined for other paths. `isReady`: the server has started, and does not stop or hand over its accounts. */
export function healthAnswer(method: string | undefined, path: string, isReady: () => boolean): HttpAnswer | undefined {
  if (method !== 'GET' && method !== 'HEAD') return undefined;
  if (path === '/healthz') return answer(200, 'ok');
  if (path === '/readyz') return isReady() ? answer(200, 'ready') : answer(503, 'not ready');
  return undefined;
}

const answer = (status: number, text: string): HttpAnswer => ({
  status,
  headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' },
  body: `${text}\n`,
});
