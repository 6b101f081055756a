/**
 * What modules remember of a session. A module declares each such state with a default and a form for storage; the server
 * keeps it with the session, writes it down for a restart or a crash (XEP-0198), and can move it with the session.
 */
import type { z } from 'zod';

/** A state that sessions have. Declared once, beside its module, which names it in `sessionStates`. */
export interface SessionState<T = unknown> {
  /** Of the stored record. One name is one state among all modules that run. */
  readonly name: string;
  /** The value until another is set. Shared by all sessions: never to be changed. */
  readonly default: T;
  /** From and to what is stored, which is JSON; undefined: it is not stored. */
  readonly stored: z.ZodType | undefined;
  /** The place of the value in a session; -1 until a host declares the state. */
  slot: number;
}

export interface StateOptions<T> {
  readonly name: string;
  readonly default: T;
  /**
   * Its form for storage: the schema of a JSON value, or a codec (`z.codec`) between that and what the session has. false:
   * it may be lost, and a session that is resumed after a restart has the default.
   */
  readonly stored: z.ZodType<Exclude<T, undefined>> | false;
}

export const sessionState = <T>({ name, default: usual, stored }: StateOptions<T>): SessionState<T> => ({
  name,
  default: usual,
  stored: stored === false ? undefined : stored,
  slot: -1,
});

let slots = 0;

/** An empty place for each state that is declared by now: no larger, as sessions are many. */
export const places = (): unknown[] => new Array<unknown>(slots);

/** Gives a state its place in the sessions of this process. */
export function declareState(state: SessionState): void {
  if (state.slot < 0) state.slot = slots++;
}

/** What has states: a session. */
export interface Stateful {
  get<T>(state: SessionState<T>): T;
  set<T>(state: SessionState<T>, value: NoInfer<T>): void;
}

/** The states of a session as one value of JSON, by their names. */
export interface StoredStates {
  readonly values: Readonly<Record<string, unknown>>;
  /** Characters of it. */
  readonly size: number;
  /** Nothing that is to be stored is left out. */
  readonly isWhole: boolean;
}

/** Characters of all states of one session together. */
const mostStored = 262_144;

/** All states of a session are more than may be stored. */
export class TooMuchState extends Error {
  override readonly name = 'TooMuchState';
}

/**
 * What of a session is to be stored; `currentOf` says what a state is now, undefined: that cannot be told. A value that its
 * own schema refuses is left out, and so are the largest where all are too much together: `failed` is told of each.
 */
export function writeStates(
  states: readonly SessionState[],
  currentOf: (state: SessionState) => unknown,
  failed: (state: SessionState, error: unknown) => void,
): StoredStates {
  const written: { readonly state: SessionState; readonly value: unknown; readonly size: number }[] = [];
  let isWhole = true;
  for (const state of states) {
    if (state.stored === undefined) continue;
    try {
      const value = currentOf(state);
      if (value === state.default) continue;
      if (value === undefined) isWhole = false;
      else {
        const encoded = state.stored.encode(value);
        written.push({ state, value: encoded, size: state.name.length + JSON.stringify(encoded).length });
      }
    } catch (error) {
      isWhole = false;
      failed(state, error);
    }
  }
  written.sort((one, other) => one.size - other.size);
  const values: [string, unknown][] = [];
  let size = 0;
  for (const one of written) {
    if (size + one.size > mostStored) {
      isWhole = false;
      failed(one.state, new TooMuchState(`all states of a session are ${mostStored} characters at most`));
    } else {
      size += one.size;
      values.push([one.state.name, one.value]);
    }
  }
  return { values: Object.fromEntries(values), size, isWhole };
}

/** Gives a session what was stored. What is no value of its state stays the default: `damaged` is told of each. */
export function readStates(
  session: Pick<Stateful, 'set'>,
  states: readonly SessionState[],
  stored: Readonly<Record<string, unknown>>,
  damaged: (state: SessionState) => void,
): void {
  for (const state of states) {
    const value = Object.hasOwn(stored, state.name) ? stored[state.name] : undefined;
    if (state.stored === undefined || value === undefined) continue;
    try {
      session.set(state, state.stored.decode(value));
    } catch {
      damaged(state); // whatever the schema of a module throws for it
    }
  }
}
