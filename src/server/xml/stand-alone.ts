import { refuseSize } from './errors.js';
import type { Element } from './tree.js';
import { escapeText, serialize } from './write.js';

/**
 * The content of an element, so written that it needs nothing but `ns` as its default namespace, in at most so many bytes.
 * Characters are never more than bytes, so they end the writing early.
 */
export function standAlone(element: Element, ns: string, limit: number): string {
  let content = '';
  for (const child of element.children) {
    if (typeof child === 'string') {
      content += escapeText(child);
      continue;
    }
    try {
      content += serialize(child, ns, limit - content.length);
    } catch (error) {
      if (error instanceof RangeError) refuseSize(limit);
      throw error;
    }
  }
  if (Buffer.byteLength(content) > limit) refuseSize(limit);
  return content;
}
