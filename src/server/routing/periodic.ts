/** Periodic work of modules. */
import type { Hook } from '../module/index.js';

/** Calls the handler every `ms`, never overlapping, if `isOurs` assigns the job to this node. Returns the timer. */
export function periodically(
  { ms, of, handler }: Extract<Hook, { kind: 'every' }>,
  isOurs: (job: string) => boolean,
  failed: (error: unknown) => void,
): NodeJS.Timeout {
  let running = false;
  const run = async () => handler();
  const done = () => {
    running = false;
  };
  const timer = setInterval(() => {
    if (running || (of !== 'node' && !isOurs(of.job))) return;
    running = true;
    run().catch(failed).then(done, done);
  }, ms);
  return timer.unref();
}
