/**
 * Finds the handler of a path: the hook of the path itself, else the nearest parent that also serves the paths below
 * it.
 */
import type { HttpMethod } from '../module/index.js';
import type { HttpRoute } from '../routing/hooks.js';

/** By path and method. */
export type Routes = ReadonlyMap<string, ReadonlyMap<HttpMethod, HttpRoute>>;

export interface Found {
  /** The path the hooks are registered for. */
  readonly path: string;
  readonly byMethod: ReadonlyMap<HttpMethod, HttpRoute>;
}

interface Table {
  readonly own: ReadonlyMap<string, Found>;
  /** Those of `own` that serve the paths below, with only the methods that do. */
  readonly above: ReadonlyMap<string, Found>;
  /** Length of the longest path in `above`: limits the work for a path of a thousand parts. */
  readonly longest: number;
}

/** Routes do not change once the server has started. */
const tables = new WeakMap<Routes, Table>();

function tableOf(routes: Routes): Table {
  const known = tables.get(routes);
  if (known !== undefined) return known;
  const own = new Map([...routes].map(([path, byMethod]): [string, Found] => [path, { path, byMethod }]));
  const above = new Map<string, Found>();
  for (const { path, byMethod } of own.values()) {
    const some = new Map([...byMethod].filter(([, { below }]) => below));
    if (some.size > 0) above.set(path, { path, byMethod: some });
  }
  const table = { own, above, longest: Math.max(0, ...[...above.keys()].map(({ length }) => length)) };
  tables.set(routes, table);
  return table;
}

export function findRoute(routes: Routes, path: string): Found | undefined {
  const { own, above, longest } = tableOf(routes);
  const exact = own.get(path);
  if (exact !== undefined || above.size === 0) return exact;
  if (!path.startsWith('/')) return undefined; // OPTIONS *
  for (let end = path.lastIndexOf('/', longest); end > 0; end = path.lastIndexOf('/', end - 1)) {
    const found = above.get(path.slice(0, end));
    if (found !== undefined) return found;
  }
  return above.get('/');
}
