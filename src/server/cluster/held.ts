/** Parcels for slots that are moving, in order, until their new home is known and ready. Bounded by bytes. */
import type { Parcel } from './parcel.js';

export class HeldParcels {
  readonly #mostBytes: number;
  readonly #bySlot = new Map<number, Parcel[]>();
  #bytes = 0;

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  get size(): number {
    let size = 0;
    for (const parcels of this.#bySlot.values()) size += parcels.length;
    return size;
  }

  has(slot: number): boolean {
    return this.#bySlot.has(slot);
  }

  /** The parcel fails with 'full' if there is no room. */
  add(parcel: Parcel): void {
    if (this.#bytes >= this.#mostBytes) {
      parcel.fail('full');
      return;
    }
    this.#bytes += parcel.payload.length;
    const held = this.#bySlot.get(parcel.slot);
    if (held === undefined) this.#bySlot.set(parcel.slot, [parcel]);
    else held.push(parcel);
  }

  /** Queues parcels taken back from an old home before later ones for the same slot. */
  takeBack(parcels: readonly Parcel[]): void {
    const bySlot = new Map<number, Parcel[]>();
    for (const parcel of parcels) {
      const list = bySlot.get(parcel.slot);
      if (list === undefined) bySlot.set(parcel.slot, [parcel]);
      else list.push(parcel);
      this.#bytes += parcel.payload.length;
    }
    for (const [slot, list] of bySlot) this.#bySlot.set(slot, [...list, ...(this.#bySlot.get(slot) ?? [])]);
  }

  /** Passes on the parcels of all slots, except those that must stay. */
  release(mustStay: (slot: number) => boolean, passOn: (parcel: Parcel) => void): void {
    for (const [slot, parcels] of [...this.#bySlot]) {
      if (mustStay(slot)) continue;
      this.#bySlot.delete(slot);
      for (const parcel of parcels) {
        this.#bytes -= parcel.payload.length;
        passOn(parcel);
      }
    }
  }

  close(): void {
    for (const parcels of this.#bySlot.values()) for (const parcel of parcels) parcel.fail('closed');
    this.#bySlot.clear();
  }
}
