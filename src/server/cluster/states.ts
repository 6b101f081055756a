/** States of a slot at a node. */

export const elsewhere = 0;
/** Assigned to this node by the view; other nodes may still send older messages for it. */
export const gained = 1;
export const acting = 2;
/** About to be handed over: nothing new begins, and what has begun is finished. */
export const finishing = 3;
/** Being handed over. */
export const stopping = 4;

export const isLeaving = (state: number | undefined): boolean => state === finishing || state === stopping;
