/**
 * FNV-1a over the UTF-16 code units of a text, one step each: 32 bits, unsigned. Quick, and no secret: whoever chooses the
 * texts can make them collide.
 *
 * `h = 2166136261; for each unit: h = (h xor unit) * 16777619 mod 2^32`
 */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}
