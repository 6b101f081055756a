/** Formats data for terminals. */
import type { UsageData } from './module/cli.js';
import { oneLine } from './plain.js';

/** Columns as wide as needed, two spaces apart. Every row is one line, whatever users chose for a cell. */
export function columns(rows: readonly (readonly string[])[], head?: readonly string[]): string {
  const all = (head === undefined ? rows : [head, ...rows]).map((row) => row.map(oneLine));
  const widths: number[] = [];
  for (const row of all)
    row.forEach((cell, index) => {
      widths[index] = Math.max(widths[index] ?? 0, cell.length);
    });
  return all
    .map((row) =>
      row
        .map((cell, index) => cell.padEnd(widths[index]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Lines "name  value"; empty values are omitted. */
export function facts(entries: readonly (readonly [string, string | undefined])[]): string {
  return columns(entries.flatMap(([name, value]) => (value === undefined || value === '' ? [] : [[name, value]])));
}

/** 200000 s: "2 days 7 hours". The two largest units. */
export function duration(seconds: number): string {
  const parts: string[] = [];
  let left = Math.floor(seconds);
  for (const [unit, size] of [
    ['day', 86_400],
    ['hour', 3600],
    ['minute', 60],
    ['second', 1],
  ] as const) {
    const amount = Math.floor(left / size);
    left -= amount * size;
    if (amount > 0) parts.push(count(amount, unit));
    else if (parts.length > 0) break;
  }
  return parts.length === 0 ? '0 seconds' : parts.slice(0, 2).join(' ');
}

/** "1 session", "3 sessions". */
export function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}

export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

/** A time from ISO text, to the second, with a space: "2025-01-31 17:05:00 UTC". */
export function time(iso: string): string {
  return `${iso.slice(0, 19).replace('T', ' ')} UTC`;
}

/** Indented by two spaces and wrapped at `width`. */
export function paragraph(text: string, width = 78, margin = '  '): string {
  const lines: string[] = [];
  let line = margin;
  for (const word of text.split(' ')) {
    if (line.length + word.length > width && line !== margin) {
      lines.push(line.trimEnd());
      line = margin;
    }
    line += `${word} `;
  }
  return [...lines, line.trimEnd()].join('\n');
}

/** Storage use, for `facts`. */
export function usageFacts(usage: UsageData | null): [string, string][] {
  if (usage === null) return [];
  const of = (used: number, quota: number | null) => `${used} of ${quota ?? 'unlimited'} bytes`;
  const stores = Object.entries(usage.stores)
    .sort(([, one], [, other]) => other - one)
    .map(([name, bytes]) => `${name} ${bytes}`);
  return [
    ['Archive', of(usage.archive, usage.archiveQuota)],
    ['Other data', of(usage.data, usage.dataQuota)],
    ...(stores.length === 0 ? [] : [['By store', stores.join(', ')] as [string, string]]),
  ];
}
