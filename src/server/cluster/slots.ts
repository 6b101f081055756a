/**
 * Slots, by which addresses are distributed over nodes. Like the format of frames, the hash is part of the protocol:
 * all nodes of a cluster must agree on it.
 */

import { fnv1a } from '../../storage/hash.js';

export const slotCount = 4096;

/** The slot of a bare address: `fnv1a`, folded to 12 bits: `slot = (h xor h >>> 12 xor h >>> 24) mod 4096`. */
export function slotOf(bare: string): number {
  const hash = fnv1a(bare);
  return (hash ^ (hash >>> 12) ^ (hash >>> 24)) & (slotCount - 1);
}

/** The slot of a job that only one node of the cluster runs. */
export const slotOfJob = (name: string): number => slotOf(`job:${name}`);
