/**
 * PRECIS: which strings are valid names, and which names are equal. RFC 8264 (framework), RFC 8265 (usernames and
 * passwords), RFC 8266 (nicknames), and the additions of RFC 7622 §3.3 and §3.4 for parts of an XMPP address. Domains
 * are in domain.ts.
 */
import { bidiHolds, contextsHold, isRightToLeft, mapWidth, points } from './unicode-rules.js';

/** The profile does not allow the string; the message says why, without the string. */
export class PrecisError extends Error {
  override readonly name = 'PrecisError';
}

const { letterDigits, exceptions, contextual, refused, ignorable } = points;
/** RFC 8264 §8: matches the first code point outside IdentifierClass, compatibility characters aside. */
const notIdentifier = new RegExp(`[${refused}]|${ignorable}|[^!-~${letterDigits}${exceptions}${contextual}]`, 'u');
/** RFC 8264 §8: matches the first code point outside FreeformClass. */
const notFreeform = new RegExp(`[${refused}]|${ignorable}|[^\\p{L}\\p{M}\\p{N}\\p{Zs}\\p{S}\\p{P}${contextual}]`, 'u');
const spaces = /(?! )\p{Zs}/gu;

/** RFC 7622 §3.3: maximum bytes of UTF-8 in each part of an address. */
const MAX_BYTES = 1023;
/** Text that normalizes to 1023 bytes has at most this many UTF-16 units: longer input is refused unread. */
export const MAX_UNITS = 2048;
/** UAX #15 §13: no language has more marks on one letter, and sorting many marks takes quadratic time. */
const tooManyMarks = /\p{M}{31}/u;

/** ASCII allowed in a localpart: not `"&'/:<>@` (RFC 7622 §3.3.1). Nearly all localparts are normalised already. */
const plainLocal = /^[!#-%(-.0-9;=?[-~]+$/;
const capitalLocal = /^[!#-%(-.0-9;=?A-Z[-~]+$/;
const plainResource = /^[ -~]+$/;

/** Normalises a localpart: UsernameCaseMapped without eight characters (RFC 7622 §3.3). Throws PrecisError. */
export function prepareLocal(text: string): string {
  if (text.length <= MAX_BYTES) {
    if (plainLocal.test(text)) return text;
    if (capitalLocal.test(text)) return text.toLowerCase();
  }
  const local = fits(stable(text, usernameCaseMapped));
  if (/["&'/:<>@]/.test(local)) throw new PrecisError('one of "&\'/:<>@ is not allowed');
  return local;
}

/**
 * Normalises a resourcepart: OpaqueString (RFC 7622 §3.4; a leading space is valid, RFC erratum 4560). Throws
 * PrecisError.
 */
export function prepareResource(text: string): string {
  return text.length <= MAX_BYTES && plainResource.test(text) ? text : fits(opaqueString(text));
}

/** Normalises a password, or any string that is only compared (RFC 8265 §4.2). Throws PrecisError. */
export function opaqueString(text: string): string {
  return text.length <= MAX_UNITS && plainResource.test(text) ? text : stable(text, mapOpaque);
}

/** Normalises a nickname for display (RFC 8266 §2.3). Throws PrecisError. */
export function nickname(text: string): string {
  return stable(text, mapNickname);
}

/** Returns the comparison key of a nickname, equal for equivalent nicknames (RFC 8266 §2.4). Not for display. */
export function nicknameKey(text: string): string {
  return stable(text, (nick) => mapNickname(bounded(nick).toLowerCase()));
}

/** RFC 8265 §3.3. */
function usernameCaseMapped(text: string): string {
  const wide = mapWidth(bounded(text));
  refuse(wide, notIdentifier); // §3.3.1: a string is prepared before it is mapped
  refuseCompat(wide);
  const name = wide.toLowerCase().normalize('NFC');
  refuse(name, notIdentifier);
  if (!contextsHold(name)) throw new PrecisError('a character is not allowed in this context');
  if (isRightToLeft(name) && !bidiHolds(name))
    throw new PrecisError('left-to-right and right-to-left characters are mixed');
  return name;
}

/** RFC 8265 §4.2. */
function mapOpaque(text: string): string {
  refuse(text, notFreeform);
  const string = text.replace(spaces, ' ').normalize('NFC');
  if (!contextsHold(string)) throw new PrecisError('a character is not allowed in this context');
  return string;
}

/** RFC 8266 §2.1. */
function mapNickname(text: string): string {
  refuse(text, notFreeform);
  const nick = text.replace(spaces, ' ').replace(/ {2,}/g, ' ').replace(/^ | $/g, '').normalize('NFKC');
  if (!contextsHold(nick)) throw new PrecisError('a character is not allowed in this context');
  return nick;
}

/**
 * RFC 8264 §7: applies the rules until nothing changes, at most three times. The result is never empty. Throws
 * PrecisError.
 */
function stable(text: string, rules: (text: string) => string): string {
  let before = text;
  for (let round = 0; round < 4; round++) {
    const after = rules(before);
    if (after === '') throw new PrecisError('empty');
    if (after === before) return after;
    before = after;
  }
  throw new PrecisError('normalisation is not stable');
}

function fits(text: string): string {
  if (Buffer.byteLength(text) > MAX_BYTES) throw new PrecisError(`longer than ${MAX_BYTES} bytes`);
  return text;
}

/**
 * RFC 8264 §9.17. What NFKC changes is a subset of what changes with case folding, which a regular expression can find.
 */
function refuseCompat(text: string): void {
  if (text.normalize('NFKC') === text) return;
  const point = text.match(/\p{Changes_When_NFKC_Casefolded}/gu)?.find((point) => point.normalize('NFKC') !== point);
  if (point !== undefined) throw new PrecisError(codePoint(point, 0));
}

function bounded(text: string): string {
  if (text.length > MAX_UNITS) throw new PrecisError(`longer than ${MAX_BYTES} bytes`);
  return text;
}

/** Throws PrecisError if the text is too long, has too many marks on a letter, or contains an unwanted code point. */
function refuse(text: string, unwanted: RegExp): void {
  if (tooManyMarks.test(bounded(text))) throw new PrecisError('more than 30 marks on one letter');
  const at = text.search(unwanted);
  if (at >= 0) throw new PrecisError(codePoint(text, at));
}

/** Returns the code point at an index in the notation U+0041. */
export function codePoint(text: string, at: number): string {
  return `U+${text.codePointAt(at)!.toString(16).toUpperCase().padStart(4, '0')}`;
}
