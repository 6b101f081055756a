/** Runs a program of the administrator: without a shell, for a limited time, with limited output. */
import { spawn } from 'node:child_process';
import { oneLine } from '../../plain.js';

/** Of its error output, in characters: the end, which usually says what failed. */
const kept = 500;

/**
 * Runs a program with arguments. Rejects if it fails or takes too long; the error has the end of its error output. A
 * program that is not done in time is killed, with the processes that it started.
 */
export function runHook(
  [program = '', ...args]: readonly string[],
  seconds: number,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
    let said = '';
    let ended: string | undefined;
    const end = (why: string) => {
      ended ??= why;
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch (error) {
        // It ended by itself in the meantime.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    };
    const abort = () => end('was stopped with the server');
    const timer = setTimeout(() => end(`was not done after ${seconds} seconds`), seconds * 1000);
    signal.addEventListener('abort', abort, { once: true });
    const over = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    };
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = `${said}${text}`.slice(-kept);
    });
    child.once('error', (error) => {
      over();
      reject(new Error(`${program} could not be started: ${error.message}`, { cause: error }));
    });
    // Not 'close': a process that it leaves behind may keep its output open.
    child.once('exit', (code, killedBy) => {
      over();
      child.stderr.destroy();
      if (code === 0 && ended === undefined) {
        resolve();
        return;
      }
      const why = ended ?? (code === null ? `was ended by ${killedBy}` : `failed with status ${code}`);
      const detail = oneLine(said.trim().replace(/\s+/g, ' '));
      reject(new Error(`${program} ${why}${detail === '' ? '' : `: ${detail}`}`));
    });
    if (signal.aborted) abort();
  });
}
