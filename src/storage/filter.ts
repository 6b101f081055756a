/** What LogFilter means, for drivers and the parts of drivers that hold entries in their hands. */
import type { LogEntry, LogFilter, LogOptions } from './contract.js';
import { compare } from './order.js';
import { words } from './words.js';

/** An end of a range of ids. */
export interface Bound {
  readonly id: string;
  readonly inclusive: boolean;
}

/** The range of ids that `from`, `to`, `after` and `before` leave together. */
export function rangeOf({ from, to, after, before }: LogFilter): { low: Bound | undefined; high: Bound | undefined } {
  const isAfterHigher = after !== undefined && (from === undefined || compare(after, from) >= 0);
  const isBeforeLower = before !== undefined && (to === undefined || compare(before, to) <= 0);
  return {
    low: isAfterHigher ? { id: after, inclusive: false } : bound(from),
    high: isBeforeLower ? { id: before, inclusive: false } : bound(to),
  };
}

function bound(id: string | undefined): Bound | undefined {
  return id === undefined ? undefined : { id, inclusive: true };
}

/** Whether an entry of a log with such texts passes all of a filter but its range and its `ids`. */
export function matches(filter: LogFilter, text: LogOptions['text']): (entry: LogEntry) => boolean {
  const wanted = filter.words === undefined ? undefined : words(filter.words);
  return (entry) => {
    if (filter.with !== undefined && entry.with !== filter.with) return false;
    if (filter.tag !== undefined && entry.tag !== filter.tag) return false;
    if (wanted === undefined) return true;
    if (wanted.size === 0) return false;
    const present = wordsOf(entry.value, text);
    return [...wanted].every((word) => present.has(word));
  };
}

/** What a search finds a value by. */
export function wordsOf(value: string, text: LogOptions['text']): Set<string> {
  try {
    return words(text?.(value) ?? '');
  } catch {
    return new Set(); // what cannot be read must not keep the rest from being found
  }
}
