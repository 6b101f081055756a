/** The other members: a link to each, and which version of the view each has announced to be at. */
import { keyOf, type NodeName } from './frames.js';
import { Link, type LinkParts } from './link.js';
import type { Parcel } from './parcel.js';
import type { Member, View } from './view.js';

/** Refusals in a row after which they are reported: a peer that has not read the latest view refuses a few times. */
const patience = 8;

export type PeersParts = Omit<LinkParts, 'peer' | 'broken' | 'refused' | 'gone'> & {
  /** A peer refuses this node: their views differ. */
  refused(): void;
  /** Nobody listens at the address of a member any more. */
  gone(id: string): void;
  warn(message: string, error?: unknown): void;
};

export class Peers {
  readonly #parts: PeersParts;
  readonly #links = new Map<string, Link>();
  /** The version that each peer has announced. */
  readonly #at = new Map<string, number>();
  #announced = 0;

  constructor(parts: PeersParts) {
    this.#parts = parts;
  }

  get links(): Iterable<Link> {
    return this.#links.values();
  }

  link(peer: NodeName): Link | undefined {
    return this.#links.get(keyOf(peer));
  }

  /** The number of unconfirmed frames. */
  get unconfirmed(): number {
    let frames = 0;
    for (const link of this.#links.values()) frames += link.unconfirmed.frames;
    return frames;
  }

  /** Opens links to new members. */
  connect({ members }: View): void {
    for (const member of members)
      if (member.id !== this.#parts.self.id && !this.#links.has(keyOf(member)))
        this.#links.set(keyOf(member), this.#newLink(member));
  }

  #newLink(peer: Member): Link {
    const link = new Link({
      ...this.#parts,
      peer,
      broken: (error) => this.#parts.warn(`node ${peer.id} violated the protocol`, error),
      refused: (reason, times) => {
        if (times === patience) this.#parts.warn(`a link is refused again and again: ${reason}`);
        this.#parts.refused();
      },
      gone: () => this.#parts.gone(peer.id),
    });
    if (this.#announced > 0) link.at(this.#announced);
    return link;
  }

  /** Closes the links to nodes that are no longer members. Returns them with what they had not confirmed. */
  disconnect(isMember: (node: NodeName) => boolean): readonly (readonly [Link, readonly Parcel[]])[] {
    const gone = [...this.#links].filter(([, { peer }]) => !isMember(peer));
    return gone.map(([key, link]) => {
      this.#links.delete(key);
      this.#at.delete(key);
      return [link, link.close()] as const;
    });
  }

  /** Announces the version of the view to all members. */
  announceView(version: number): void {
    for (const link of this.#links.values()) link.announceView(version);
  }

  /** Announces to all members that this node is at a version. Returns false if it has done so before. */
  announceAt(version: number): boolean {
    if (this.#announced >= version) return false;
    this.#announced = version;
    for (const link of this.#links.values()) link.at(version);
    return true;
  }

  /** A peer has announced that it is at a version. */
  noteAt(node: NodeName, version: number): void {
    const key = keyOf(node);
    this.#at.set(key, Math.max(this.#at.get(key) ?? 0, version));
  }

  /** The lowest version that all members, and this node, have announced to be at. */
  leastAt({ members }: View): number {
    let least = this.#announced;
    for (const member of members)
      if (member.id !== this.#parts.self.id) least = Math.min(least, this.#at.get(keyOf(member)) ?? 0);
    return least;
  }

  /** Resolves when everything sent before is confirmed. */
  async allConfirmed(): Promise<void> {
    await Promise.all([...this.#links.values()].map((link) => link.allConfirmed()));
  }

  /** Everything unconfirmed fails with 'closed'. */
  close(): void {
    for (const link of this.#links.values()) for (const parcel of link.close()) parcel.fail('closed');
    this.#links.clear();
  }
}
