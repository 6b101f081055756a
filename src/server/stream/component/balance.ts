/**
 * Which of several connections a sender's stanzas take: rendezvous hashing. All of a sender's go over one connection, each
 * connection has about as many senders, and when one comes or goes only the senders of that one move.
 */

export interface Place {
  /** A number of its own, however large. */
  readonly number: number;
}

/** The place of a sender; undefined if there is none. The same for the same sender and places. */
export function placeOf<P extends Place>(places: readonly P[], sender: string): P | undefined {
  if (places.length < 2) return places[0];
  const hash = hashOf(sender);
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

/** FNV-1a over UTF-16 units. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/** The finishing steps of MurmurHash3: each bit of the input changes about half of the output. */
function mixed(input: number): number {
  let hash = input;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
