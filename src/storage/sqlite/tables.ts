/** Names of the stores' tables, readable in SQLite's own shell: `log.archive`, `log-owners.archive`. */
import type { Shape, StoreName } from '../contract.js';

/** A name, quoted for SQL. `part` names a further table or an index of the store. */
export function tableOf(shape: Shape, name: string, part?: string): string {
  return `"${nameOf(shape, name, part).replaceAll('"', '""')}"`;
}

/** The name as sqlite_schema has it. Its names ignore case, and end at a NUL: both are written with a `^`. */
export function nameOf(shape: Shape, name: string, part?: string): string {
  const escaped = name.replace(/[A-Z^\0]/g, (character) => `^${character === '\0' ? '0' : character.toLowerCase()}`);
  return `${shape}${part === undefined ? '' : `-${part}`}.${escaped.replaceAll('^^', '^-')}`;
}

/** The store that a table holds the entries of. */
export function storeOf(table: string): StoreName | undefined {
  const [, shape, escaped] = /^(document|map|log)\.(.*)$/s.exec(table) ?? [];
  if (shape === undefined || escaped === undefined) return undefined;
  const name = escaped.replace(/\^(.)/gs, (_, letter: string) => letters[letter] ?? letter.toUpperCase());
  return { shape: shape as Shape, name };
}

const letters: Readonly<Record<string, string>> = { '0': '\0', '-': '^' };
