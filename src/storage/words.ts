/**
 * Splits text into words for full-text search. All drivers use it for stored text and for queries, so that a search
 * gives the same result on each, and user input is never more than a list of words.
 */

/** Scripts without spaces between words: each character is a word. */
const spaceless = String.raw`\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}`;
const letter = String.raw`(?:(?![${spaceless}])[\p{L}\p{N}\p{M}])`;
/** Longer words (keys, encoded data) are truncated in text and query alike. In characters. */
const maxLength = 64;
const word = new RegExp(`[${spaceless}]|(${letter}{1,${maxLength}})${letter}*`, 'gu');

/** Marks often omitted in searches: accents, Hebrew points, Arabic vowels. */
const marks = /[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]+/gu;

/** Returns the distinct words of a text, without case and accents. */
export function words(text: string): Set<string> {
  // NFKD splits off accents as separate characters, and maps full-width letters and ligatures to plain ones.
  const plain = text.normalize('NFKD').replace(marks, '').toLowerCase().normalize('NFKC');
  return new Set(Array.from(plain.matchAll(word), (match) => match[1] ?? match[0]));
}
