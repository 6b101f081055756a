/**
 * Sessions of a node of a cluster that has died cannot send unavailable presence (RFC 6121 §4.5.2). So each node stores
 * which of its sessions others see, within about a second. Some time after a node's death the new homes of the accounts
 * send it for the sessions whose clients are not back: to contacts, and to addresses with directed presence (§4.6.3), such
 * as rooms. A single process stores nothing: its contacts are gone with it.
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { monotonic } from '../../server/clock.js';
import type { Host, Maybe } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { jid } from '../../server/stanza/stored.js';
import type { MapStore } from '../../storage/contract.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';

/** What others see of a session: its presence, and addresses with directed presence. */
export const visibleSchema = z.object({ isAvailable: z.boolean(), directed: z.array(jid) });
type Visible = z.output<typeof visibleSchema>;

type Items = ReadonlyMap<string, RosterItem>;

/** Sessions that are written or read at once. */
const page = 200;
const { setImmediate } = globalThis;

export interface DepartedParts {
  readonly host: Host;
  /** By node and host, what others see of sessions, by full address. */
  readonly store: MapStore<Visible>;
  /** How long clients of a node that is gone may take to return, in ms. */
  readonly patience: number;
  /** Full addresses with directed presence of the session. */
  directed(session: Session): Iterable<string>;
  roster(owner: string): Maybe<Items>;
  /** The session is gone, and others are told so: contacts, if it was available, and addresses with directed presence. */
  farewell(session: Jid, seen: Visible, items: Items): Maybe<void>;
  failed(error: unknown): void;
}

export class Departed {
  readonly #parts: DepartedParts;
  /** Full addresses whose record may be out of date. */
  readonly #changed = new Set<string>();
  /** Full addresses that have a record of this node. */
  readonly #written = new Set<string>();
  /** Addresses have moved: any session may be new here, or gone. */
  #isAnyChanged = true;
  /** Nodes that are gone, and from when their sessions are (monotonic). */
  readonly #gone = new Map<string, number>();
  /** Some node may be gone that is not in `#gone`. */
  #isAnyGone = true;
  /** The same failure follows each second while the storage is away. */
  #hasFailed = false;

  constructor(parts: DepartedParts) {
    this.#parts = parts;
  }

  changed({ jid }: Session): void {
    if (this.#parts.host.node !== undefined) this.#changed.add(jid.full);
  }

  moved(): void {
    this.#isAnyChanged = true;
  }

  /** Another node is gone. */
  nodeGone(): void {
    this.#isAnyGone = true;
  }

  /** Stores what others see of the sessions of this node. Called once a second. */
  write(): Promise<void> {
    const { node } = this.#parts.host;
    return node === undefined ? Promise.resolve() : this.#orReport(this.#write(this.#ownerOf(node)));
  }

  /** Speaks for sessions of nodes that are gone. Called once a second. */
  look(): Promise<void> {
    return this.#parts.host.node === undefined ? Promise.resolve() : this.#orReport(this.#look());
  }

  async #look(): Promise<void> {
    if (this.#isAnyGone) await this.#noteGone();
    const now = monotonic();
    for (const [name, due] of this.#gone) if (due <= now) await this.#bury(name);
  }

  /** Never rejects. What has failed is tried again the next time. */
  async #orReport(work: Promise<void>): Promise<void> {
    try {
      await work;
      this.#hasFailed = false;
    } catch (error) {
      if (!this.#hasFailed) this.#parts.failed(error);
      this.#hasFailed = true;
    }
  }

  /** No address of an account or a room. */
  #ownerOf(node: string): string {
    return `${node} ${this.#parts.host.domain}`;
  }

  // --- sessions of this node ------------------------------------------------------------------------------------------

  async #write(owner: string): Promise<void> {
    const { host } = this.#parts;
    if (this.#isAnyChanged) {
      this.#isAnyChanged = false;
      for (const full of this.#written) this.#changed.add(full);
      for (const { jid } of host.allSessions()) this.#changed.add(jid.full);
    }
    while (this.#changed.size > 0) {
      const some = [...this.#changed].slice(0, page);
      for (const full of some) this.#changed.delete(full);
      try {
        await this.#writeSome(owner, some);
      } catch (error) {
        for (const full of some) this.#changed.add(full);
        throw error;
      }
    }
  }

  async #writeSome(owner: string, some: readonly string[]): Promise<void> {
    const { store } = this.#parts;
    const set: [string, Visible][] = [];
    const gone: string[] = [];
    for (const full of some) {
      const visible = this.#visible(Jid.parse(full));
      if (visible !== undefined) set.push([full, visible]);
      else if (this.#written.has(full)) gone.push(full);
    }
    // One commit, if both are called in one turn.
    await Promise.all([
      set.length > 0 ? store.set(owner, set) : undefined,
      gone.length > 0 ? store.delete(owner, gone) : undefined,
    ]);
    for (const [full] of set) this.#written.add(full);
    for (const full of gone) this.#written.delete(full);
  }

  /** Returns undefined if nobody sees the session, or it is not here. */
  #visible(jid: Jid): Visible | undefined {
    const session = this.#session(jid);
    if (session === undefined) return undefined;
    const directed = [...this.#parts.directed(session)];
    return session.available || directed.length > 0 ? { isAvailable: session.available, directed } : undefined;
  }

  #session(jid: Jid): Session | undefined {
    const owner = jid.toBare();
    return this.#parts.host.sessions(owner.bare).find((session) => session.jid.equals(jid));
  }

  // --- sessions of nodes that are gone --------------------------------------------------------------------------------

  /** Their lists are there until nothing is left of them, so that they outlive a further death. */
  async #noteGone(): Promise<void> {
    const { host, store, patience } = this.#parts;
    this.#isAnyGone = false;
    const suffix = ` ${host.domain}`;
    try {
      for (let after: string | undefined; ; ) {
        const owners = await store.owners({ after, limit: page, suffix });
        for (const owner of owners) {
          const name = owner.slice(0, -suffix.length);
          if (!host.isMember(name) && !this.#gone.has(name)) this.#gone.set(name, monotonic() + patience);
        }
        if (owners.length < page) return;
        after = owners.at(-1);
      }
    } catch (error) {
      this.#isAnyGone = true;
      throw error;
    }
  }

  /** Each home deals with its own accounts. The list is looked at again until all have. */
  async #bury(name: string): Promise<void> {
    const { host, store, patience, roster } = this.#parts;
    const owner = this.#ownerOf(name);
    // This node's view was late when it first saw the list.
    if (host.isMember(name)) return void this.#gone.delete(name);
    let isEmpty = true;
    for (let after: string | undefined; ; ) {
      const entries = await store.page(owner, { after, limit: page });
      const dealt: string[] = [];
      for (const [full, seen] of entries) {
        const jid = Jid.parse(full);
        if (!host.livesHere(jid)) {
          isEmpty = false;
          continue;
        }
        const items = await roster(jid.bare);
        // In one turn, so that a client that is just coming back is not told to be gone.
        await this.#tell(jid, seen, items);
        dealt.push(full);
      }
      if (dealt.length > 0) await store.delete(owner, dealt);
      if (entries.length < page) break;
      after = entries.at(-1)![0];
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (isEmpty) this.#gone.delete(name);
    else this.#gone.set(name, monotonic() + patience);
  }

  /** A client that is back may be available, and in other rooms than before. */
  #tell(jid: Jid, seen: Visible, items: Items): Maybe<void> {
    const session = this.#session(jid);
    const present = new Set(session === undefined ? [] : this.#parts.directed(session));
    const isAvailable = seen.isAvailable && session?.available !== true;
    const directed = seen.directed.filter((to) => !present.has(to));
    if (isAvailable || directed.length > 0) return this.#parts.farewell(jid, { isAvailable, directed }, items);
  }
}
