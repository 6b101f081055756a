/**
 * Domainparts (RFC 7622 §3.2): a host name of NR-LDH labels and U-labels (IDNA2008: RFC 5890, 5891, 5892, 5893), an
 * IPv4 address, or an IPv6 address in brackets. A-labels are converted to U-labels; case and width are mapped.
 */
import { isIPv6 } from 'node:net';
import { domainToASCII, domainToUnicode } from 'node:url';
import { codePoint, PrecisError } from './precis.js';
import { bidiHolds, contextsHold, isRightToLeft, mapWidth, points } from './unicode-rules.js';

const { letterDigits, exceptions, contextual, refused, ignorable } = points;
/**
 * RFC 5892 §3: matches the first code point not allowed in a U-label. Changes_When_NFKC_Casefolded is the RFC's
 * "unstable" (§2.2); the blocks are those of §2.4.
 */
const notInLabel = new RegExp(
  `(?![\\xDF\\u03C2\\u200C\\u200D])\\p{Changes_When_NFKC_Casefolded}|[${refused}\\u20D0-\\u20FF\\u{1D100}-\\u{1D24F}]` +
    `|${ignorable}|[^a-z0-9-${letterDigits}${exceptions}${contextual}]`,
  'u',
);

/** RFC 1035 §2.3.4, in DNS form. */
const MAX_LABEL = 63;
const MAX_NAME = 253;

const DOT = 0x2e;
const HYPHEN = 0x2d;

/** Returns the normalised domainpart. Throws PrecisError. */
export function prepareDomain(text: string): string {
  if (isPlain(text)) return text;
  // An IDN in Unicode is shorter than in ASCII, and at most four times as long when decomposed
  if (text.length > 4 * MAX_NAME) throw new PrecisError(`longer than ${MAX_NAME} bytes`);
  if (text.startsWith('[')) return prepareIPv6(text);
  const mapped = mapCase(text);
  // A final dot marks an absolute name (RFC 1034 §3.1)
  const labels = (mapped.endsWith('.') ? mapped.slice(0, -1) : mapped).split('.').map(prepareLabel);
  // RFC 5893 §2: one right-to-left label puts all labels under the Bidi Rule
  if (labels.some(isRightToLeft) && !labels.every(bidiHolds))
    throw new PrecisError('left-to-right and right-to-left characters are mixed');
  const domain = labels.join('.');
  const ascii = domainToASCII(domain);
  // Also refuses what Node's URL rules read as another IPv4 address: 127.1, 0x7f.0.0.1, 192.0.2.010
  if (domainToUnicode(ascii) !== domain) throw new PrecisError('not a valid host name');
  if (ascii.length > MAX_NAME || ascii.split('.').some((label) => label.length > MAX_LABEL)) {
    throw new PrecisError(`longer than ${MAX_NAME} bytes, or has a label longer than ${MAX_LABEL}`);
  }
  return domain;
}

/** The domains that this one is a subdomain of, the longest first. */
export function* parentsOf(domain: string): Generator<string, void> {
  // An IPv6 address in brackets may end in a dotted IPv4 address.
  if (domain.startsWith('[')) return;
  for (let dot = domain.indexOf('.'); dot >= 0; dot = domain.indexOf('.', dot + 1)) yield domain.slice(dot + 1);
}

/** Fast path for nearly all domains: lower-case ASCII letters, digits and hyphens; no IDN, no address. */
function isPlain(text: string): boolean {
  if (text.length > MAX_NAME) return false;
  let start = 0;
  let before = DOT;
  let digitsOnly = true;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === DOT) {
      if (before === DOT || before === HYPHEN || at - start > MAX_LABEL) return false;
      start = at + 1;
      digitsOnly = true;
    } else if (code === HYPHEN) {
      // Hyphens in third and fourth position: an A-label, or reserved (RFC 5890 §2.3.1)
      if (before === DOT || (before === HYPHEN && at - start === 3)) return false;
      digitsOnly = false;
    } else if (code >= 0x61 && code <= 0x7a) {
      digitsOnly = false;
    } else if (code < 0x30 || code > 0x39) {
      return false;
    }
    before = code;
  }
  return text.length - start <= MAX_LABEL && before !== DOT && before !== HYPHEN && !digitsOnly;
}

/** RFC 7622 §3.2.2, and RFC 5895 §2 for the dots used in typing IDNs. */
function mapCase(text: string): string {
  if (!/[^\0-~]/.test(text)) return text.toLowerCase();
  // By character: a final sigma depends on word boundaries, which labels do not have
  const small = Array.from(mapWidth(text), (point) => point.toLowerCase()).join('');
  return small.replace(/\u3002/g, '.').normalize('NFC');
}

/** Returns the U-label of an A-label, and any other label unchanged (RFC 5891 §5). Throws PrecisError. */
function prepareLabel(text: string): string {
  const label = text.startsWith('xn--') ? domainToUnicode(text) : text;
  // A label that does not round-trip is not an A-label (RFC 5891 §5.3)
  if (label !== text && domainToASCII(label) !== text) throw new PrecisError('not a valid A-label');
  if (label === '') throw new PrecisError('empty label');
  const at = label.search(notInLabel);
  if (at >= 0) throw new PrecisError(codePoint(label, at));
  if (/^-|-$|^..--/u.test(label)) throw new PrecisError('a hyphen is not allowed here');
  if (/^\p{M}/u.test(label)) throw new PrecisError('a label begins with a combining mark'); // RFC 5891 §4.2.3.2
  if (!contextsHold(label)) throw new PrecisError('a character is not allowed in this context');
  return label;
}

/** RFC 3986 §3.2.2 in the spelling of RFC 5952. Refuses a zone, which is only meaningful on one host. */
function prepareIPv6(text: string): string {
  const address = text.slice(1, -1);
  if (!text.endsWith(']') || !isIPv6(address) || address.includes('%')) throw new PrecisError('not an IPv6 address');
  return new URL(`http://${text}`).hostname;
}
