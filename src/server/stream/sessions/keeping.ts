/**
 * Sessions are written down: as the server stops, for the next start; and those that are quiet, for a crash
 * (docs/decisions/0004-resumption-after-a-crash.md).
 */
import { monotonic } from '../../clock.js';
import type { Link } from '../../routing/link.js';
import { type SessionState, type StoredStates, TooMuchState, writeStates } from '../../routing/session-state.js';
import { Jid } from '../../stanza/jid.js';
import { revived, type SavedSm, type Surroundings } from '../xep-0198-record.js';
import type { Sm } from '../xep-0198-sm.js';
import { CsiLink } from '../xep-0352-csi.js';
import type { Ending } from './ending.js';
import type { SessionsParts } from './parts.js';
import type { Resuming } from './resuming.js';

/** Of a session that is kept for a crash: what it has not acknowledged, and characters of what is written in all. */
const mostKeptStanzas = 32;
const mostKeptSize = 65_536;
/** Sessions that one pass of the sweeper writes down. */
const mostAtOnce = 200;

export class Keeping {
  readonly #parts: SessionsParts;
  readonly #ending: Ending;
  readonly #resuming: Resuming;
  /** States that could not be stored. As many as are declared, at most. */
  readonly #unstorable = new Set<SessionState>();

  constructor(parts: SessionsParts, ending: Ending, resuming: Resuming) {
    this.#parts = parts;
    this.#ending = ending;
    this.#resuming = resuming;
  }

  /** Once a second: ends the hibernating sessions whose time is over, and keeps those that are quiet. */
  sweep(now: number): void {
    const { resumables, config } = this.#parts;
    const { keep_after_seconds } = config().stream_management;
    resumables.retryDeletes();
    let left = mostAtOnce;
    for (const sm of resumables.all()) {
      sm.quiet++;
      if (!sm.connected && sm.expires !== 0 && sm.expires <= now) this.#ending.gone(sm.session);
      else if (left > 0 && !sm.hasSnapshot && sm.quiet > keep_after_seconds && this.#keep(sm)) left--;
    }
  }

  /** Writes down a session for a crash; whether it is small, and at rest. */
  #keep(sm: Sm): boolean {
    const surroundings = this.#surroundings(sm);
    if (sm.session.isPouring || !sm.isCaughtUp || !isSmall(sm, surroundings)) {
      sm.quiet = 0; // not to be looked at each second
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
      (state, error) => this.#notStored(state, error, session.jid),
    );
    return { held: session.link instanceof CsiLink ? session.link.held : [], state: states.values, states };
  }

  /** Said once of each state: what is wrong with one session's is wrong with others'. */
  #notStored(state: SessionState, error: unknown, jid: Jid): void {
    if (error instanceof TooMuchState) this.#parts.limitHit('stream_management.state');
    if (this.#unstorable.has(state)) return;
    this.#unstorable.add(state);
    this.#parts.log.error({ err: error, session: jid.full, state: state.name }, 'the state of a session is not stored');
  }

  // --- restarts ---------------------------------------------------------------------------------------------------

  /** Writes down the sessions that can be resumed. Resolves once they are on disk. */
  async save(): Promise<void> {
    for (const session of this.#ending.managed.keys()) {
      // Requests that wait for their answers are refused; what waited behind sources is written down with the rest.
      for (const { stanza, receipt } of session.stopPouring()) session.link.send(stanza, receipt);
      if (session.link instanceof CsiLink) session.link.flush();
    }
    try {
      await this.#parts.resumables.save(monotonic(), (sm) => this.#surroundings(sm));
    } catch (error) {
      // Their clients begin anew, and find their messages where those of absent users are.
      this.#parts.log.error({ err: error }, 'sessions could not be kept for the next start');
    }
  }

  /** Takes up the sessions that the process before wrote down: they hibernate until their clients come back. */
  async load(): Promise<void> {
    const now = monotonic();
    const taken: Sm[] = [];
    const { resumables } = this.#parts;
    // Other nodes write theirs down, too.
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
      taken.push(sm);
    });
    for (const { session } of taken)
      for (const domain of Object.keys(this.#parts.config().hosts))
        await this.#parts.host(domain)?.emit('revived', { session });
    // What they were told just now the next process would tell them as well.
    for (const sm of taken) sm.hasSnapshot = true;
    // What was kept for them and is in no queue: they wait for it like others who are there.
    const owners = new Map(taken.map(({ session: { jid } }) => [jid.bare, jid.domain]));
    for (const [bare, domain] of owners) this.#parts.host(domain)?.services.offline?.readOut(bare);
  }
}

interface Described extends Surroundings {
  readonly states: StoredStates;
}

function isSmall(sm: Sm, { held, states }: Described): boolean {
  if (!states.isWhole || sm.waiting + held.length > mostKeptStanzas) return false;
  let size = sm.size + states.size;
  for (const { stanza } of held) size += stanza.content.length;
  return size <= mostKeptSize;
}
