/**
 * A value that may be available synchronously: callers await only promises, so that the synchronous path costs no turn.
 */
export type Maybe<T> = T | Promise<T>;
