/**
 * Slots: what addresses are dealt to nodes by. Part of what the nodes of a cluster agree on, as the form of frames is:
 * another hash is another protocol.
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

/** The slot of work that the whole cluster does once. */
export const slotOfJob = (name: string): number => slotOf(`job:${name}`);
