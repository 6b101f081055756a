/** XEP-0082: dates and times in the years 0000 to 9999. */

const ZONE = '(Z|[+-](?:0\\d|1[0-3]):[0-5]\\d|[+-]14:00)';
const TIME = '([01]\\d|2[0-3]):([0-5]\\d):([0-5]\\d)(?:\\.(\\d+))?';
const DATE = '(\\d{4})-(\\d\\d)-(\\d\\d)';
const date = new RegExp(`^${DATE}$`);
const time = new RegExp(`^${TIME}${ZONE}?$`);
// XML Schema's 24:00 is the start of the next day
const dateTime = new RegExp(`^${DATE}T(?:${TIME}|24:00:00(?:\\.0+)?)${ZONE}$`);

/** Formats ms since 1970 as `2026-11-21T23:40:56.123Z`. Throws RangeError if `ms` is not a valid time. */
export function formatDateTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** Parses the DateTime profile to ms since 1970, dropping fractions of a ms. Returns undefined if it is invalid. */
export function parseDateTime(text: string): number | undefined {
  const match = dateTime.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction, zone] = match;
  const midnight = dayOf(year!, month!, day!);
  if (midnight === undefined) return undefined;
  const clock = hour === undefined ? 24 * 3_600_000 : clockOf(hour, minute!, second!, fraction);
  return midnight + clock - offsetOf(zone!);
}

/** Parses the Date profile to the ms since 1970 at which the day begins (UTC). Returns undefined if it is invalid. */
export function parseDate(text: string): number | undefined {
  const match = date.exec(text);
  return match === null ? undefined : dayOf(match[1]!, match[2]!, match[3]!);
}

/**
 * Parses the Time profile to ms since midnight UTC if it has a zone (so it may be outside of the day), else since local
 * midnight. Returns undefined if it is invalid.
 */
export function parseTime(text: string): number | undefined {
  const match = time.exec(text);
  if (match === null) return undefined;
  const [, hour, minute, second, fraction, zone] = match;
  return clockOf(hour!, minute!, second!, fraction) - (zone === undefined ? 0 : offsetOf(zone));
}

function dayOf(year: string, month: string, day: string): number | undefined {
  const at = new Date(0);
  const ms = at.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  return at.getUTCMonth() === Number(month) - 1 && at.getUTCDate() === Number(day) ? ms : undefined;
}

function clockOf(hour: string, minute: string, second: string, fraction = ''): number {
  const ms = Number(fraction.slice(0, 3).padEnd(3, '0'));
  return ((Number(hour) * 60 + Number(minute)) * 60 + Number(second)) * 1000 + ms;
}

function offsetOf(zone: string): number {
  if (zone === 'Z') return 0;
  const ms = (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4))) * 60_000;
  return zone.startsWith('-') ? -ms : ms;
}
