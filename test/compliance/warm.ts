/**
 * Calls of the program, many in one process, which has loaded the server's code once. Like a process of its own, a call
 * has ended only when it has left nothing open. A call that starts a server needs its own process (program.ts), and so
 * does one whose modules have changed since an earlier call.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { atEndOfFile } from '../endings.js';
import { dataIn, type Ended, type Home, program } from './program.js';

export interface Call {
  readonly argv: readonly string[];
  readonly input: string;
}

const idle: ChildProcess[] = [];
const all = new Set<ChildProcess>();
atEndOfFile(() => {
  for (const child of all) child.disconnect();
  all.clear();
  idle.length = 0;
});

function started(): ChildProcess {
  const child = fork(fileURLToPath(new URL('warm-process.js', import.meta.url)), {
    execArgv: ['--max-semi-space-size=32', '--expose-gc'],
    // what the server logs besides
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  all.add(child);
  return child;
}

/** Calls the program and waits for its end. `input`: on standard input. */
export async function warmWaxwing({ file }: Home, args: readonly string[], input = ''): Promise<Ended> {
  const child = idle.pop() ?? started();
  const settled = new AbortController();
  const { signal } = settled;
  child.send({ argv: [program, ...args, '--config', file], input } satisfies Call);
  const ended = await Promise.race([
    once(child, 'message', { signal }).then(([message]) => message as Ended),
    once(child, 'exit', { signal }).then(([code]) => {
      throw new Error(`${args.join(' ')} ended its process with ${code}`);
    }),
  ]).finally(() => settled.abort());
  idle.push(child);
  return ended;
}

/** The data that a command prints with --json; it must have worked. */
export async function dataOf(at: Home, args: readonly string[], input?: string): Promise<Record<string, unknown>> {
  return dataIn(await warmWaxwing(at, [...args, '--json'], input));
}

/** The code of an error that a command prints with --json, and its exit code. */
export async function errorOf(at: Home, args: readonly string[], input?: string): Promise<[string, number | null]> {
  const { code, out } = await warmWaxwing(at, [...args, '--json'], input);
  return [(JSON.parse(out) as { error: { code: string } }).error.code, code];
}
