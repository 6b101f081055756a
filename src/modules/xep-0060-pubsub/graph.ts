/** XEP-0248: the graph that collections make of nodes. It has no cycles, and is neither deep nor wide. */

/** Nodes are named; a node that does not exist has neither parents nor children. */
export interface Graph {
  parents(node: string): Iterable<string>;
  children(node: string): Iterable<string>;
}

/** Nodes in the longest chain from a collection down to a leaf. */
export const longestChain = 10;
/** Collections that one node is in. */
export const mostParents = 10;
/** Collections above a node that are told of what happens there, the nearest first. */
const mostAbove = 100;

/** The collections above a node with their distance: 1 for those that it is in itself. */
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

/** Whether a node can become a child of a collection: it is not above it, and no chain gets too long. */
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

/** Nodes in the longest chain from here on; what is longer than allowed is not counted to its end. */
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
