/** Evaluates a LogFilter, for drivers and for entries in memory. */
import type { LogEntry, LogFilter, LogOptions } from './contract.js';
import { compare } from './order.js';
import { words } from './words.js';

/** A bound of a range of ids. */
export interface Bound {
  readonly id: string;
  readonly inclusive: boolean;
}

/** Returns the range of ids given by `from`, `to`, `after` and `before` together. */
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

/** Returns a predicate for a filter without its range and its `ids`; `text` is the log's text function. */
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

/** Returns the searchable words of a value. */
export function wordsOf(value: string, text: LogOptions['text']): Set<string> {
  try {
    return words(text?.(value) ?? '');
  } catch {
    return new Set(); // an unreadable value must not make the search fail
  }
}
