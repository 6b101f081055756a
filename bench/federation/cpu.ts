/** CPU time and memory of other processes, from /proc. */
import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks a second: USER_HZ of Linux on all common machines. */
const ticks = 100;

/** The values after the name, which may contain spaces: state, parent, … (proc(5)). */
function stat(pid: number | string): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** A process and those that it started. */
export function family(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      parents.set(Number(name), Number(stat(name)[1]));
    } catch {
      // It has ended since.
    }
  }
  const found = [pid];
  for (const one of found) for (const [child, parent] of parents) if (parent === one) found.push(child);
  return found;
}

/** User and system time so far in µs, with that of children that have ended. */
export function cpuOf(pids: readonly number[]): number {
  let sum = 0;
  for (const pid of pids) for (const value of stat(pid).slice(11, 15)) sum += (Number(value) * 1_000_000) / ticks;
  return sum;
}

/** Resident memory in bytes. */
export function residentOf(pids: readonly number[]): number {
  let sum = 0;
  for (const pid of pids)
    sum += 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  return sum;
}
