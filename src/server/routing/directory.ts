import type { Jid } from '../address/jid.js';
import type { Session } from './session.js';

const none: readonly Session[] = [];

/** The sessions of this process by account. */
export class SessionDirectory {
  #accounts = new Map<string, Session[]>();
  #count = 0;

  /** All sessions of an account, in the order of binding. Do not retain or change the array. */
  of(bare: string): readonly Session[] {
    return this.#accounts.get(bare) ?? none;
  }

  /** The session of a full JID. */
  find(jid: Jid): Session | undefined {
    const sessions = this.#accounts.get(jid.bare);
    if (sessions !== undefined) {
      for (const session of sessions) if (session.jid.resource === jid.resource) return session;
    }
    return undefined;
  }

  add(session: Session): void {
    const { bare } = session.jid;
    const sessions = this.#accounts.get(bare);
    // A new array each time, so that iterations over the old one are not disturbed.
    this.#accounts.set(bare, sessions === undefined ? [session] : [...sessions, session]);
    this.#count++;
  }

  /** Returns whether it was present. */
  remove(session: Session): boolean {
    const { bare } = session.jid;
    const sessions = this.#accounts.get(bare);
    if (!sessions?.includes(session)) return false;
    session.isOver = true;
    if (sessions.length === 1) this.#accounts.delete(bare);
    else
      this.#accounts.set(
        bare,
        sessions.filter((other) => other !== session),
      );
    this.#count--;
    return true;
  }

  get size(): number {
    return this.#count;
  }

  /** All sessions. */
  *all(): Iterable<Session> {
    for (const sessions of this.#accounts.values()) yield* sessions;
  }
}
