/**
 * Positions of keys and values in a TOML text, so that a finding can name its line. The text must be valid: smol-toml
 * has already parsed it.
 */
import { parse } from 'smol-toml';

export type KeyPath = readonly (string | number)[];

/** Both count from 1; columns count UTF-16 units. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

interface Node {
  /** Offset of the key, or of the table header. */
  key: number;
  /** Offset of the value; undefined for tables with a header. */
  value: number | undefined;
  readonly children: Map<string | number, Node>;
}

export type Locate = (path: KeyPath, what: 'key' | 'value') => Position | undefined;

/**
 * Returns a function that finds the position of a path, or of its nearest parent in the text; undefined if there is
 * none.
 */
export function locator(text: string): Locate {
  const root = scan(text);
  return (path, what) => {
    let node = root;
    for (const step of path) {
      const child = node.children.get(step);
      if (child === undefined) break;
      node = child;
    }
    if (node === root) return undefined;
    const offset = what === 'value' ? (node.value ?? node.key) : node.key;
    const before = text.slice(0, offset);
    return { line: before.split('\n').length, column: offset - before.lastIndexOf('\n') };
  };
}

function scan(text: string): Node {
  const root: Node = { key: 0, value: undefined, children: new Map() };
  let at = 0;
  let table = root;
  for (;;) {
    skipBlank();
    if (at >= text.length) return root;
    if (text[at] === '[') table = header();
    else assignment(table);
  }

  /** Reads `[a.b]` or `[[a.b]]` and returns the table that it opens. */
  function header(): Node {
    const start = at;
    const isList = text[at + 1] === '[';
    at += isList ? 2 : 1;
    const names = key();
    at += isList ? 2 : 1;
    let node = root;
    for (const { name, offset } of names) node = child(latest(node), name, offset);
    if (isList) return child(node, node.children.size, start);
    node.key = start;
    return node;
  }

  /** Returns the last element of an array of tables, or the node itself. */
  function latest(node: Node): Node {
    return node.children.get(node.children.size - 1) ?? node;
  }

  function assignment(parent: Node): void {
    let node = parent;
    for (const { name, offset } of key()) node = child(node, name, offset);
    at++; // the equals sign
    skipBlank();
    value(node);
  }

  /** Reads a dotted key and stops after it. */
  function key(): { readonly name: string; readonly offset: number }[] {
    const names: { name: string; offset: number }[] = [];
    for (;;) {
      skipBlank();
      const offset = at;
      if (text[at] === '"' || text[at] === "'") skipString();
      else while (/[A-Za-z0-9_-]/.test(text[at] ?? '')) at++;
      const written = text.slice(offset, at);
      names.push({ name: /^["']/.test(written) ? String(parse(`k=${written}`).k) : written, offset });
      skipBlank();
      if (text[at] !== '.') return names;
      at++;
    }
  }

  function value(node: Node): void {
    node.value = at;
    if (text[at] === '"' || text[at] === "'") skipString();
    else if (text[at] === '[') {
      at++;
      for (let index = 0; ; index++) {
        skipSeparators();
        if (text[at] === ']' || at >= text.length) break;
        value(child(node, index, at));
      }
      at++;
    } else if (text[at] === '{') {
      at++;
      for (;;) {
        skipSeparators();
        if (text[at] === '}' || at >= text.length) break;
        assignment(node);
      }
      at++;
    } else while (at < text.length && !/[,\]}#\n]/.test(text[at]!)) at++;
  }

  function skipString(): void {
    const quote = text[at]!;
    const isLong = text.startsWith(quote.repeat(3), at);
    const end = isLong ? quote.repeat(3) : quote;
    at += end.length;
    while (at < text.length && !text.startsWith(end, at)) at += quote === '"' && text[at] === '\\' ? 2 : 1;
    at += end.length;
    // a long string may end in up to two quotes of its own
    while (isLong && text[at] === quote) at++;
  }

  function skipBlank(): void {
    for (;;) {
      while (/[ \t\r\n]/.test(text[at] ?? '')) at++;
      if (text[at] !== '#') return;
      while (at < text.length && text[at] !== '\n') at++;
    }
  }

  function skipSeparators(): void {
    skipBlank();
    while (text[at] === ',') {
      at++;
      skipBlank();
    }
  }
}

function child(parent: Node, name: string | number, offset: number): Node {
  let node = parent.children.get(name);
  if (node === undefined) {
    node = { key: offset, value: undefined, children: new Map() };
    parent.children.set(name, node);
  }
  return node;
}
