/** What modules offer each other. The types of a service live with the module that provides it. */

/** By the name in `provides` and `needs`. Modules add theirs by declaration merging. */
// biome-ignore lint/suspicious/noEmptyInterface: modules merge their services into it
export interface Services {}
