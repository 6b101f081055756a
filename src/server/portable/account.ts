/** The elements of an account itself: its SCRAM keys (XEP-0227 §4.3), and what the specification has none for. */
import type { Account, AccountKeys, Imported } from '../accounts/index.js';
import { hashLength, type ScramHash, scramHashes } from '../accounts/keys.js';
import type { PortableElement } from '../module/index.js';
import { formatDateTime, parseDateTime } from '../stanza/datetime.js';
import { NS } from '../stanza/ns.js';
import { type Element, el } from '../xml/element.js';

/** Stands for a module in the table of elements. */
export const accountPart = '';

export const accountElements: readonly PortableElement[] = [
  { ns: NS.pieScram, name: 'scram-credentials' },
  { ns: NS.portable, name: 'account' },
];

/** Bounds of what another server may have chosen. */
const mostIterations = 10_000_000;
const longestSalt = 1024;

export function keyElements(keys: AccountKeys): Element[] {
  return scramHashes.flatMap((hash) => {
    const made = keys[hash];
    if (made === undefined) return [];
    return el(
      'scram-credentials',
      { xmlns: NS.pieScram, mechanism: `SCRAM-${hash}` },
      el('iter-count', null, String(made.iterations)),
      el('salt', null, made.salt.toString('base64')),
      el('server-key', null, made.serverKey.toString('base64')),
      el('stored-key', null, made.storedKey.toString('base64')),
    );
  });
}

export const accountElement = ({ created, role, disabled }: Account): Element =>
  el('account', {
    xmlns: NS.portable,
    created: formatDateTime(created),
    role: role === 'admin' ? 'admin' : undefined,
    disabled: disabled ? 'true' : undefined,
  });

/** Adds what an element says. Returns the reason if it cannot be used. */
export function readAccountElement(element: Element, into: Imported): Imported | string {
  if (element.getName() === 'account') {
    const created = parseDateTime(element.attrs.created ?? '');
    return {
      ...into,
      ...(created !== undefined && { created }),
      ...(element.attrs.role === 'admin' && { role: 'admin' }),
      ...(element.attrs.disabled === 'true' && { disabled: true }),
    };
  }
  const hash = /^SCRAM-(SHA-(?:1|256|512))$/.exec(element.attrs.mechanism ?? '')?.[1] as ScramHash | undefined;
  if (hash === undefined) return 'its mechanism is not known';
  if (into.keys?.[hash] !== undefined) return 'there are two of the same mechanism';
  const count = element.getChildText('iter-count', NS.pieScram)?.trim() ?? '';
  const iterations = /^[1-9]\d{0,8}$/.test(count) ? Number(count) : 0;
  const given = ['salt', 'server-key', 'stored-key'].map((name) => bytesIn(element.getChildText(name, NS.pieScram)));
  // ejabberd (26.07) encodes all three twice.
  const twice = given.map((bytes) => (bytes === undefined ? undefined : bytesIn(bytes.toString('latin1'))));
  const [, ...keys] = twice;
  const isTwice = keys.every((key) => key?.length === hashLength(hash)) && twice[0] !== undefined;
  const [salt, serverKey, storedKey] = isTwice ? twice : given;
  const isWhole =
    salt !== undefined &&
    salt.length > 0 &&
    salt.length <= longestSalt &&
    serverKey?.length === hashLength(hash) &&
    storedKey?.length === hashLength(hash) &&
    iterations > 0 &&
    iterations <= mostIterations;
  if (!isWhole) return 'it is not complete';
  return { ...into, keys: { ...into.keys, [hash]: { salt, iterations, serverKey, storedKey } } };
}

/** Decodes base64. Returns undefined if it is not. */
function bytesIn(text: string | null): Buffer | undefined {
  const plain = text?.replace(/\s/g, '') ?? '';
  return /^[A-Za-z0-9+/]+={0,2}$/.test(plain) ? Buffer.from(plain, 'base64') : undefined;
}
