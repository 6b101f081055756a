/** XEP-0248: the graph of collections and their nodes. It is acyclic, and bounded in depth and width. */

/** Nodes are identified by name; an unknown node has neither parents nor children. */
export interface Graph {
  parents(node: string): Iterable<string>;
  children(node: string): Iterable<string>;
}

/** Maximum number of nodes on a path from a collection down to a leaf. */
export const longestChain = 10;
/** Maximum number of collections that directly contain one node. */
export const mostParents = 10;
/** Maximum number of collections above a node whose subscribers are notified, nearest first. */
const mostAbove = 100;

/** The collections above a node with their distance; direct parents have distance 1. */
export function collectionsAbove(graph: Pick<Graph, 'parents'>, parents: Iterable<string>): Map<string, number> {
  const found = new Map<string, number>();
  let level: Iterable<string> = parents;
  for (let distance = 1; distance <= longestChain; distance++) {
    const next: string[] = [];
    for (const name of level) {
      if (found.has(name)) continue;
      if (found.size >= mostAbove) return found;
      found.set(name, distance);
      next.push(...graph.parents(name));
    }
    if (next.length === 0) break;
    level = next;
  }
  return found;
}

/** Whether a node can be added to a collection without a cycle or a path that is too long. */
export function canContain(graph: Graph, parent: string, child: string): boolean {
  if (parent === child || reaches(parent, child, (name) => graph.parents(name))) return false;
  const above = levels(parent, (name) => graph.parents(name));
  const below = levels(child, (name) => graph.children(name));
  return above + below <= longestChain;
}

function reaches(from: string, to: string, next: (name: string) => Iterable<string>): boolean {
  const seen = new Set([from]);
  for (const name of seen) {
    for (const one of next(name)) {
      if (one === to) return true;
      seen.add(one);
    }
  }
  return false;
}

/** Nodes on the longest path from here; stops counting once it is too long. */
function levels(from: string, next: (name: string) => Iterable<string>): number {
  let level = new Set([from]);
  let count = 0;
  while (level.size > 0 && count <= longestChain) {
    count++;
    const further = new Set<string>();
    for (const name of level) for (const one of next(name)) further.add(one);
    level = further;
  }
  return count;
}
