/**
 * Which of several hooks of one kind comes first. The order of modules in a list means nothing: a hook that depends on
 * another says so by the name of the other's module. A name that no running module has is ignored, and so is a hook's own.
 * Without a word from either, the hooks of a module come after those of the modules whose services it has.
 */
export interface Order {
  /** Modules whose hooks of this kind come first; 'all': those of all modules that do not say 'all' themselves. */
  readonly after?: readonly string[] | 'all' | undefined;
  /** Modules whose hooks of this kind come later; 'all' likewise. */
  readonly before?: readonly string[] | 'all' | undefined;
}
