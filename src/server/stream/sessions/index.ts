/** Sessions of clients: binding, resumption, ending, and snapshots for the next process. */

import type { Jid } from '../../address/jid.js';
import { Binding } from './binding.js';
import { Ending } from './ending.js';
import { Moving } from './moving.js';
import type { SessionsParts } from './parts.js';
import { Resuming } from './resuming.js';
import { Snapshots } from './snapshots.js';

export class Sessions {
  readonly binding: Binding;
  readonly resuming: Resuming;
  readonly ending: Ending;
  readonly snapshots: Snapshots;
  readonly moving: Moving;
  readonly #parts: SessionsParts;

  constructor(parts: SessionsParts) {
    this.#parts = parts;
    this.ending = new Ending(parts);
    this.resuming = new Resuming(parts, this.ending);
    this.binding = new Binding(parts, this.ending, this.resuming);
    this.snapshots = new Snapshots(parts, this.ending, this.resuming);
    this.moving = new Moving(parts, this.ending, this.resuming);
  }

  /** Whether the home of an account is this node. */
  isHere(jid: Jid): boolean {
    return this.#parts.isHere(jid);
  }

  /** `Resumables.invalidating`. */
  get invalidating(): Promise<unknown> | undefined {
    return this.#parts.resumables.invalidating;
  }

  /** Stream management states, resumable ones, and snapshots still to be deleted. */
  get inspection(): { readonly managed: number; readonly resumable: number; readonly pendingDeletes: number } {
    const { size, pendingDeletes } = this.#parts.resumables;
    return { managed: this.ending.managed.size, resumable: size, pendingDeletes };
  }

  /** Sessions with a snapshot. */
  get snapshotCount(): number {
    return this.#parts.resumables.snapshots;
  }

  /** Resumable sessions without a connection. */
  get hibernating(): number {
    let count = 0;
    for (const sm of this.#parts.resumables.all()) if (!sm.connected) count++;
    return count;
  }
}
