/** XEP-0502: message rate of a room. §5: hourly counts of the last day, in memory only. */
import { monotonic } from '../../server/clock.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import type { RoomConfig } from './room-config.js';

const hourMs = 3_600_000;
const hours = 24;

export interface Activity {
  /** The hour since 1970 of `counts[0]`. */
  hour: number;
  /** Messages per hour, current hour first. */
  counts: number[];
  /** When counting began, ms. */
  readonly since: number;
}

/** A room. */
interface Counted {
  readonly activity: Activity;
}

export const noActivity = (): Activity => ({ hour: Math.floor(monotonic() / hourMs), counts: [0], since: monotonic() });

/** §4: counts messages with a body, except corrections (XEP-0308). */
export function countMessage({ activity }: Counted, stanza: Stanza): void {
  if (!stanza.has(NS.client, 'body') || stanza.has(NS.correct, 'replace')) return;
  shift(activity);
  activity.counts[0]!++;
}

/** Messages per hour, averaged over the full hours counted; undefined if unknown or not public (§3, §9). */
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
