/** Requests for slots and their answers (§4, §5, §6), in the current form and in that of version 0.2. */
import { formatDateTime, parseDateTime } from '../../server/stanza/datetime.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import type { Refusal } from './account.js';
import { cleanName, essenceOf } from './names.js';
import { type Purpose, purposes, type Wanted } from './slots.js';

/** Longest text of a name that is looked at, in characters. */
const longestText = 4096;

/** Reads `<request/>`. Throws StanzaError. `now` in milliseconds since 1970. */
export function readRequest(payload: Element, now: number): Wanted {
  const isOld = payload.getNS() === NS.uploadOld;
  const given = (name: string): string | undefined =>
    isOld ? (payload.getChildText(name, NS.uploadOld) ?? undefined) : payload.attrs[name];
  const name = given('filename');
  if (name === undefined || name === '' || name.length > longestText)
    throw new StanzaError('bad-request', 'A slot needs the name of the file.');
  const size = given('size')?.trim() ?? '';
  if (!/^0*[1-9]\d*$/.test(size)) throw new StanzaError('bad-request', 'A slot needs the size of the file in bytes.');
  const text = given('content-type')?.trim() ?? '';
  const type = essenceOf(text);
  if (type === undefined && text !== '') throw new StanzaError('bad-request', 'The content type is not valid.');
  return { name: cleanName(name), size: Number(size), type, ...purposeOf(payload, now) };
}

/** §5: "message" unless another is given. */
function purposeOf(payload: Element, now: number): Pick<Wanted, 'purpose' | 'expires'> {
  const [given, ...more] = payload.getChildElements().filter((child) => child.getNS() === NS.uploadPurpose);
  if (given === undefined) return { purpose: 'message' };
  if (more.length > 0) throw new StanzaError('bad-request', 'A file has one purpose.');
  const purpose = purposes.find((one) => one === given.getName());
  if (purpose === undefined) throw unsupported();
  if (purpose !== 'ephemeral') return { purpose };
  const expires = parseDateTime(given.attrs['expire-before'] ?? '');
  if (expires === undefined || expires <= now)
    throw new StanzaError('bad-request', 'An ephemeral file needs a time in the future at which it expires.');
  return { purpose, expires };
}

export const unsupported = () =>
  new StanzaError('feature-not-implemented', 'Files for this purpose cannot be uploaded here.');

/** §5: the features of the purposes that are offered. */
export const purposeFeatures = (offered: readonly Purpose[]): string[] =>
  offered.map((purpose) => `${NS.uploadPurpose}#${purpose}`);

/** `ns` is that of the request. */
export function slotElement(ns: string, put: string, get: string): Element {
  if (ns === NS.uploadOld) return el('slot', { xmlns: ns }, el('put', null, put), el('get', null, get));
  return el('slot', { xmlns: ns }, el('put', { url: put }), el('get', { url: get }));
}

/** §6. */
export function tooLarge(ns: string, limit: number): StanzaError {
  const max = el('max-file-size', null, String(limit));
  return new StanzaError('not-acceptable', `The file is too large. The maximum size is ${limit} bytes.`, {
    extra: [el('file-too-large', { xmlns: ns }, max)],
  });
}

/** Why no slot is given (§6). */
export function refusalError(ns: string, { kind, retry }: Refusal): StanzaError {
  if (kind === 'stored' || kind === 'gone') return new StanzaError('conflict', refusalTexts[kind]);
  const extra = retry === undefined ? [] : [el('retry', { xmlns: ns, stamp: formatDateTime(retry) })];
  return new StanzaError('resource-constraint', refusalTexts[kind], {
    extra,
    ...(retry === undefined && { type: 'cancel' }),
  });
}

export const refusalTexts: Readonly<Record<Refusal['kind'], string>> = {
  stored: 'The file was uploaded already.',
  gone: 'The account does not exist.',
  slots: 'You have too many slots and running uploads.',
  files: 'You have too many files. Delete some of them.',
  space: 'Your files use all the space that you have on this server. Delete some of them.',
  day: 'You have uploaded as much as you may today.',
};
