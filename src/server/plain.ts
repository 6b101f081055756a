/**
 * Text that users chose, made safe for terminals, logs and lists: nothing in it moves the cursor, hides or reorders what
 * stands around it, or looks like a line of ours.
 */

// Controls without the line feed (C0, DEL, C1), marks and overrides of direction, separators, invisible tags, lone surrogates.
const unsafe =
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu;

/** Lines and nothing else. */
export function plain(text: string): string {
  return text.replace(unsafe, '\ufffd');
}

/** One line. */
export function oneLine(text: string): string {
  return plain(text).replaceAll('\n', '\ufffd');
}

/** JSON in which all of that is escaped. */
export function plainJson(value: unknown): string {
  return JSON.stringify(value).replace(unsafe, (found) =>
    [...Array(found.length).keys()].map((at) => `\\u${found.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
  );
}
