/** Names of the stores' tables, readable in the SQLite shell: `log.archive`, `log-owners.archive`. */
import type { Shape, StoreName } from '../contract.js';

/** Returns a table name quoted for SQL. `part` selects an additional table or an index of the store. */
export function tableOf(shape: Shape, name: string, part?: string): string {
  return `"${nameOf(shape, name, part).replaceAll('"', '""')}"`;
}

/** Returns the name in sqlite_schema. SQLite names ignore case and end at a NUL: both are escaped with `^`. */
export function nameOf(shape: Shape, name: string, part?: string): string {
  const escaped = name.replace(/[A-Z^\0]/g, (character) => `^${character === '\0' ? '0' : character.toLowerCase()}`);
  return `${shape}${part === undefined ? '' : `-${part}`}.${escaped.replaceAll('^^', '^-')}`;
}

/** Returns the store whose entries are in a table, or undefined. */
export function storeOf(table: string): StoreName | undefined {
  const [, shape, escaped] = /^(document|map|log)\.(.*)$/s.exec(table) ?? [];
  if (shape === undefined || escaped === undefined) return undefined;
  const name = escaped.replace(/\^(.)/gs, (_, letter: string) => letters[letter] ?? letter.toUpperCase());
  return { shape: shape as Shape, name };
}

const letters: Readonly<Record<string, string>> = { '0': '\0', '-': '^' };
