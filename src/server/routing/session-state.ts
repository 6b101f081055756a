/**
 * Session state of modules. A module declares each state with a default and a storage format; the server stores it with
 * the session, saves it for a restart or a crash (XEP-0198), and can move it with the session.
 */
import type { z } from 'zod';

/** A session state. Declared once, beside its module, which lists it in `sessionStates`. */
export interface SessionState<T = unknown> {
  /** Its name in the stored record; unique among all running modules. */
  readonly name: string;
  /** The value until another is set. Shared by all sessions: never modify it. */
  readonly default: T;
  /** Schema of the stored JSON. If undefined, it is not stored. */
  readonly stored: z.ZodType | undefined;
  /** Schema of the JSON for another node. If undefined, it does not move with the session. */
  readonly moved: z.ZodType | undefined;
  /** Index of the value in a session; -1 until a host declares the state. */
  slot: number;
}

export interface StateOptions<T> {
  readonly name: string;
  readonly default: T;
  /**
   * Storage format: the schema of a JSON value, or a codec (`z.codec`) between that and the value. false: not stored; a
   * session resumed after a restart has the default.
   */
  readonly stored: z.ZodType<Exclude<T, undefined>> | false;
  /** The same for a session that moves to another node of a cluster. Default: as it is stored. */
  readonly moved?: z.ZodType<Exclude<T, undefined>>;
}

export const sessionState = <T>({ name, default: usual, stored, moved }: StateOptions<T>): SessionState<T> => ({
  name,
  default: usual,
  stored: stored === false ? undefined : stored,
  moved: moved ?? (stored === false ? undefined : stored),
  slot: -1,
});

let slots = 0;

/** An array for all states declared so far: no larger, as sessions are many. */
export const places = (): unknown[] => new Array<unknown>(slots);

/** Assigns the state its index in the sessions of this process. */
export function declareState(state: SessionState): void {
  if (state.slot < 0) state.slot = slots++;
}

/** Holds states: a session. */
export interface Stateful {
  get<T>(state: SessionState<T>): T;
  set<T>(state: SessionState<T>, value: NoInfer<T>): void;
}

/** The states of a session as a JSON object by name. */
export interface StoredStates {
  readonly values: Readonly<Record<string, unknown>>;
  /** Its size in characters. */
  readonly size: number;
  /** Whether every state that should be stored is included. */
  readonly isWhole: boolean;
}

/** Most characters of all states of one session together. */
const most = { stored: 262_144, moved: 2_097_152 };

/** The states of a session exceed the storage limit. */
export class TooMuchState extends Error {
  override readonly name = 'TooMuchState';
}

/**
 * Serializes the states of a session. `currentOf` returns the value of a state, or undefined if it is not known. Values
 * that their own schema rejects are left out, and the largest ones if the total is too large: `failed` is called for
 * each.
 */
export function writeStates(
  states: readonly SessionState[],
  currentOf: (state: SessionState) => unknown,
  failed: (state: SessionState, error: unknown) => void,
  form: 'stored' | 'moved' = 'stored',
): StoredStates {
  const written: { readonly state: SessionState; readonly value: unknown; readonly size: number }[] = [];
  let isWhole = true;
  for (const state of states) {
    const schema = state[form];
    if (schema === undefined) continue;
    try {
      const value = currentOf(state);
      if (value === state.default) continue;
      if (value === undefined) isWhole = false;
      else {
        const encoded = schema.encode(value);
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
    if (size + one.size > most[form]) {
      isWhole = false;
      failed(one.state, new TooMuchState(`the states of a session may have at most ${most[form]} characters`));
    } else {
      size += one.size;
      values.push([one.state.name, one.value]);
    }
  }
  return { values: Object.fromEntries(values), size, isWhole };
}

/** Restores the states of a session. Invalid values are replaced by the default: `damaged` is called for each. */
export function readStates(
  session: Pick<Stateful, 'set'>,
  states: readonly SessionState[],
  stored: Readonly<Record<string, unknown>>,
  damaged: (state: SessionState) => void,
  form: 'stored' | 'moved' = 'stored',
): void {
  for (const state of states) {
    const value = Object.hasOwn(stored, state.name) ? stored[state.name] : undefined;
    const schema = state[form];
    if (schema === undefined || value === undefined) continue;
    try {
      session.set(state, schema.decode(value));
    } catch {
      damaged(state); // schemas of modules may throw anything
    }
  }
}
