/**
 * Makes text chosen by users safe for terminals, logs and lists: it cannot move the cursor, hide or reorder its
 * surroundings, or imitate our lines.
 */

// C0 without line feed, DEL, C1, direction marks and overrides, separators, invisible tags, lone surrogates.
const unsafe =
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu;

/** Text with line feeds. */
export function plain(text: string): string {
  return text.replace(unsafe, '\ufffd');
}

/** One line. */
export function oneLine(text: string): string {
  return plain(text).replaceAll('\n', '\ufffd');
}

/** JSON with all of these characters escaped. */
export function plainJson(value: unknown): string {
  return JSON.stringify(value).replace(unsafe, (found) =>
    [...Array(found.length).keys()].map((at) => `\\u${found.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
  );
}
