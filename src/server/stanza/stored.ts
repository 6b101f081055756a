/** Schemas of values in stored records, which are validated when they are read. */
import { z } from 'zod';
import { Jid, JidError } from '../address/jid.js';
import { type Element, serialize } from '../xml/element.js';
import { readElement, XmlError } from '../xml/reader.js';
import { NS } from './ns.js';
import { Stanza } from './stanza.js';

/** An address. */
export const jid = z.string().refine((text) => Jid.tryParse(text) !== undefined);

/** An address of an account, a room or a host. */
export const bareJid = z.string().refine((text) => Jid.tryParse(text)?.resource === undefined && text !== '');

/** A well-formed element. */
export const elementXml = z.string().refine(isElement);

/** A stanza as written by `Stanza.toXml`. */
export const stanzaXml = z.string().refine((xml) => stanzaOf(xml) !== undefined);

/** An address, converted between its stored form and `Jid`. */
export const storedJid = z.codec(
  jid,
  z.custom<Jid>((value) => value instanceof Jid),
  { decode: (text) => Jid.parse(text), encode: ({ full }) => full },
);

/** A stanza, converted between its stored form and `Stanza`. */
export const storedStanza = z.codec(
  stanzaXml,
  z.custom<Stanza>((value) => value instanceof Stanza),
  { decode: (xml) => Stanza.parse(xml), encode: (stanza) => stanza.toXml(NS.client) },
);

/** A stanza that was routed and so has a sender. */
export const sentXml = z.string().refine((xml) => stanzaOf(xml)?.from !== undefined);

/** Ms since 1970, or a count. */
export const whole = z.number().int().nonnegative();

/** Returns the validator of a store. Unknown fields are allowed: a later version may have written them. */
export function checkOf(value: z.ZodType, key?: z.ZodType): (value: unknown, key: string) => boolean {
  return (read, under) => value.safeParse(read).success && (key === undefined || key.safeParse(under).success);
}

function isElement(xml: string): boolean {
  try {
    readElement(xml);
    return true;
  } catch (error) {
    if (error instanceof XmlError) return false;
    throw error;
  }
}

/** The stanza of an element from a file, in the namespace of clients. Returns undefined if it is not valid. */
export const stanzaFrom = (element: Element): Stanza | undefined => {
  element.attrs.xmlns = NS.client;
  return stanzaOf(serialize(element));
};

function stanzaOf(xml: string): Stanza | undefined {
  try {
    return Stanza.parse(xml);
  } catch (error) {
    if (error instanceof XmlError || error instanceof JidError || error instanceof TypeError) return undefined;
    throw error;
  }
}

/** Returns a schema for part of a configuration whose values have the types of the defaults. */
export function alike<T extends object>(defaults: T): z.ZodType<T> {
  const wanted = Object.entries(defaults);
  return z.custom<T>(
    (read) =>
      kindOf(read) === 'object' &&
      read !== null &&
      wanted.every(([name, usual]) => {
        const value = (read as Readonly<Record<string, unknown>>)[name];
        return value === undefined || kindOf(value) === kindOf(usual) || (isBound(value) && isBound(usual));
      }),
  );
}

/** A number, or one of the values that mean "no limit". */
const isBound = (value: unknown): boolean => typeof value === 'number' || value === null || value === 'max';

function kindOf(value: unknown): string {
  return Array.isArray(value) ? `list:${value.every((item) => typeof item === 'string')}` : typeof value;
}
