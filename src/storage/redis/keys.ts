/**
 * The keys, which are documented (docs/storage.md) so that other programs can read them:
 * `PREFIX:document:STORE:{OWNER}` and `PREFIX:map:STORE:{OWNER}`. The braces are a hash tag: in a Redis Cluster all data
 * of an owner is in one slot.
 */
import type { StoreName } from '../contract.js';

/** Shapes that the driver has. */
export type RedisShape = 'document' | 'map';

/** Which server the keys belong to, and how they are made. */
export const markerKey = (prefix: string): string => `${prefix}:keyspace`;

/** A set of the stores that may have data, each as `SHAPE NAME`. */
export const storesKey = (prefix: string): string => `${prefix}:stores`;

/** All keys of a store begin so. */
export const storePrefix = (prefix: string, shape: RedisShape, name: string): string =>
  `${prefix}:${shape}:${escaped(name)}:{`;

export const keyOf = (begin: string, owner: string): string => `${begin}${owner}}`;

export const ownerIn = (begin: string, key: string): string => key.slice(begin.length, -1);

/** A pattern of SCAN for the keys that begin so. */
export const patternOf = (begin: string): string => `${begin.replace(/[\\*?[\]^-]/g, '\\$&')}*`;

export const listed = ({ shape, name }: StoreName): string => `${shape} ${name}`;

export function unlisted(text: string): StoreName | undefined {
  const [shape, ...name] = text.split(' ');
  return shape === 'document' || shape === 'map' ? { shape, name: name.join(' ') } : undefined;
}

/** Where a name ends must be plain. */
const escaped = (name: string): string =>
  name.replace(/[%:{}]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
