/** What a node does before it joins, and for nodes that want to join later. */
import { keyOf, protocol } from './frames.js';
import { answerProbes, checkMember, type Facts } from './probe.js';
import type { View } from './view.js';
import type { Network } from './wire.js';

export interface DoorParts {
  /** The name of this node. */
  readonly node: string;
  readonly address: string;
  readonly network: Network;
  /** Version of the program. */
  readonly version: string;
  /** What has to be alike at all nodes, by the name of its setting. */
  readonly settings: Readonly<Record<string, string>>;
  readonly log: { warn(message: string): void };
}

export class Door {
  readonly #parts: DoorParts;
  readonly #checked = new Set<string>();
  readonly #stop: () => void;
  /** The id of the cluster; empty before there is a view. */
  cluster = '';

  constructor(parts: DoorParts) {
    this.#parts = parts;
    this.#stop = answerProbes(parts.network, parts.address, () => this.#facts);
  }

  /** Compares this node with the members that it has not been compared with. Rejects with JoinError. */
  async check(view: View): Promise<void> {
    const { network, address, log } = this.#parts;
    this.cluster = view.cluster;
    const parts = { network, address, facts: this.#facts, view, warn: (message: string) => log.warn(message) };
    await Promise.all(
      view.members.map(async (member) => {
        if (this.#checked.has(keyOf(member))) return;
        await checkMember(member, parts);
        this.#checked.add(keyOf(member));
      }),
    );
  }

  /** Answers nobody any more. */
  close(): void {
    this.#stop();
  }

  get #facts(): Facts {
    const { node, version, settings } = this.#parts;
    return { protocol, node, cluster: this.cluster, version, settings };
  }
}
