/** What may be there already: whoever gets it waits for promises alone, so that the path without one costs no turn. */
export type Maybe<T> = T | Promise<T>;
