import { refuseSize } from './errors.js';
import type { Element } from './tree.js';
import { escapeText, serialize } from './write.js';

/**
 * Serializes the content of an element so that its only outer dependency is `ns` as default namespace. Throws XmlError
 * if it exceeds `limit` bytes. Characters never outnumber bytes, so serializing stops early.
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
