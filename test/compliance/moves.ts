/** Addresses of a cluster: choosing some by the nodes where they live, and moving them. */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import type { Scene } from './dialogue.js';

/** Moves an address to a node, by its place in `stage.nodes`. */
export async function moves({ stage }: Scene, address: string, at: number): Promise<void> {
  const jid = Jid.parse(address);
  const from = stage.home(address).node!;
  const to = stage.nodes[at]!.node!;
  if (from !== to) await from.give([from.slotOf(jid)], to.name.id);
  while (!stage.nodes.every(({ node }) => node!.isAtRest)) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(stage.home(address) === stage.nodes[at]);
}

/** Names of accounts or rooms that live at the node, the first `count` of them. */
export function living({ stage }: Scene, at: number, count: number, domain = 'localhost'): string[] {
  const names: string[] = [];
  for (let n = 0; names.length < count; n++) {
    const address = `user${n}@${domain}`;
    if (stage.home(address) === stage.nodes[at]) names.push(address);
  }
  return names;
}
