/** Services that modules offer each other. Their types are declared by the providing module. */

/** By the name in `provides` and `needs`. Modules add their own by declaration merging. */
// biome-ignore lint/suspicious/noEmptyInterface: modules merge their services into it
export interface Services {}
