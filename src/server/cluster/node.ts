/**
 * A node's part in its cluster: its epoch, the view, the links to other nodes, and the slots it acts for.
 *
 * A slot moves between homes as follows. The old home stops it, finishes running work, waits until everything it sent
 * is confirmed, and writes a view that assigns the slot to another member; or others fence the old home and write a
 * view without it. Each node that learns of that view takes back what the old home has not confirmed (a live old home
 * first says that it handles no more of it), sends it to the new home before anything newer, and then announces that it
 * is at that version. The new home acts for the slot when all members have announced this, since nothing older can
 * arrive after that.
 */
import type { Jid } from '../address/jid.js';
import { Departing } from './departing.js';
import type { NodeFigures } from './figures.js';
import { keyOf, type NodeName } from './frames.js';
import { Giving, type GivingOptions } from './giving.js';
import { HandedOver } from './handed.js';
import { HeldParcels } from './held.js';
import type { AskingOptions, Away, Homes, SendOptions, Sent } from './homes.js';
import { Inbox, type Receiver } from './inbox.js';
import type { Link } from './link.js';
import { NewestView } from './newest-view.js';
import { Parcel, ParcelError } from './parcel.js';
import { Peers } from './peers.js';
import { Questions } from './questions.js';
import { slotCount, slotOf, slotOfJob } from './slots.js';
import { acting, elsewhere, finishing, gained, isLeaving } from './states.js';
import { emptyView, type Member, movesBetween, type View, ViewStore, withMember } from './view.js';
import { type Network, signsOfLife } from './wire.js';

const { setInterval } = globalThis;

export interface NodeOptions extends GivingOptions {
  /** Unique in the cluster, and the same at each start. */
  readonly id: string;
  /** The network address of this node. */
  readonly address: string;
  /** Version of the program. */
  readonly version: string;
  readonly network: Network;
  readonly receiver: Receiver;
  /** Bytes that may be unconfirmed per peer before senders should wait. */
  readonly mostUnconfirmed?: number | undefined;
  /** Maximum number of pending questions. */
  readonly mostQuestions?: number | undefined;
  /** Ms without a connection after which a member is expelled; 0 disables it. */
  readonly unreachableMs?: number | undefined;
  /** This node acts for these slots from now on. `states`: what their last homes yielded in `state`. */
  gained(slots: ReadonlySet<number>, states: readonly string[]): void;
  /** Rejects if this node must not become a member of this view. */
  check?(view: View): Promise<void>;
  /** For a slot of this node everything has been handled that came before it acted for it: see `isBehind`. */
  caughtUp(slot: number): void;
  /** A member has been expelled. */
  lost?(): void;
  /** The view has changed: members may have joined or left. */
  viewed(): void;
  /** Reads the time before which any node may have made ids. Nothing is written under the epoch of one that is gone. */
  idsReserved?(): Promise<number>;
  /** Nodes that are gone may have made ids with times before this. Called before this node acts for their slots. */
  idsFrom?(time: number): void;
  /** The other nodes have expelled this node: its writes are refused. */
  expelled(): void;
}

/** After how many ms without a sign of life a member counts as unreachable. */
export const usualUnreachableMs = 3000;
const longestAsk = 24 * 3600 * 1000;
type Asking = Pick<AskingOptions, 'isPatient'> & { readonly isForNode?: boolean };

export class ClusterNode implements Homes, Away {
  readonly name: NodeName;
  readonly #options: NodeOptions;
  readonly #views: ViewStore;
  readonly #inbox: Inbox;
  readonly #peers: Peers;
  readonly #states = new Uint8Array(slotCount);
  /** Number of this node's own parcels pending in the inbox; later ones must queue after them. */
  readonly #ownPending = new Uint32Array(slotCount);
  /** The version of the view with which each slot was gained. */
  readonly #gainedAt = new Float64Array(slotCount);
  /** Slots whose old home has not been drained yet. */
  readonly #moving = new Map<number, Link>();
  /** Parcels for moving slots. */
  readonly #held: HeldParcels;
  readonly #handed = new HandedOver();
  readonly #giving: Giving;
  /** Work that other code does here for each slot. */
  readonly #working = new Uint32Array(slotCount);
  readonly #questions: Questions;
  #view: View = emptyView;
  readonly #newest: NewestView;
  readonly #departing: Departing;
  #isOver = false;
  #stopListening: (() => void) | undefined;
  #watch: NodeJS.Timeout | undefined;
  #changed: (() => void)[] = [];

  private constructor(options: NodeOptions, epoch: number) {
    this.#options = options;
    this.name = { id: options.id, epoch };
    this.#views = new ViewStore(options.storage);
    this.#held = new HeldParcels(2 * this.#mostUnconfirmed);
    this.#questions = new Questions(options.mostQuestions ?? 10_000);
    this.#peers = new Peers({
      self: this.name,
      network: options.network,
      view: () => this.#view,
      mostUnconfirmed: this.#mostUnconfirmed,
      // The views differ: one of both has to be read again.
      refused: () => this.#newest.read(),
      gone: (id) => {
        if (this.#watch !== undefined) this.#departing.expelUnreachable(id, 'is gone');
      },
      warn: (message, error) => options.warn(message, error),
    });
    this.#newest = new NewestView({
      views: this.#views,
      isOver: () => this.#isOver,
      version: () => this.#view.version,
      adopt: (view) => this.#adopt(view),
      lost: () => this.#end(),
      warn: (message, error) => options.warn(message, error),
    });
    this.#giving = new Giving({
      name: this.name,
      options,
      views: this.#views,
      states: this.#states,
      isOver: () => this.#isOver,
      view: () => this.#view,
      adopt: (view) => this.#adopt(view),
      announceView: () => this.#peers.announceView(this.#view.version),
      link: (member) => this.#peers.link(member),
      idle: async (slots) => {
        await this.#inbox.idle(slots);
        await this.#until(() => [...slots].every((slot) => this.#working[slot] === 0));
      },
      at: (version) => this.#until(() => this.#peers.leastAt(this.#view) >= version),
      allConfirmed: () => this.#peers.allConfirmed(),
      resumeInbox: () => this.#inbox.resume(),
      stayed: (slots) => this.#stayed(slots),
      changed: () => this.#noteChange(),
      until: (isTrue) => this.#until(isTrue),
    });
    this.#departing = new Departing({
      name: this.name,
      options,
      views: this.#views,
      isOver: () => this.#isOver,
      view: () => this.#view,
      adopt: (view) => this.#adopt(view),
      announceView: () => this.#peers.announceView(this.#view.version),
      links: () => this.#peers.links,
      hasSlots: () => this.#states.some((state) => state !== elsewhere),
      hasPassedOn: (version) =>
        this.#moving.size === 0 && this.#held.size === 0 && this.#peers.leastAt(this.#view) >= version,
      allConfirmed: () => this.#peers.allConfirmed(),
      end: (isExpelled) => this.#end(isExpelled),
      until: (isTrue) => this.#until(isTrue),
    });
    this.#inbox = new Inbox({
      self: this.name,
      cluster: () => this.#view.cluster,
      receiver: options.receiver,
      acts: (slot) => this.#states[slot] === acting,
      answers: (slot) => this.#states[slot] === finishing,
      isMember: (node) => this.#isMember(node),
      unknownPeer: () => this.#newest.read(),
      viewAnnounced: (version) => this.#newest.announced(version),
      at: (node, version) => this.#noteAt(node, version),
      caughtUp: (slot) => {
        if (this.#states[slot] === acting) options.caughtUp(slot);
      },
      handed: (node, slot, isFirst, payload) => this.#handed.received(keyOf(node), slot, isFirst, payload),
      answered: (id, isGiven, payload) =>
        isGiven ? this.#questions.answered(id, payload) : this.#questions.unanswered(id, 'lost'),
      reply: (node, id, isGiven, payload) => this.#peers.link(node)?.answer(id, isGiven, payload),
      failed: (error) => options.warn('handling a message of another node failed', error),
    });
  }

  /** Acquires an epoch from the storage. Rejects with StorageError. The node owns no slots before `enter`. */
  static async join(options: NodeOptions): Promise<ClusterNode> {
    return new ClusterNode(options, await options.storage.join(options.id));
  }

  /**
   * Becomes a member. Resolves when this node acts for all slots that the view assigns to it. Rejects with
   * StorageError, or the error of `check`.
   */
  async enter(): Promise<void> {
    const { id, address, version, network, unreachableMs = usualUnreachableMs } = this.#options;
    this.#stopListening = network.listen(address, (wire) => this.#inbox.accept(wire));
    const joining = { id, address, version, epoch: this.name.epoch };
    let view = await this.#views.read();
    for (let isMember = false; !isMember; ) {
      await this.#options.check?.(view);
      // Others may have become members meanwhile.
      const checked = new Set(view.members.map(keyOf));
      view = await this.#views.change((now) =>
        now.members.every((one) => one.id === id || checked.has(keyOf(one))) ? withMember(now, joining) : undefined,
      );
      isMember = this.#ownIn(view) !== undefined;
    }
    this.#adopt(view);
    this.#peers.announceView(this.#view.version);
    if (unreachableMs > 0)
      this.#watch = setInterval(() => this.#departing.tick(signsOfLife), unreachableMs / signsOfLife).unref();
    await this.#until(() => !this.#states.includes(gained));
  }

  // --- where addresses live

  of(jid: Jid): Away | undefined {
    const slot = slotOf(jid.bare);
    const isNext = this.#ownPending[slot] === 0 && !this.#inbox.isBehind(slot);
    return this.#states[slot] === acting && isNext ? undefined : this;
  }

  isHere(jid: Jid): boolean {
    return this.#states[slotOf(jid.bare)] === acting;
  }

  /** Whether anything that came for the slot of an address before this node acted for it is not handled yet. */
  isBehind(jid: Jid): boolean {
    return this.#inbox.isBehind(slotOf(jid.bare));
  }

  toAsk(jid: Jid): Away | undefined {
    const state = this.#states[slotOf(jid.bare)];
    return state === acting || state === finishing ? undefined : this;
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

  /** This node's number in the cluster; 0 before it is a member. */
  get number(): number {
    return this.#ownIn(this.#view)?.number ?? 0;
  }

  get view(): View {
    return this.#view;
  }

  /** Whether this node knows all members, and each has its share: one that has just joined can be asked nothing yet. */
  async knowsAll(): Promise<boolean> {
    const { version } = await this.#views.read();
    const { members, slots } = this.#view;
    return this.#view.version >= version && members.every((one) => one.isLeaving || slots.includes(one.number));
  }

  /** The member that owns the slot of an address. Undefined while this node is not a member. */
  memberOf(jid: Jid): Member | undefined {
    const number = this.#view.slots[slotOf(jid.bare)];
    return this.#view.members.find((one) => one.number === number);
  }

  /** Whether no slot is moving to or from this node. */
  get isAtRest(): boolean {
    const isMoving = this.#states.some((state) => state === gained || isLeaving(state)) || this.#moving.size > 0;
    return !isMoving && this.#view.handingOver === null && this.#peers.leastAt(this.#view) >= this.#view.version;
  }

  /** For metrics and tests. */
  get inspection(): {
    readonly unconfirmed: number;
    readonly held: number;
    readonly pending: number;
    readonly begun: number;
    readonly questions: number;
    readonly repeated: number;
  } {
    return {
      unconfirmed: this.#peers.unconfirmed,
      held: this.#held.size,
      ...this.#inbox.size,
      questions: this.#questions.size,
      repeated: this.#inbox.repeated,
    };
  }

  get figures(): NodeFigures {
    const { held, repeated } = this.inspection;
    const peers = [...this.#peers.links].map(({ peer, unconfirmed }) => ({
      id: peer.id,
      isConnected: this.hears(peer),
      unconfirmedBytes: unconfirmed.bytes,
    }));
    const slots = this.#states.reduce((sum, state) => sum + (state === acting ? 1 : 0), 0);
    return { id: this.name.id, view: this.#view.version, slots, peers, held, repeated };
  }

  send(to: readonly Jid[], payload: string, { isOnce, home }: SendOptions): Sent {
    const slot = slotOf((home ?? to[0]!).bare);
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
    const { members, slots } = this.#view;
    // A member without slots has no state.
    const others = members.filter(({ number }) => number !== this.number && slots.includes(number));
    return others.map(({ number }) => this.#ask(asker, slots.indexOf(number), payload, timeoutMs, { isForNode: true }));
  }

  ask(to: Jid, payload: string, timeoutMs: number, { home, isPatient }: AskingOptions = {}): Promise<string> {
    return this.#ask(to, slotOf((home ?? to).bare), payload, timeoutMs, { isPatient });
  }

  /** `isForNode`: asks the node that has the slot now, wherever that moves. */
  #ask(to: Jid, slot: number, payload: string, timeoutMs: number, options: Asking): Promise<string> {
    const { isPatient = false, isForNode = false } = options;
    if (this.#isOver) return Promise.reject(new ParcelError('closed'));
    const deadline = Math.min(Math.max(0, Math.ceil(timeoutMs)), longestAsk);
    return this.#questions.ask(deadline, isPatient, (id) => {
      const parcel = new Parcel([to.full], slot, payload, true, { id, timeoutMs: deadline, isForNode });
      parcel.confirmed.catch((error: ParcelError) => this.#questions.unanswered(id, error.reason));
      if (isForNode) this.#linkTo(slot).send(parcel);
      else this.#dispatch(parcel);
      return parcel;
    });
  }

  // --- where parcels go

  /** Returns the link that the parcel was sent on, if any. */
  #dispatch(parcel: Parcel, wasAccepted = false): Link | undefined {
    if (this.#isOver) {
      parcel.fail('closed');
      return undefined;
    }
    const { slot } = parcel;
    const state = this.#states[slot];
    if (this.#moving.has(slot) || this.#held.has(slot) || isLeaving(state) || this.#view.slots.length === 0) {
      this.#held.add(parcel);
      return undefined;
    }
    if (state !== elsewhere) {
      this.#ownPending[slot]!++;
      this.#inbox.local(parcel, () => this.#ownPending[slot]!--);
      return undefined;
    }
    const link = this.#linkTo(slot);
    link.send(parcel, wasAccepted);
    return link;
  }

  #linkTo(slot: number): Link {
    const number = this.#view.slots[slot];
    const member = this.#view.members.find((one) => one.number === number)!;
    return this.#peers.link(member)!;
  }

  get #mostUnconfirmed(): number {
    return this.#options.mostUnconfirmed ?? 16 * 2 ** 20;
  }

  /** Sends held parcels for slots that have stopped moving, and announces the version when no slot is moving. */
  #release(): void {
    this.#held.release(
      (slot) => this.#moving.has(slot) || isLeaving(this.#states[slot]),
      (parcel) => this.#dispatch(parcel, true),
    );
    if (this.#moving.size > 0 || !this.#peers.announceAt(this.#view.version)) return;
    this.#actForGained();
    this.#noteChange();
  }

  // --- the view

  #isMember(node: NodeName): boolean {
    return this.#view.members.some(({ id, epoch }) => id === node.id && epoch === node.epoch);
  }

  #noteAt(node: NodeName, version: number): void {
    this.#peers.noteAt(node, version);
    this.#newest.announced(version);
    this.#actForGained();
    this.#noteChange();
  }

  #adopt(view: View): void {
    if (this.#isOver || this.#departing.hasLeft || view.version <= this.#view.version) return;
    const before = this.#view;
    this.#view = view;
    if (view.idsFrom !== undefined) this.#options.idsFrom?.(view.idsFrom);
    if (this.#ownIn(view) === undefined) {
      this.#end();
      return;
    }
    this.#peers.connect(view);
    this.#closeGoneLinks();
    this.#moveSlots(before, view);
    this.#inbox.removeNonMembers(
      (node) => this.#isMember(node),
      (slot) => this.#states[slot] !== elsewhere,
    );
    this.#release();
    this.#actForGained();
    void this.#giving.balance();
    this.#noteChange();
    const isGone = ({ id, isLeaving }: Member): boolean => !isLeaving && !view.members.some((one) => one.id === id);
    if (before.members.some(isGone)) this.#options.lost?.();
    this.#options.viewed();
  }

  /**
   * Parcels not confirmed by members that have left go to the new homes, except those that may be delivered only
   * once.
   */
  #closeGoneLinks(): void {
    for (const [link, left] of this.#peers.disconnect((node) => this.#isMember(node))) {
      for (const [slot, from] of this.#moving) if (from === link) this.#moving.delete(slot);
      for (const parcel of left) if (parcel.isOnce) parcel.fail('lost');
      this.#questions.lost(link);
      this.#held.takeBack(left.filter(({ isOnce }) => !isOnce));
    }
  }

  #moveSlots(before: View, view: View): void {
    const draining = new Map<Link, Set<number>>();
    const handed = new Map<string, number[]>();
    const left = new Map<number, Member>();
    for (const { slot, was, is } of movesBetween(before, view)) {
      if (keyOf(is) === keyOf(this.name)) {
        this.#states[slot] = gained;
        this.#gainedAt[slot] = view.version;
        if (was !== undefined) handed.set(keyOf(was), [...(handed.get(keyOf(was)) ?? []), slot]);
      } else {
        if (this.#states[slot] !== elsewhere) left.set(slot, is);
        this.#states[slot] = elsewhere;
        this.#giving.gave(slot);
      }
      const link = was === undefined ? undefined : this.#peers.link(was);
      if (link === undefined) continue;
      const slots = draining.get(link) ?? new Set();
      draining.set(link, slots.add(slot));
    }
    this.#giving.viewed(view);
    this.#handed.drop((node) => view.members.some((member) => keyOf(member) === node));
    for (const [node, slots] of handed) this.#handed.completed(node, slots);
    if (left.size > 0) {
      this.#options.left(left);
      this.#held.takeBack(this.#inbox.left(new Set(left.keys())));
    }
    for (const [link, all] of draining) {
      const pendingSlots = link.slots;
      const slots = new Set([...all].filter((slot) => pendingSlots.has(slot) && !this.#moving.has(slot)));
      if (slots.size === 0) continue;
      for (const slot of slots) this.#moving.set(slot, link);
      link.drain([...slots]).then(
        () => {
          const drained = new Set([...slots].filter((slot) => this.#moving.get(slot) === link));
          for (const slot of drained) this.#moving.delete(slot);
          this.#held.takeBack(link.takeBack(drained));
          this.#release();
        },
        (error: unknown) => this.#options.warn('moving unhandled messages to a new home failed', error),
      );
    }
  }

  /** Starts to act for gained slots once no member can have anything older for them. */
  #actForGained(): void {
    const least = this.#peers.leastAt(this.#view);
    const slots = new Set<number>();
    for (let slot = 0; slot < slotCount; slot++) {
      if (this.#states[slot] !== gained || this.#gainedAt[slot]! > least) continue;
      this.#states[slot] = acting;
      slots.add(slot);
    }
    if (slots.size === 0) return;
    this.#options.gained(slots, this.#handed.take(slots));
    this.#inbox.resume();
    this.#noteChange();
    void this.#giving.balance();
  }

  // --- handing over

  /**
   * Gives slots of this node to another member. Resolves when none of them is here. If the shares of the members are too
   * uneven then, slots move again.
   */
  give(slots: Iterable<number>, to: string): Promise<void> {
    return this.#giving.give(slots, to);
  }

  /** Counts work that is done here for an address, so that its slot does not move before. */
  during(jid: Jid, work: Promise<unknown>): void {
    const slot = slotOf(jid.bare);
    this.#working[slot]!++;
    const done = (): void => {
      if (--this.#working[slot]! === 0 && this.#states[slot] === finishing) this.#noteChange();
    };
    work.then(done, done);
  }

  #ownIn({ members }: View): Member | undefined {
    return members.find((one) => keyOf(one) === keyOf(this.name));
  }

  /** These slots remained here after all. */
  #stayed(slots: ReadonlySet<number>): void {
    for (const slot of slots) this.#states[slot] = acting;
    this.#options.stayed(slots);
    this.#release();
    this.#inbox.resume();
    this.#noteChange();
  }

  /**
   * Hands all slots over to the other members. Resolves when none is here, or all are leaving. Rejects with StorageError.
   */
  drain(): Promise<void> {
    return this.#departing.drain();
  }

  /** Hands everything over and leaves. The last member leaves an empty view. Rejects with StorageError. */
  leave(): Promise<void> {
    return this.#departing.leave();
  }

  /**
   * Expels an unreachable member: it is fenced, so that none of its later writes becomes durable, and its slots go to
   * the others. Rejects with StorageError; 'fenced' if others have expelled this node.
   */
  expel(id: string): Promise<void> {
    return this.#departing.expel(id);
  }

  /** Whether a member is to hand over its slots and get none. Rejects with StorageError. */
  mark(id: string, isLeaving: boolean): Promise<void> {
    return this.#departing.mark(id, isLeaving);
  }

  /** Whether a member, or this node itself, is connected and gives signs of life. */
  hears(member: NodeName): boolean {
    if (keyOf(member) === keyOf(this.name)) return true;
    const link = this.#peers.link(member);
    return link !== undefined && link.downSince === undefined && link.silence < signsOfLife;
  }

  /** Whether this node is a member that keeps its slots. */
  get isServing(): boolean {
    const own = this.#ownIn(this.#view);
    return !this.#isOver && own !== undefined && !own.isLeaving;
  }

  /** Called when a write was refused because this node is fenced. */
  shutOut(): void {
    this.#end();
  }

  /** Stops at once, like a killed process, without handing anything over. */
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
    this.#peers.close();
    this.#held.close();
    this.#moving.clear();
    this.#questions.close();
    this.#noteChange();
    if (isExpelled) this.#options.expelled();
  }

  #noteChange(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }

  /** Resolves when a condition on the view and the slots holds, or the node has stopped. */
  async #until(isTrue: () => boolean): Promise<void> {
    while (!isTrue() && !this.#isOver) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }
}
