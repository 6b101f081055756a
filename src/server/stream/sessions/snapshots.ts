/**
 * Snapshots of sessions: of all at shutdown, for the next start; and of quiet ones, for a crash
 * (docs/decisions/0004-resumption-after-a-crash.md).
 */

import { Jid } from '../../address/jid.js';
import { monotonic } from '../../clock.js';
import type { Link } from '../../routing/link.js';
import { type SessionState, type StoredStates, TooMuchState, writeStates } from '../../routing/session-state.js';
import { revived, type SavedSm, type Surroundings } from '../xep-0198-record.js';
import type { Sm } from '../xep-0198-sm.js';
import { CsiLink } from '../xep-0352-csi.js';
import type { Ending } from './ending.js';
import type { SessionsParts } from './parts.js';
import type { Resuming } from './resuming.js';

/** Limits of a crash snapshot: unacknowledged stanzas, and total size in characters. */
const mostSnapshotStanzas = 32;
const mostSnapshotSize = 65_536;
/** Snapshots stored in one sweep at most. */
const mostAtOnce = 200;

export class Snapshots {
  readonly #parts: SessionsParts;
  readonly #ending: Ending;
  readonly #resuming: Resuming;
  /** States that could not be stored. Bounded by the declared ones. */
  readonly #unstorable = new Set<SessionState>();

  constructor(parts: SessionsParts, ending: Ending, resuming: Resuming) {
    this.#parts = parts;
    this.#ending = ending;
    this.#resuming = resuming;
  }

  /** Called once a second: ends expired hibernating sessions, and snapshots quiet ones. */
  sweep(now: number): void {
    const { resumables, config } = this.#parts;
    const { snapshot_after_seconds } = config().stream_management;
    resumables.retryDeletes();
    let left = mostAtOnce;
    for (const sm of resumables.all()) {
      sm.quiet++;
      if (!sm.connected && sm.expires !== 0 && sm.expires <= now) this.#ending.gone(sm.session);
      else if (left > 0 && !sm.hasSnapshot && sm.quiet > snapshot_after_seconds && this.#snapshot(sm)) left--;
    }
  }

  /** Stores a snapshot of a session for a crash. Returns whether it was small and idle enough. */
  #snapshot(sm: Sm): boolean {
    const surroundings = this.#surroundings(sm);
    if (sm.session.isPouring || !sm.isCaughtUp || !isSmall(sm, surroundings)) {
      sm.quiet = 0; // retried after the quiet period, not each second
      return false;
    }
    this.#parts.resumables.snapshot(sm, surroundings);
    return true;
  }

  #surroundings({ session, host }: Sm): Described {
    const { sessionStates, derived } = host.hooks;
    const states = writeStates(
      sessionStates,
      (state) => {
        const derive = derived.get(state);
        return derive === undefined ? session.get(state) : derive(session);
      },
      (state, error) => this.#reportUnstorable(state, error, session.jid),
    );
    return { held: session.link instanceof CsiLink ? session.link.held : [], state: states.values, states };
  }

  /** Logged once per state: the cause is most likely the same for other sessions. */
  #reportUnstorable(state: SessionState, error: unknown, jid: Jid): void {
    if (error instanceof TooMuchState) this.#parts.limitHit('stream_management.state');
    if (this.#unstorable.has(state)) return;
    this.#unstorable.add(state);
    this.#parts.log.error(
      { err: error, session: jid.full, state: state.name },
      'could not store the state of a session',
    );
  }

  // --- restarts ---------------------------------------------------------------------------------------------------

  /** Saves all resumable sessions. Resolves once they are durable. */
  async save(): Promise<void> {
    for (const session of this.#ending.managed.keys()) {
      // Pending requests are refused; stanzas queued in sources are saved with the others.
      for (const { stanza, receipt } of session.stopPouring()) session.link.send(stanza, receipt);
      if (session.link instanceof CsiLink) session.link.flush();
    }
    try {
      await this.#parts.resumables.save(monotonic(), (sm) => this.#surroundings(sm));
    } catch (error) {
      // Their clients bind again and find their messages as absent users do.
      this.#parts.log.error({ err: error }, 'could not save sessions for the next start');
    }
  }

  /** Restores the sessions saved by the previous process: they hibernate until their clients resume. */
  async load(): Promise<void> {
    const now = monotonic();
    const restored: Sm[] = [];
    const { resumables } = this.#parts;
    // Other nodes save their sessions too.
    const isOurs = (id: string, { jid }: SavedSm): boolean =>
      this.#parts.isHere(Jid.parse(jid)) && resumables.get(id) === undefined;
    await resumables.load(isOurs, (id, saved) => {
      const host = this.#parts.host(Jid.parse(saved.jid).domain);
      if (host === undefined) return;
      const nowhere: Link = { send: (stanza, receipt) => receipt?.lost(stanza) };
      const session = revived(saved, nowhere, host.hooks.sessionStates, ({ name }) => this.#parts.damaged(id, name));
      const sm = this.#resuming.manage(session, host, saved.holdSeconds, id);
      if (sm === undefined) return;
      session.ledger = this.#ending.ledger;
      session.link = sm;
      sm.restore(saved, now);
      this.#parts.directory.add(session);
      restored.push(sm);
    });
    for (const { session } of restored)
      for (const domain of Object.keys(this.#parts.config().hosts))
        await this.#parts.host(domain)?.emit('revived', { session });
    // The loaded records are still stored, so they count as snapshots.
    for (const sm of restored) sm.hasSnapshot = true;
    // Stored messages that are not in the queue: loaded as for connected sessions.
    const owners = new Map(restored.map(({ session: { jid } }) => [jid.bare, jid.domain]));
    for (const [bare, domain] of owners) this.#parts.host(domain)?.services.offline?.readOut(bare);
  }
}

interface Described extends Surroundings {
  readonly states: StoredStates;
}

function isSmall(sm: Sm, { held, states }: Described): boolean {
  if (!states.isWhole || sm.waiting + held.length > mostSnapshotStanzas) return false;
  let size = sm.size + states.size;
  for (const { stanza } of held) size += stanza.content.length;
  return size <= mostSnapshotSize;
}
