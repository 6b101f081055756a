/**
 * How text is cut into the words that full-text search compares. Every driver uses this for what is stored and for what
 * is asked, so a search finds the same on each, and what a user types can never be more than a list of words.
 */

/** Scripts without spaces between words: each character counts as a word. */
const spaceless = String.raw`\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}`;
const letter = String.raw`(?:(?![${spaceless}])[\p{L}\p{N}\p{M}])`;
/** Longer words (keys, encoded data) are cut off, stored and asked alike. In characters. */
const longest = 64;
const word = new RegExp(`[${spaceless}]|(${letter}{1,${longest}})${letter}*`, 'gu');

/** Marks that people leave out when they search: accents, Hebrew points, Arabic vowels. */
const marks = /[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]+/gu;

/** The words of a text, each once, without case and accents. */
export function words(text: string): Set<string> {
  // NFKD makes accents characters of their own, and full-width letters and ligatures plain ones.
  const plain = text.normalize('NFKD').replace(marks, '').toLowerCase().normalize('NFKC');
  return new Set(Array.from(plain.matchAll(word), (match) => match[1] ?? match[0]));
}
