/** Messages that are sent again after a node has died are stored once (docs/decisions/0011-homes.md). */
import type { LogStore } from '../../storage/contract.js';
import { wall } from '../clock.js';
import type { FirstFrame, Origin } from '../routing/passage.js';
import { idAt } from '../stanza/ids.js';
import { Stanza } from '../stanza/stanza.js';

/** How long ago a frame that is repeated may have been stored, in ms. */
const longest = 24 * 3600_000;
/** Messages that one frame leads to for one owner: most lead to one. */
const most = 16;

/** The tag under which a message of another node is stored, so that a repetition finds it. */
export const tagOf = (origin: Origin | undefined): string | undefined => origin?.frame?.id;

/** The frame of a message that a home which is gone may have handled already. */
export function repeatedFrame(origin: Origin | undefined): FirstFrame | undefined {
  return origin?.frame?.isRepeated === true ? origin.frame : undefined;
}

/**
 * Resolves with the id under which the former home has stored a repeated message in this log, whose entries have `tagOf`
 * as their tag and stanzas as values. A frame may lead to several messages, so type and id, if there is one, are
 * compared as well.
 */
export async function storedFrom(
  log: Pick<LogStore, 'page'>,
  owner: string,
  { id: tag }: FirstFrame,
  { type, id }: Pick<Stanza, 'type' | 'id'>,
): Promise<string | undefined> {
  const { entries } = await log.page(owner, { tag, from: idAt(wall() - longest), limit: most });
  return entries.find(({ value }) => {
    const stored = Stanza.parse(value);
    return stored.type === type && (id === undefined || stored.id === id);
  })?.id;
}
