/**
 * Slots, by which addresses are distributed over nodes. Like the format of frames, the hash is part of the protocol:
 * all nodes of a cluster must agree on it.
 */

export const slotCount = 4096;

/**
 * The slot of a bare address. FNV-1a with 32 bits over its UTF-16 code units, one step each, folded to 12 bits:
 * `h = 2166136261; for each unit: h = (h xor unit) * 16777619 mod 2^32; slot = (h xor h >>> 12 xor h >>> 24) mod 4096`.
 */
export function slotOf(bare: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < bare.length; index++) hash = Math.imul(hash ^ bare.charCodeAt(index), 0x01000193);
  return (hash ^ (hash >>> 12) ^ (hash >>> 24)) & (slotCount - 1);
}

/** The slot of a job that only one node of the cluster runs. */
export const slotOfJob = (name: string): number => slotOf(`job:${name}`);
