/**
 * A node's part in its cluster: its epoch, the view, the links to the others, and what it acts for.
 *
 * A slot moves from one home to the next in these steps. Its old home stops it, finishes what it has begun, waits until all
 * that it sent is confirmed, and writes a view in which the slot is another's; or others fence it and write a view without
 * it. Whoever learns of that view takes back what the old home has not confirmed (an old home that lives says first that it
 * handles nothing more of it), sends it to the new home before anything newer, and then says that it is at that version.
 * The new home acts for the slot once all members have said so: nothing older can come any more.
 */
import { type Storage, StorageError } from '../../storage/contract.js';
import { monotonic } from '../clock.js';
import type { Jid } from '../stanza/jid.js';
import type { NodeName } from './frames.js';
import type { Away, Homes, SendOptions, Sent } from './homes.js';
import { Inbox, type Receiver } from './inbox.js';
import { Link } from './link.js';
import { Parcel, ParcelError } from './parcel.js';
import { Questions } from './questions.js';
import { slotCount, slotOf, slotOfJob } from './slots.js';
import { type Changed, deal, emptyView, type Member, type View, ViewStore, withMember, withoutMember } from './view.js';
import type { Network } from './wire.js';

const { setTimeout, setInterval } = globalThis;

export interface NodeOptions {
  /** The same at each start; no other node has it. */
  readonly id: string;
  /** Where the network finds it. */
  readonly address: string;
  /** Of the program. */
  readonly version: string;
  /** A handle of its own. */
  readonly storage: Storage;
  readonly network: Network;
  readonly receiver: Receiver;
  /** Bytes that may wait for one peer before those who can wait do. */
  readonly mostKept?: number | undefined;
  /** Questions that wait for an answer, at most. */
  readonly mostQuestions?: number | undefined;
  /** Ms without a connection to a member after which it is expelled; 0: never by itself. */
  readonly unreachableMs?: number | undefined;
  /** Nothing more is taken for these slots: what is in memory for them is written down and dropped. */
  leaving(slots: ReadonlySet<number>): Promise<void>;
  /** This node acts for these slots from now on. */
  gained(slots: ReadonlySet<number>): void;
  /** The others have shut this node out: nothing that it does counts any more. */
  expelled(): void;
  /** Needs somebody's attention, and fails nothing by itself. */
  warn(message: string, error?: unknown): void;
}

/** What this node has to do with a slot. */
const elsewhere = 0;
/** Its own by the view; others may still have older things for it. */
const gained = 1;
const acting = 2;
/** Its own, and about to be handed over. */
const stopping = 3;

/** Ms before what failed is tried again. */
const refreshPause = 100;
/** Ms that a node that leaves waits for the others to know. */
const longestFarewell = 1000;
const longestAsk = 24 * 3600 * 1000;

export class ClusterNode implements Homes, Away {
  readonly name: NodeName;
  readonly #options: NodeOptions;
  readonly #views: ViewStore;
  readonly #inbox: Inbox;
  readonly #links = new Map<string, Link>();
  readonly #states = new Uint8Array(slotCount);
  /** Parcels of this node's own that wait in the inbox: what is said later goes behind them. */
  readonly #ownWaiting = new Uint32Array(slotCount);
  /** Under which version of the view each slot was gained. */
  readonly #gainedAt = new Float64Array(slotCount);
  /** Which version each peer has said that it is at. */
  readonly #at = new Map<string, number>();
  /** Slots whose old home has not said yet that it is done with what it was sent. */
  readonly #moving = new Map<number, Link>();
  /** What waits for slots that move, in order. */
  readonly #held = new Map<number, Parcel[]>();
  #heldBytes = 0;
  readonly #questions: Questions;
  #view: View = emptyView;
  /** The newest version that anybody spoke of. */
  #heardOf = 0;
  #saidAt = 0;
  #isRefreshing = false;
  readonly #expelling = new Set<string>();
  #isBalancing = false;
  #isUnbalanced = false;
  #isOver = false;
  #stopListening: (() => void) | undefined;
  #watch: NodeJS.Timeout | undefined;
  #changed: (() => void)[] = [];

  private constructor(options: NodeOptions, epoch: number) {
    this.#options = options;
    this.name = { id: options.id, epoch };
    this.#views = new ViewStore(options.storage);
    this.#questions = new Questions(options.mostQuestions ?? 10_000);
    this.#inbox = new Inbox({
      self: this.name,
      receiver: options.receiver,
      acts: (slot) => this.#states[slot] === acting,
      isMember: (node) => this.#isMember(node),
      stranger: () => this.#refresh(),
      news: (version) => this.#hearOf(version),
      at: (node, version) => this.#hearAt(node, version),
      answered: (id, isGiven, payload) =>
        isGiven ? this.#questions.answered(id, payload) : this.#questions.unanswered(id, 'lost'),
      reply: (node, id, isGiven, payload) => this.#links.get(keyOf(node))?.answer(id, isGiven, payload),
      failed: (error) => options.warn('what another node sent could not be handled', error),
    });
  }

  /** Gives the storage its epoch. Rejects with StorageError. Nothing is this node's before `enter`. */
  static async join(options: NodeOptions): Promise<ClusterNode> {
    return new ClusterNode(options, await options.storage.join(options.id));
  }

  /** Becomes a member; resolves when this node acts for all slots that the view gives it then. Rejects with StorageError. */
  async enter(): Promise<void> {
    const { id, address, version, network, unreachableMs = 3000 } = this.#options;
    this.#stopListening = network.listen(address, (wire) => this.#inbox.accept(wire));
    const joining = { id, address, version, epoch: this.name.epoch };
    this.#adopt(await this.#views.change((view) => withMember(view, joining)));
    this.#tell();
    if (unreachableMs > 0)
      this.#watch = setInterval(() => this.#expelUnreachable(unreachableMs), unreachableMs / 4).unref();
    await this.#until(() => !this.#states.includes(gained));
  }

  // --- where addresses live -------------------------------------------------------------------------------------------

  of(jid: Jid): Away | undefined {
    const slot = slotOf(jid.bare);
    return this.#states[slot] === acting && this.#ownWaiting[slot] === 0 ? undefined : this;
  }

  hasJob(name: string): boolean {
    return this.#states[slotOfJob(name)] === acting;
  }

  /** Whether this node acts for the slot. */
  acts(slot: number): boolean {
    return this.#states[slot] === acting;
  }

  slotOf(jid: Jid): number {
    return slotOf(jid.bare);
  }

  /** Its number in the cluster, once it is a member. */
  get number(): number {
    return this.#ownIn(this.#view)?.number ?? 0;
  }

  get view(): View {
    return this.#view;
  }

  /** The member whose slot it is, here or elsewhere; undefined while this node is no member. */
  memberOf(jid: Jid): Member | undefined {
    const number = this.#view.slots[slotOf(jid.bare)];
    return this.#view.members.find((one) => one.number === number);
  }

  /** Whether no slot moves to or from this node. */
  get isAtRest(): boolean {
    const isMoving = this.#states.includes(gained) || this.#states.includes(stopping) || this.#moving.size > 0;
    return !isMoving && this.#view.handingOver === null && this.#leastAt() >= this.#view.version;
  }

  /** For metrics and tests. */
  get inspection(): {
    readonly kept: number;
    readonly held: number;
    readonly waiting: number;
    readonly begun: number;
    readonly questions: number;
    readonly repeated: number;
  } {
    let kept = 0;
    let held = 0;
    for (const link of this.#links.values()) kept += link.kept.frames;
    for (const parcels of this.#held.values()) held += parcels.length;
    return { kept, held, ...this.#inbox.size, questions: this.#questions.size, repeated: this.#inbox.repeated };
  }

  send(to: readonly Jid[], payload: string, { isOnce }: SendOptions): Sent {
    const slot = slotOf(to[0]!.bare);
    const parcel = new Parcel(
      to.map(({ full }) => full),
      slot,
      payload,
      isOnce,
    );
    const link = this.#dispatch(parcel);
    return { confirmed: parcel.confirmed, room: link === undefined || link.hasRoom ? undefined : link.room() };
  }

  askOthers(asker: Jid, payload: string, timeoutMs: number): readonly Promise<string>[] {
    const own = this.number;
    // A member that nothing lives at knows nothing.
    const slots = this.#view.members.map(({ number }) => (number === own ? -1 : this.#view.slots.indexOf(number)));
    return slots.filter((slot) => slot >= 0).map((slot) => this.#ask(asker, slot, payload, timeoutMs));
  }

  ask(to: Jid, payload: string, timeoutMs: number): Promise<string> {
    return this.#ask(to, slotOf(to.bare), payload, timeoutMs);
  }

  #ask(to: Jid, slot: number, payload: string, timeoutMs: number): Promise<string> {
    if (this.#isOver) return Promise.reject(new ParcelError('closed'));
    const deadline = Math.min(Math.max(0, Math.ceil(timeoutMs)), longestAsk);
    return this.#questions.ask(deadline, (id) => {
      const parcel = new Parcel([to.full], slot, payload, true, { id, timeoutMs: deadline });
      parcel.confirmed.catch((error: ParcelError) => this.#questions.unanswered(id, error.reason));
      this.#dispatch(parcel);
    });
  }

  // --- where parcels go -----------------------------------------------------------------------------------------------

  /** The link that it went to, if it did. */
  #dispatch(parcel: Parcel, wasTaken = false): Link | undefined {
    if (this.#isOver) {
      parcel.fail('closed');
      return undefined;
    }
    const { slot } = parcel;
    const state = this.#states[slot];
    if (this.#moving.has(slot) || this.#held.has(slot) || state === stopping || this.#view.slots.length === 0) {
      this.#hold(parcel);
      return undefined;
    }
    if (state !== elsewhere) {
      this.#ownWaiting[slot]!++;
      this.#inbox.local(parcel, () => this.#ownWaiting[slot]!--);
      return undefined;
    }
    const link = this.#linkTo(slot);
    link.send(parcel, wasTaken);
    return link;
  }

  #linkTo(slot: number): Link {
    const number = this.#view.slots[slot];
    const member = this.#view.members.find((one) => one.number === number)!;
    return this.#links.get(keyOf(member))!;
  }

  #hold(parcel: Parcel): void {
    if (this.#heldBytes >= 2 * this.#mostKept) {
      parcel.fail('full');
      return;
    }
    this.#heldBytes += parcel.payload.length;
    const held = this.#held.get(parcel.slot);
    if (held === undefined) this.#held.set(parcel.slot, [parcel]);
    else held.push(parcel);
  }

  get #mostKept(): number {
    return this.#options.mostKept ?? 16 * 2 ** 20;
  }

  /** Puts what was with an old home in front of what came later for the slot. */
  #takeBack(parcels: readonly Parcel[]): void {
    const bySlot = new Map<number, Parcel[]>();
    for (const parcel of parcels) {
      const list = bySlot.get(parcel.slot);
      if (list === undefined) bySlot.set(parcel.slot, [parcel]);
      else list.push(parcel);
      this.#heldBytes += parcel.payload.length;
    }
    for (const [slot, list] of bySlot) this.#held.set(slot, [...list, ...(this.#held.get(slot) ?? [])]);
  }

  /** Sends on what was held for slots that have come to rest, and says so once none moves. */
  #release(): void {
    for (const [slot, parcels] of [...this.#held]) {
      if (this.#moving.has(slot) || this.#states[slot] === stopping) continue;
      this.#held.delete(slot);
      for (const parcel of parcels) {
        this.#heldBytes -= parcel.payload.length;
        this.#dispatch(parcel, true);
      }
    }
    if (this.#moving.size > 0 || this.#saidAt >= this.#view.version) return;
    this.#saidAt = this.#view.version;
    for (const link of this.#links.values()) link.at(this.#saidAt);
    this.#actForGained();
  }

  // --- the view -------------------------------------------------------------------------------------------------------

  #isMember(node: NodeName): boolean {
    return this.#view.members.some(({ id, epoch }) => id === node.id && epoch === node.epoch);
  }

  #hearOf(version: number): void {
    this.#heardOf = Math.max(this.#heardOf, version);
    if (version > this.#view.version) this.#refresh();
  }

  #hearAt(node: NodeName, version: number): void {
    const key = keyOf(node);
    this.#at.set(key, Math.max(this.#at.get(key) ?? 0, version));
    this.#hearOf(version);
    this.#actForGained();
    this.#noteChange();
  }

  /** Reads the view until it is as new as what was heard of. */
  #refresh(): void {
    if (this.#isRefreshing || this.#isOver) return;
    this.#isRefreshing = true;
    const atLeast = this.#view.version;
    this.#views.read().then(
      (view) => {
        this.#isRefreshing = false;
        if (view.version < atLeast) {
          this.#options.warn(`the storage has lost commits: its view is ${view.version}, and was ${atLeast}`);
          return this.#end();
        }
        this.#adopt(view);
        if (this.#view.version < this.#heardOf) this.#refreshLater();
      },
      (error: unknown) => {
        this.#isRefreshing = false;
        this.#options.warn('the view of the cluster could not be read', error);
        this.#refreshLater();
      },
    );
  }

  #refreshLater(): void {
    setTimeout(() => this.#refresh(), refreshPause);
  }

  /** Tells all members which view holds. */
  #tell(): void {
    for (const link of this.#links.values()) link.news(this.#view.version);
  }

  #adopt(view: View): void {
    if (this.#isOver || view.version <= this.#view.version) return;
    const before = this.#view;
    this.#view = view;
    if (this.#ownIn(view) === undefined) {
      this.#end();
      return;
    }

    for (const member of view.members) {
      const key = keyOf(member);
      if (member.id === this.name.id || this.#links.has(key)) continue;
      this.#links.set(key, this.#newLink(member));
    }
    this.#leaveTheGone();
    this.#moveSlots(before, view);
    this.#inbox.part(
      (node) => this.#isMember(node),
      (slot) => this.#states[slot] !== elsewhere,
    );
    this.#release();
    this.#actForGained();
    void this.#balance();
    this.#noteChange();
  }

  #newLink(peer: Member): Link {
    const { network } = this.#options;
    const link = new Link({
      self: this.name,
      peer,
      network,
      view: () => this.#view.version,
      mostKept: this.#mostKept,
      broken: (error) => this.#options.warn(`node ${peer.id} does not keep to the protocol`, error),
    });
    if (this.#saidAt > 0) link.at(this.#saidAt);
    return link;
  }

  /** What those who are gone have not confirmed goes to their heirs, but for what must not be handled twice. */
  #leaveTheGone(): void {
    for (const [key, link] of [...this.#links]) {
      if (this.#isMember(link.peer)) continue;
      this.#links.delete(key);
      this.#at.delete(key);
      for (const [slot, from] of this.#moving) if (from === link) this.#moving.delete(slot);
      const left = link.close();
      for (const parcel of left) if (parcel.isOnce) parcel.fail('lost');
      this.#takeBack(left.filter(({ isOnce }) => !isOnce));
    }
  }

  #moveSlots(before: View, view: View): void {
    const homes = (one: View): ((slot: number) => Member | undefined) => {
      const byNumber = new Map(one.members.map((member) => [member.number, member]));
      return (slot) => byNumber.get(one.slots[slot] ?? -1);
    };
    const [wasHome, isHome] = [homes(before), homes(view)];
    const settling = new Map<Link, Set<number>>();
    for (let slot = 0; slot < slotCount; slot++) {
      const [was, is] = [wasHome(slot), isHome(slot)!];
      if (was !== undefined && keyOf(was) === keyOf(is)) continue;
      if (keyOf(is) === keyOf(this.name)) {
        this.#states[slot] = gained;
        this.#gainedAt[slot] = view.version;
      } else this.#states[slot] = elsewhere;
      const link = was === undefined ? undefined : this.#links.get(keyOf(was));
      if (link === undefined) continue;
      const slots = settling.get(link) ?? new Set();
      settling.set(link, slots.add(slot));
    }
    for (const [link, all] of settling) {
      const kept = link.slots;
      const slots = new Set([...all].filter((slot) => kept.has(slot) && !this.#moving.has(slot)));
      if (slots.size === 0) continue;
      for (const slot of slots) this.#moving.set(slot, link);
      link.settle([...slots]).then(
        () => {
          const settled = new Set([...slots].filter((slot) => this.#moving.get(slot) === link));
          for (const slot of settled) this.#moving.delete(slot);
          this.#takeBack(link.takeBack(settled));
          this.#release();
        },
        (error: unknown) => this.#options.warn('what an old home has not handled could not be sent on', error),
      );
    }
  }

  /** The version at which all members are, or beyond. */
  #leastAt(): number {
    let least = this.#saidAt;
    for (const member of this.#view.members)
      if (member.id !== this.name.id) least = Math.min(least, this.#at.get(keyOf(member)) ?? 0);
    return least;
  }

  /** Acts for what every member has said that it has nothing older for. */
  #actForGained(): void {
    const least = this.#leastAt();
    const slots = new Set<number>();
    for (let slot = 0; slot < slotCount; slot++) {
      if (this.#states[slot] !== gained || this.#gainedAt[slot]! > least) continue;
      this.#states[slot] = acting;
      slots.add(slot);
    }
    if (slots.size === 0) return;
    this.#options.gained(slots);
    this.#inbox.resume();
    this.#noteChange();
    void this.#balance();
  }

  // --- handing over ---------------------------------------------------------------------------------------------------

  /** Hands over what others should have, a batch at a time. Never rejects. */
  async #balance(): Promise<void> {
    this.#isUnbalanced = true;
    if (this.#isBalancing) return;
    this.#isBalancing = true;
    while (this.#isUnbalanced) {
      this.#isUnbalanced = false;
      await this.#handOver();
    }
    this.#isBalancing = false;
    this.#noteChange();
  }

  /** What this node acts for and should not. */
  #surplus(): Set<number> {
    const slots = new Set<number>();
    if (this.#isOver || this.#view.members.length < 2) return slots;
    const own = this.#view.members.find(({ id }) => id === this.name.id)!.number;
    const dealt = deal(this.#view);
    for (let slot = 0; slot < slotCount; slot++)
      if (this.#states[slot] === acting && dealt[slot] !== own) slots.add(slot);
    return slots;
  }

  async #handOver(): Promise<void> {
    if (this.#surplus().size === 0) return;
    let slots: ReadonlySet<number> = new Set();
    try {
      const claimed = await this.#views.change((view) =>
        this.#ownIn(view) !== undefined && view.handingOver === null
          ? { ...view, handingOver: this.name.id }
          : undefined,
      );
      this.#adopt(claimed);
      // Whoever is at it says so when it is done.
      if (this.#isOver || claimed.handingOver !== this.name.id) return;
      slots = this.#surplus();
      for (const slot of slots) this.#states[slot] = stopping;
      await this.#options.leaving(slots);
      await this.#inbox.idle(slots);
      // What was said for these addresses arrives before what their new homes say for them.
      await this.#quiet();
      await this.#options.storage.flush();
      this.#adopt(await this.#views.change((view) => this.#handedOver(view, slots)));
      this.#tell();
    } catch (error) {
      if (this.#isOver) return;
      this.#options.warn('slots could not be handed over', error);
      this.#isUnbalanced = true;
      await new Promise((resolve) => setTimeout(resolve, refreshPause));
    }
    this.#actAgain(slots);
  }

  #ownIn({ members }: View): Member | undefined {
    return members.find((one) => keyOf(one) === keyOf(this.name));
  }

  /** The view in which those of the slots that others should have are theirs; undefined where this node is no member. */
  #handedOver(view: View, slots: ReadonlySet<number>): Changed | undefined {
    const own = this.#ownIn(view);
    if (own === undefined) return undefined;
    const dealt = deal(view);
    const isHanded = (slot: number): boolean => slots.has(slot) && view.slots[slot] === own.number;
    return {
      ...view,
      slots: view.slots.map((number, slot) => (isHanded(slot) ? dealt[slot]! : number)),
      handingOver: null,
    };
  }

  /** For those that are its own after all. */
  #actAgain(slots: ReadonlySet<number>): void {
    const own = new Set([...slots].filter((slot) => this.#states[slot] === stopping));
    if (own.size === 0) return;
    for (const slot of own) this.#states[slot] = acting;
    this.#options.gained(own);
    this.#release();
    this.#inbox.resume();
    this.#noteChange();
  }

  /** Hands everything over and leaves. The last member leaves an empty cluster. Rejects with StorageError. */
  async leave(): Promise<void> {
    if (this.#isOver || this.#ownIn(this.#view) === undefined) return this.#end(false);
    this.#adopt(
      await this.#views.change((view) => {
        const own = this.#ownIn(view);
        if (own === undefined) return undefined;
        return { ...view, members: view.members.map((one) => (one === own ? { ...one, isLeaving: true } : one)) };
      }),
    );
    this.#tell();
    const isAlone = (): boolean => this.#view.members.every(({ isLeaving }) => isLeaving);
    await this.#until(() => isAlone() || this.#states.every((state) => state === elsewhere));
    if (!isAlone()) {
      // The others know what became of all that they had sent here, and what this node has for them arrives.
      const { version } = this.#view;
      await this.#until(() => this.#moving.size === 0 && this.#held.size === 0 && this.#leastAt() >= version);
      await this.#quiet();
    }
    if (this.#isOver) return;
    const left = await this.#views.change((view) =>
      this.#ownIn(view) === undefined ? undefined : withoutMember(view, this.name.id),
    );
    for (const link of this.#links.values()) link.at(left.version);
    await Promise.race([this.#quiet(), new Promise((resolve) => setTimeout(resolve, longestFarewell).unref())]);
    this.#end(false);
  }

  /** Resolves when all that was sent before has been confirmed. */
  async #quiet(): Promise<void> {
    await Promise.all([...this.#links.values()].map((link) => link.quiet()));
  }

  /**
   * Shuts a member out that cannot be reached: none of its writes becomes durable any more, and its slots are the others'.
   * Rejects with StorageError: 'fenced' where others have shut out this node.
   */
  async expel(id: string): Promise<void> {
    const member = this.#view.members.find((one) => one.id === id);
    if (member === undefined || id === this.name.id || this.#expelling.has(id)) return;
    this.#expelling.add(id);
    try {
      await this.#options.storage.fence(id, member.epoch);
      const isThere = (view: View): boolean => view.members.some((one) => keyOf(one) === keyOf(member));
      this.#adopt(await this.#views.change((view) => (isThere(view) ? withoutMember(view, id) : undefined)));
      this.#tell();
    } catch (error) {
      if (error instanceof StorageError && error.failure === 'fenced') this.#end();
      throw error;
    } finally {
      this.#expelling.delete(id);
    }
  }

  #expelUnreachable(ms: number): void {
    for (const { downSince, peer } of this.#links.values()) {
      if (downSince === undefined || monotonic() - downSince < ms || this.#expelling.has(peer.id)) continue;
      this.#options.warn(`node ${peer.id} cannot be reached and is shut out`);
      this.expel(peer.id).catch((error: unknown) => this.#options.warn(`node ${peer.id} could not be shut out`, error));
    }
  }

  /** A write of this node was refused because its epoch is over. */
  shutOut(): void {
    this.#end();
  }

  /** Stops at once, as a process that is killed: nothing is handed over. */
  kill(): void {
    this.#end(false);
  }

  #end(isExpelled = true): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#watch);
    this.#stopListening?.();
    this.#states.fill(elsewhere);
    this.#inbox.close();
    for (const link of this.#links.values()) for (const parcel of link.close()) parcel.fail('closed');
    for (const parcels of this.#held.values()) for (const parcel of parcels) parcel.fail('closed');
    this.#links.clear();
    this.#held.clear();
    this.#moving.clear();
    this.#questions.close();
    this.#noteChange();
    if (isExpelled) this.#options.expelled();
  }

  #noteChange(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }

  /** Resolves when something is true that depends on the view and the slots, or the node's part is over. */
  async #until(isTrue: () => boolean): Promise<void> {
    while (!isTrue() && !this.#isOver) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }
}

const keyOf = ({ id, epoch }: NodeName): string => `${epoch} ${id}`;
