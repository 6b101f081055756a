/**
 * Order of hooks of the same kind. The order of modules has no meaning: a hook that depends on another names the
 * other's module. Names of modules that are not running, and the hook's own, are ignored. By default the hooks of a
 * module come after those of the modules whose services it uses.
 */
export interface Order {
  /** Modules whose hooks of this kind come first; 'all' means all modules that do not say 'all' themselves. */
  readonly after?: readonly string[] | 'all' | undefined;
  /** Modules whose hooks of this kind come later; 'all' as above. */
  readonly before?: readonly string[] | 'all' | undefined;
}
