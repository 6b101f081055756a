/** XEP-0248: the graph of collections. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canContain, collectionsAbove, type Graph, longestChain } from '../../src/modules/xep-0060-pubsub/graph.js';

/** Links as `parent child`. */
function graphOf(...links: readonly string[]): Graph {
  const pairs = links.map((link) => link.split(' ') as [string, string]);
  return {
    parents: (node) => pairs.flatMap(([parent, child]) => (child === node ? parent : [])),
    children: (node) => pairs.flatMap(([parent, child]) => (parent === node ? child : [])),
  };
}

const chain = (length: number, prefix = 'n') =>
  Array.from({ length: length - 1 }, (_, index) => `${prefix}${index} ${prefix}${index + 1}`);

test('ancestors, with their shortest distance', () => {
  const graph = graphOf('a b', 'b c', 'a c', 'x a');
  assert.deepEqual([...collectionsAbove(graph, graph.parents('c'))].sort(), [
    ['a', 1],
    ['b', 1],
    ['x', 2],
  ]);
  assert.deepEqual([...collectionsAbove(graph, [])], []);
});

test('cycles of any length are refused', () => {
  const graph = graphOf('a b', 'b c', 'x c');
  assert.equal(canContain(graph, 'a', 'a'), false);
  assert.equal(canContain(graph, 'b', 'a'), false);
  assert.equal(canContain(graph, 'c', 'a'), false);
  assert.equal(canContain(graph, 'a', 'c'), true);
  assert.equal(canContain(graph, 'a', 'x'), true);
  assert.equal(canContain(graph, 'c', 'new'), true);
});

test('chains have a maximum length, wherever the new link is', () => {
  const graph = graphOf(...chain(longestChain), ...chain(4, 'm'));
  assert.equal(canContain(graph, `n${longestChain - 1}`, 'new'), false);
  assert.equal(canContain(graph, `n${longestChain - 2}`, 'new'), true);
  assert.equal(canContain(graph, 'new', 'n0'), false);
  assert.equal(canContain(graph, `n${longestChain - 5}`, 'm0'), true);
  assert.equal(canContain(graph, `n${longestChain - 4}`, 'm0'), false);
});

test('random links create neither cycles nor chains that are too long', () => {
  let seed = 248;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed % below;
  };
  for (let round = 0; round < 20; round++) {
    const links: string[] = [];
    for (let attempt = 0; attempt < 60; attempt++) {
      const [parent, child] = [`n${random(20)}`, `n${random(20)}`];
      if (canContain(graphOf(...links), parent, child)) links.push(`${parent} ${child}`);
    }
    const graph = graphOf(...links);
    const depth = (node: string, path: readonly string[] = []): number => {
      assert.ok(!path.includes(node), `a cycle: ${path.join(' ')} ${node}`);
      return 1 + Math.max(0, ...[...graph.children(node)].map((child) => depth(child, [...path, node])));
    };
    for (let node = 0; node < 20; node++) assert.ok(depth(`n${node}`) <= longestChain);
  }
});

test('a wide graph costs no more than its links', () => {
  const width = 200;
  const parents = new Map<string, string[]>();
  const children = new Map<string, string[]>();
  // Eight full layers: as many paths as there are atoms
  for (let layer = 1; layer < 8; layer++)
    for (let node = 0; node < width; node++)
      for (let above = 0; above < 10; above++) {
        const [child, parent] = [`${layer}/${node}`, `${layer - 1}/${(node + above) % width}`];
        parents.set(child, [...(parents.get(child) ?? []), parent]);
        children.set(parent, [...(children.get(parent) ?? []), child]);
      }
  let asked = 0;
  const ask = (links: ReadonlyMap<string, string[]>) => (node: string) => {
    asked++;
    return links.get(node) ?? [];
  };
  const graph: Graph = { parents: ask(parents), children: ask(children) };
  assert.equal(canContain(graph, '7/0', 'new'), true);
  assert.equal(canContain(graph, 'new', '0/0'), true);
  collectionsAbove(graph, graph.parents('7/0'));
  assert.ok(asked < 20 * width, String(asked));
});
