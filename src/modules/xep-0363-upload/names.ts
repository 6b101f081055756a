/** Names and types of files. Users choose them, so they are data: never paths, and never headers as they stand. */
import { plain } from '../../server/plain.js';
import type { BlobHeaders } from '../../storage/blobs.js';

/** Bytes of a name in UTF-8. */
const longestName = 255;
/** Characters of an ending, such as `.tar.gz`, that a shortened name keeps. */
const longestEnding = 32;

/**
 * Returns a file name that is not empty, no path, and has no characters that hide or reorder others. The ending stays as
 * it is (§4).
 */
export function cleanName(text: string): string {
  const last = text.split(/[/\\]/).at(-1)!;
  const visible = plain(last).replace(/[\n\ufffd]/g, '');
  // Windows drops dots and spaces at the end. "." and ".." are paths.
  const name = visible.replace(/^\s+|[\s.]+$/g, '');
  return name === '' ? 'file' : shortened(name);
}

function shortened(name: string): string {
  if (Buffer.byteLength(name) <= longestName) return name;
  const ending = /(?:\.[^.\s]+){1,2}$/.exec(name.slice(-longestEnding))?.[0] ?? '';
  let bytes = Buffer.byteLength(ending);
  let stem = '';
  for (const character of name.slice(0, name.length - ending.length)) {
    bytes += Buffer.byteLength(character);
    if (bytes > longestName) break;
    stem += character;
  }
  return stem + ending;
}

/** Returns the name as the last part of a path (RFC 3986). Parentheses and quotes would end a link in text. */
export const encodeName = (name: string): string => encodeURIComponent(name).replace(/[!'()*]/g, percent);

const percent = (character: string): string =>
  `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;

const token = '[a-z0-9][a-z0-9!#$&^_.+-]{0,63}';
const mediaType = new RegExp(`^${token}/${token}$`);

/** Returns type and subtype in lower case, without parameters (RFC 6838 §4.2). Returns undefined if it is invalid. */
export function essenceOf(text: string): string | undefined {
  const essence = text.split(';', 1)[0]!.trim().toLowerCase();
  return mediaType.test(essence) ? essence : undefined;
}

/** Types that browsers show without running anything in them. */
const shown = new Set(
  [
    'image/ apng avif bmp gif heic heif jpeg jpg jxl png tiff webp x-icon',
    'audio/ 3gpp aac flac m4a mp3 mp4 mpeg ogg opus wav webm x-flac x-m4a x-wav',
    'video/ 3gpp 3gpp2 mp4 mpeg ogg quicktime webm x-m4v x-matroska',
  ].flatMap((line) => {
    const [kind, ...subtypes] = line.split(' ');
    return subtypes.map((subtype) => kind + subtype);
  }),
);

/** Types of documents that can contain scripts, or are scripts. */
const active =
  /^(?:text\/(?:html|xml|xsl|css|.*script.*)|application\/(?:xhtml|xml|.*script.*|.*wasm.*|.*flash.*)|image\/svg)|[+]xml$/;

const unknown = 'application/octet-stream';

/** Headers that make a file inert (§11.1): browsers play or show it, or save it, and run nothing of it. */
export function inertHeaders(name: string, type: string = unknown): Record<string, string> {
  const isShown = shown.has(type);
  return {
    'content-type': active.test(type) ? unknown : type,
    'content-disposition': `${isShown ? 'inline' : 'attachment'}; ${fileNames(name)}`,
    'content-security-policy': "default-src 'none'; media-src 'self'; frame-ancestors 'none'; sandbox",
    'x-content-type-options': 'nosniff',
    // Web clients of other domains show it.
    'cross-origin-resource-policy': 'cross-origin',
  };
}

/** Those of them that a store of contents keeps with a file, for clients that get it from there. */
export const storedHeaders = (headers: Readonly<Record<string, string>>): BlobHeaders => ({
  type: headers['content-type'],
  disposition: headers['content-disposition'],
});

/** RFC 6266, RFC 8187: the name, and a form of it that any program can read. */
function fileNames(name: string): string {
  const ascii = name.replace(/[^\x20-\x7e]|["\\%]/gu, '_');
  return ascii === name ? `filename="${name}"` : `filename="${ascii}"; filename*=UTF-8''${encodeName(name)}`;
}
