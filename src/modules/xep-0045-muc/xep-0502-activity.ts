/** XEP-0502: how much is said in a room. §5: counts by the hour of the last day, which the memory forgets with the room. */
import { monotonic } from '../../server/clock.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import type { RoomConfig } from './room-config.js';

const hourMs = 3_600_000;
const hours = 24;

export interface Activity {
  /** Hours since 1970 that `counts[0]` is of. */
  hour: number;
  /** The present hour first. */
  counts: number[];
  /** When counting began, ms. */
  readonly since: number;
}

/** A room. */
interface Counted {
  readonly activity: Activity;
}

export const noActivity = (): Activity => ({ hour: Math.floor(monotonic() / hourMs), counts: [0], since: monotonic() });

/** §4: messages with something to read, corrections (XEP-0308) left out. */
export function countMessage({ activity }: Counted, stanza: Stanza): void {
  if (!stanza.has(NS.client, 'body') || stanza.has(NS.correct, 'replace')) return;
  shift(activity);
  activity.counts[0]!++;
}

/** Messages an hour, by the full hours that were counted; undefined where it is not known, or not to be told (§3, §9). */
export function activityOf({ activity, config }: Counted & { readonly config: RoomConfig }): number | undefined {
  const isForAll = config.public && config.persistent && !config.membersOnly && config.password === '';
  if (!isForAll) return undefined;
  shift(activity);
  const counted = Math.min(hours, activity.hour - Math.floor(activity.since / hourMs));
  if (counted < 1) return undefined;
  const sum = activity.counts.slice(1, counted + 1).reduce((total, count) => total + count, 0);
  return Math.round((sum / counted) * 100) / 100;
}

function shift(activity: Activity): void {
  const passed = Math.floor(monotonic() / hourMs) - activity.hour;
  if (passed <= 0) return;
  activity.hour += passed;
  activity.counts = [...Array<number>(Math.min(passed, hours + 1)).fill(0), ...activity.counts].slice(0, hours + 1);
}
