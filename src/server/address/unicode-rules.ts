/**
 * The common parts of PRECIS (RFC 8264) and IDNA2008 (RFC 5890ff): the code points that both list, the contextual rules
 * of RFC 5892 appendix A, the Bidi Rule of RFC 5893 §2, width mapping.
 *
 * Properties come from the Unicode version of the running Node; unassigned code points are refused. JavaScript lacks
 * two properties: Joining_Type is listed here as ranges (Unicode 18); Bidi_Class is reduced to what matters once only
 * letters, digits, marks and ASCII can occur.
 */

/** Pieces of character classes for regular expressions with the `u` flag. */
export const points = {
  /** RFC 8264 §9.1, RFC 5892 §2.1. */
  letterDigits: '\\p{Ll}\\p{Lu}\\p{Lo}\\p{Nd}\\p{Lm}\\p{Mn}\\p{Mc}',
  /** RFC 8264 §9.6, RFC 5892 §2.6: valid by exception, except those that are letters or digits anyway. */
  exceptions: '\\u06FD\\u06FE\\u0F0B\\u3007',
  /** CONTEXTO and CONTEXTJ: valid if `contextsHold`. */
  contextual: '\\xB7\\u0375\\u05F3\\u05F4\\u30FB\\u0660-\\u0669\\u06F0-\\u06F9\\u200C\\u200D',
  /** Never valid: disallowed by exception, old Hangul jamo, noncharacters, ignorables (except the join controls). */
  refused:
    '\\u0640\\u07FA\\u302E\\u302F\\u3031-\\u3035\\u303B\\u1100-\\u11FF\\uA960-\\uA97C\\uD7B0-\\uD7C6\\uD7CB-\\uD7FB' +
    '\\p{Noncharacter_Code_Point}',
  ignorable: '(?![\\u200C\\u200D])\\p{Default_Ignorable_Code_Point}',
} as const;

const contextual = new RegExp(`[${points.contextual}]`, 'u');

/**
 * Whether RFC 5892 appendix A allows each contextual code point in its place. Every rule scans the text at most once,
 * so the cost is linear for any input.
 */
export function contextsHold(text: string): boolean {
  if (!contextual.test(text)) return true;
  if (outOfContext.test(text)) return false;
  if (/\u30FB/.test(text) && !/[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}]/u.test(text)) return false; // A.7
  if (/[\u0660-\u0669]/.test(text) && /[\u06F0-\u06F9]/.test(text)) return false; // A.8, A.9: digits of both kinds
  return !/[\u200C\u200D]/.test(text) || joinersHold(text);
}

/** A.3 (Catalan), A.4 (Greek), A.5 and A.6 (Hebrew). */
const outOfContext = /(?<!l)\xB7|\xB7(?!l)|\u0375(?!\p{Script=Greek})|(?<!\p{Script=Hebrew})[\u05F3\u05F4]/u;

/** A.1 and A.2. The expression is compiled when the first joiner is seen: hardly any address has one. */
function joinersHold(text: string): boolean {
  misplacedJoiner ??= new RegExp(
    `(?<!${viramas()})(?:\u200D|\u200C(?!(?<=${joinsForward}${transparent}*\u200C)${transparent}*${joinsBackward}))`,
    'u',
  );
  return !misplacedJoiner.test(text);
}
let misplacedJoiner: RegExp | undefined;

/** Returns a character class of the code points of Canonical_Combining_Class Virama. */
function viramas(): string {
  let found = '';
  for (let code = 0x300; code < 0x12000; code++) {
    const point = String.fromCodePoint(code);
    if (/\p{M}/u.test(point) && isVirama(point)) found += point;
  }
  return `[${found}]`;
}

/**
 * Whether the Canonical_Combining_Class is Virama, which is 9. Normalization sorts marks by class: a mark of class 9
 * goes after the voiced sound mark (8) and before the Hebrew sheva (10).
 */
function isVirama(point: string): boolean {
  if (point === '\u3099' || point === '\u05B0') return false;
  return (
    `x${point}\u3099`.normalize('NFD') === `x\u3099${point}` && `x\u05B0${point}`.normalize('NFD') === `x${point}\u05B0`
  );
}

/** Joining_Type L or D. */
const joinsForward = String.raw`[\u0620\u0626\u0628\u062A-\u062E\u0633-\u063F\u0641-\u0647\u0649\u064A\u066E\u066F\u0678-\u0687\u069A-\u06BF\u06C1\u06C2\u06CC\u06CE\u06D0\u06D1\u06FA-\u06FC\u06FF\u0712-\u0714\u071A-\u071D\u071F-\u0727\u0729\u072B\u072D\u072E\u074E-\u0758\u075C-\u076A\u076D-\u0770\u0772\u0775-\u0777\u077A-\u077F\u07CA-\u07EA\u0841-\u0845\u0848\u084A-\u0853\u0855\u0860\u0862-\u0865\u0868\u0886\u0889-\u088D\u088F\u08A0-\u08A9\u08AF\u08B0\u08B3-\u08B8\u08BA-\u08C8\u1807\u1820-\u1878\u1887-\u18A8\u18AA\uA840-\uA872\u{10AC0}-\u{10AC4}\u{10ACD}\u{10AD3}-\u{10ADC}\u{10ADE}-\u{10AE0}\u{10AEB}-\u{10AEE}\u{10B80}\u{10B82}\u{10B86}-\u{10B88}\u{10B8A}\u{10B8B}\u{10B8D}\u{10B90}\u{10BAD}\u{10BAE}\u{10D00}-\u{10D21}\u{10D23}\u{10EC3}\u{10EC4}\u{10EC6}\u{10EC7}\u{10ED9}-\u{10EEE}\u{10F30}-\u{10F32}\u{10F34}-\u{10F44}\u{10F51}-\u{10F53}\u{10F70}-\u{10F73}\u{10F76}-\u{10F81}\u{10FB0}\u{10FB2}\u{10FB3}\u{10FB8}\u{10FBB}\u{10FBC}\u{10FBE}\u{10FBF}\u{10FC1}\u{10FC4}\u{10FCA}\u{10FCB}\u{1E900}-\u{1E943}]`;
/** Joining_Type R or D. */
const joinsBackward = String.raw`[\u0620\u0622-\u063F\u0641-\u064A\u066E\u066F\u0671-\u0673\u0675-\u06D3\u06D5\u06EE\u06EF\u06FA-\u06FC\u06FF\u0710\u0712-\u072F\u074D-\u077F\u07CA-\u07EA\u0840-\u0858\u0860\u0862-\u0865\u0867-\u086A\u0870-\u0882\u0886\u0889-\u088F\u08A0-\u08AC\u08AE-\u08C8\u1807\u1820-\u1878\u1887-\u18A8\u18AA\uA840-\uA871\u{10AC0}-\u{10AC5}\u{10AC7}\u{10AC9}\u{10ACA}\u{10ACE}-\u{10AD6}\u{10AD8}-\u{10AE1}\u{10AE4}\u{10AEB}-\u{10AEF}\u{10B80}-\u{10B91}\u{10BA9}-\u{10BAE}\u{10D01}-\u{10D23}\u{10EC2}-\u{10EC4}\u{10EC6}\u{10EC7}\u{10F30}-\u{10F44}\u{10F51}-\u{10F54}\u{10F70}-\u{10F81}\u{10FB0}\u{10FB2}-\u{10FB6}\u{10FB8}-\u{10FBF}\u{10FC1}-\u{10FC4}\u{10FC9}\u{10FCA}\u{1E900}-\u{1E943}]`;
/** Joining_Type T, restricted to valid code points. */
const transparent = String.raw`[\p{Mn}\p{Me}\u{1E94B}]`;

/**
 * Bidi classes as character classes, each without the code points of earlier ones: European digits, Arabic digits,
 * nonspacing marks, letters of right-to-left scripts (R and AL), neutrals (ES, CS, ET, ON, BN). The rest is L.
 */
const en = String.raw`[0-9\u06F0-\u06F9]`;
const an = String.raw`[\u0660-\u0669\u{10D30}-\u{10D39}\u{10D40}-\u{10D49}]`;
const nsm = String.raw`\p{Mn}`;
const r = String.raw`(?!${en}|${an}|${nsm})[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFE\u{10800}-\u{10FFF}\u{1E800}-\u{1EFFF}]`;
const neutral = String.raw`[!-\/:-@[-\x60{-~\xB7\u02B9\u02BA\u02C6-\u02CF\u02EC\u0375\u200C-\u200D\u208F\u2E2F\u30FB\uA67F\uA717-\uA71F\uA788]`;
const l = `(?!${en}|${an}|${nsm}|${r}|${neutral})[^]`;

const hasEn = new RegExp(en, 'u');
const hasAn = new RegExp(an, 'u');
const hasR = new RegExp(r, 'u');
const hasL = new RegExp(l, 'u');
const startsWithR = new RegExp(`^${r}`, 'u');
const startsWithL = new RegExp(`^${l}`, 'u');
const endsWithROrDigit = new RegExp(`(?:${r}|${en}|${an})${nsm}*$`, 'u');
const endsWithLOrDigit = new RegExp(`(?:${l}|${en})${nsm}*$`, 'u');

/** Whether the Bidi Rule applies to the string (RFC 8265 §3.3.2; RFC 5893 §1.4 for labels). */
export function isRightToLeft(text: string): boolean {
  return hasR.test(text) || hasAn.test(text);
}

/** RFC 5893 §2, for one label or one identifier of letters, digits, marks and ASCII symbols. */
export function bidiHolds(text: string): boolean {
  if (startsWithR.test(text))
    return !hasL.test(text) && !(hasEn.test(text) && hasAn.test(text)) && endsWithROrDigit.test(text);
  return startsWithL.test(text) && !hasR.test(text) && !hasAn.test(text) && endsWithLOrDigit.test(text);
}

/** Maps fullwidth and halfwidth forms (RFC 8264 §5.2.1). Halfwidth jamo are invalid either way. */
export function mapWidth(text: string): string {
  return text.replace(/[\u3000\uFF01-\uFF9F\uFFE0-\uFFEE]+/g, (run) => run.normalize('NFKC'));
}
