/** XEP-0124 §7: the attributes of a session creation request, and what they are answered with. */
import { NS } from '../../stanza/ns.js';
import type { Attributes } from '../../xml/element.js';
import type { Terms } from './session.js';

/** What the server grants. The protocol has whole seconds. */
export interface BoshSettings {
  readonly wait_seconds: number;
  readonly inactivity_seconds: number;
  readonly polling_seconds: number;
  readonly pause_seconds: number;
}

const whole = Math.floor;
/** Most requests held for one client. */
const mostHeld = 2;
/** The version of XEP-0124 that this is. */
const version = [1, 11] as const;
const longestMediaType = 100;
const mediaType =
  /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?:[ \t]*;[ \t]*[\w!#$&^.+-]+=(?:[\w!#$&^.+-]+|"[\w !#$&^.+/:;=-]*"))*$/;

/** The rid and other numbers; undefined if it is none. */
export function readNumber(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,16}$/.test(text)) return undefined;
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : undefined;
}

/** §15.3: SHA-1 in hexadecimal. */
export const isKey = (text: string | undefined): boolean => text === undefined || /^[0-9a-f]{40}$/i.test(text);

export interface Agreed {
  readonly terms: Terms;
  /** Of the session creation response. */
  readonly attributes: Attributes;
  /** Of all responses: their Content-Type. */
  readonly content: string;
}

/** Returns undefined if an attribute is malformed. */
export function agree(attrs: Attributes, rid: number, sid: string, settings: BoshSettings): Agreed | undefined {
  const wait = readNumber(attrs.wait ?? '3600');
  const hold = readNumber(attrs.hold ?? '1');
  const ver = readVersion(attrs.ver);
  const content = attrs.content ?? 'text/xml; charset=utf-8';
  if (wait === undefined || hold === undefined || ver === null) return undefined;
  if (content.length > longestMediaType || !mediaType.test(content)) return undefined;
  const granted = { wait: Math.min(wait, whole(settings.wait_seconds)), hold: Math.min(hold, mostHeld) };
  const isPolling = granted.wait === 0 || granted.hold === 0;
  const polling = whole(settings.polling_seconds);
  // §12: a session that polls is given more time.
  const inactivity = whole(settings.inactivity_seconds) + (isPolling ? 2 * polling : 0);
  const maxPause = whole(settings.pause_seconds);
  const requests = granted.hold + 1;
  return {
    content,
    terms: {
      wait: granted.wait * 1000,
      hold: granted.hold,
      requests,
      polling: polling * 1000,
      inactivity: inactivity * 1000,
      maxPause: maxPause * 1000,
      acknowledges: attrs.ack === '1',
      isLegacy: ver === undefined,
    },
    attributes: {
      sid,
      wait: String(granted.wait),
      hold: String(granted.hold),
      requests: String(requests),
      polling: String(polling),
      inactivity: String(inactivity),
      maxpause: String(maxPause),
      ack: String(rid),
      ver,
    },
  };
}

/** §7.1: returns the lower of both versions, undefined if the client names none, or null if it is malformed. */
function readVersion(text: string | undefined): string | undefined | null {
  if (text === undefined) return undefined;
  const [, major, minor] = /^(\d{1,4})\.(\d{1,4})$/.exec(text) ?? [];
  if (major === undefined) return null;
  const isLower = Number(major) < version[0] || (Number(major) === version[0] && Number(minor) < version[1]);
  return isLower ? `${Number(major)}.${Number(minor)}` : version.join('.');
}

/** XEP-0206 §3, §5: the stream header. The version is 1.0 by default (§10, the schema). */
export function headerOf(attrs: Attributes): Attributes {
  const { to, from, 'xml:lang': lang } = attrs;
  const given = { to, from, version: attrs[`${NS.xbosh} version`], 'xml:lang': lang };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}
