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

export function findRoute(routes: Routes, path: string): Found | undefined {
  const own = routes.get(path);
  if (own !== undefined) return { path, byMethod: own };
  if (!path.startsWith('/')) return undefined; // OPTIONS *
  // No hook is deeper than the deepest one: limits the work for a path of a thousand parts.
  let deepest = 0;
  for (const known of routes.keys()) deepest = Math.max(deepest, known.length);
  let above = path.slice(0, deepest + 1);
  while (above !== '') {
    above = above.slice(0, above.lastIndexOf('/'));
    const byMethod = new Map([...(routes.get(above === '' ? '/' : above) ?? [])].filter(([, { below }]) => below));
    if (byMethod.size > 0) return { path: above === '' ? '/' : above, byMethod };
  }
  return undefined;
}
