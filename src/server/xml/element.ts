/**
 * Elements as module authors know them (ltx's `Element`), how they are built, and how they are written.
 * XML is never glued from strings: `el()` builds, `serialize()` escapes, once.
 */
import { Element } from 'ltx';

export { Element };

export type Attributes = Readonly<Record<string, string | undefined>>;
export type Child = Element | string | undefined;

/** `el('fin', { xmlns: NS.mam, complete: 'true' }, child, …)`; undefined attributes and children are left out. */
export function el(name: string, attributes?: Attributes | null, ...children: Child[]): Element {
  const element = new Element(name);
  for (const key in attributes) {
    const value = attributes[key];
    if (value !== undefined) element.attrs[key] = value;
  }
  for (const child of children) {
    if (child === undefined) continue;
    if (typeof child === 'string') element.t(child);
    else element.cnode(child);
  }
  return element;
}

/**
 * Writes an element. An element without an `xmlns` of its own takes `inherited`, the namespace in force around it.
 */
export function serialize(element: Element): string {
  return element.toString();
}
