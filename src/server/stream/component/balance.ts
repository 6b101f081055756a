/**
 * Distributes senders among connections by rendezvous hashing: all stanzas of a sender take one connection, connections
 * get about equally many senders, and a new or closed connection moves only its own senders.
 */

import { fnv1a } from '../../../storage/hash.js';

export interface Place {
  /** A unique number. */
  readonly number: number;
}

/** The place of a sender, always the same for the same places. Returns undefined if there are none. */
export function placeOf<P extends Place>(places: readonly P[], sender: string): P | undefined {
  if (places.length < 2) return places[0];
  const hash = fnv1a(sender);
  let best: P | undefined;
  let highest = -1;
  for (const place of places) {
    const weight = mixed(hash ^ mixed(place.number));
    if (weight > highest) {
      highest = weight;
      best = place;
    }
  }
  return best;
}

/** The finalizer of MurmurHash3: each input bit changes about half of the output bits. */
function mixed(input: number): number {
  let hash = input;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
