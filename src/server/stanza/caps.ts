/**
 * XEP-0115: the verification string of service discovery information, to announce ours and to check that of others.
 * `null` stands for an ill-formed answer (§5.4), which proves nothing.
 */
import { createHash } from 'node:crypto';
import type { Element } from '../xml/element.js';
import { NS } from './ns.js';
import type { Stanza } from './stanza.js';

/** The supported hash functions, by their names in the `hash` attribute (IANA). All clients support SHA-1. */
const algorithms: Readonly<Record<string, string>> = {
  'sha-1': 'sha1',
  'sha-256': 'sha256',
  'sha-512': 'sha512',
};

export interface CapsIdentity {
  readonly category: string;
  readonly type: string;
  readonly name?: string | undefined;
  readonly lang?: string | undefined;
}

/**
 * §5.1: returns the `ver` of these. Forms are XEP-0128 data forms; those without a hidden FORM_TYPE are ignored (§5.4).
 * Throws RangeError for an unsupported algorithm.
 */
export function capsHash(
  identities: readonly CapsIdentity[],
  features: readonly string[],
  forms: readonly Element[] = [],
  algorithm = 'sha-1',
): string {
  const name = algorithms[algorithm];
  if (name === undefined) throw new RangeError(`${algorithm} is not a supported hash`);
  return createHash(name)
    .update(verificationString(identities, features, forms), 'utf8')
    .digest('base64');
}

/**
 * §5.4: whether a disco#info answer has the announced hash. Returns undefined if the hash function is not supported, so
 * that the answer is valid for this one address only.
 */
export function provesCaps(query: Element, algorithm: string, ver: string): boolean | undefined {
  if (algorithms[algorithm] === undefined) return undefined;
  const info = readInfo(query);
  return info !== null && capsHash(info.identities, info.features, info.forms, algorithm) === ver;
}

export interface CapsInfo {
  readonly identities: readonly CapsIdentity[];
  readonly features: readonly string[];
  readonly forms: readonly Element[];
}

/** Reads a disco#info answer. Returns null if it is ill-formed (§5.4). */
export function readInfo(query: Element): CapsInfo | null {
  const children = query.getChildElements();
  const own = (name: string) => children.filter((child) => child.getName() === name && child.getNS() === NS.discoInfo);
  const identities = own('identity').map((child) => ({
    category: child.attrs.category ?? '',
    type: child.attrs.type ?? '',
    lang: child.attrs['xml:lang'],
    name: child.attrs.name,
  }));
  const features = own('feature').map((child) => child.attrs.var ?? '');
  const forms = children.filter((child) => child.getName() === 'x' && child.getNS() === NS.dataForms);
  const formTypes = forms.flatMap((form) => formType(form) ?? []);
  const severalTypes = forms.some((form) => new Set(hiddenType(form)?.map((value) => value.getText())).size > 1);
  if (identities.length === 0 || severalTypes) return null;
  if (repeats(identities.map(identityText)) || repeats(features) || repeats(formTypes)) return null;
  // §9.3: a part containing the separator would be ambiguous: such an answer is never accepted.
  if (verificationParts(identities, features, forms).some((part) => part.includes('<'))) return null;
  return { identities, features, forms };
}

const verificationString = (
  identities: readonly CapsIdentity[],
  features: readonly string[],
  forms: readonly Element[],
): string =>
  verificationParts(identities, features, forms)
    .map((part) => `${part}<`)
    .join('');

function verificationParts(
  identities: readonly CapsIdentity[],
  features: readonly string[],
  forms: readonly Element[],
): string[] {
  const known = forms.flatMap((form) => {
    const type = formType(form);
    return type === undefined ? [] : [{ type, form }];
  });
  return [
    ...identities.map(identityText).sort(octets),
    ...[...features].sort(octets),
    ...known
      .sort((one, other) => octets(one.type, other.type))
      .flatMap(({ type, form }) => [
        type,
        ...form
          .getChildren('field')
          .filter((field) => field.attrs.var !== 'FORM_TYPE')
          .sort((one, other) => octets(one.attrs.var ?? '', other.attrs.var ?? ''))
          .flatMap((field) => [field.attrs.var ?? '', ...valuesOf(field).sort(octets)]),
      ]),
  ];
}

const identityText = ({ category, type, lang = '', name = '' }: CapsIdentity): string =>
  `${category}/${type}/${lang}/${name}`;

/** Returns the values of the FORM_TYPE field, or undefined if it is absent or not hidden. */
function hiddenType(form: Element): Element[] | undefined {
  const field = form.getChildren('field').find((child) => child.attrs.var === 'FORM_TYPE');
  return field?.attrs.type === 'hidden' ? field.getChildren('value') : undefined;
}

const formType = (form: Element): string | undefined => hiddenType(form)?.[0]?.getText();

const valuesOf = (field: Element): string[] => field.getChildren('value').map((value) => value.getText());

const repeats = (texts: readonly string[]): boolean => new Set(texts).size < texts.length;

/** The collation "i;octet" (RFC 4790 §9.3): by UTF-8 bytes, which differs from `<` above U+FFFF. */
const octets = (one: string, other: string): number => Buffer.compare(Buffer.from(one), Buffer.from(other));

/**
 * XEP-0115 §8.4: copies the capabilities of the previous presence if this one has none: a client may omit unchanged
 * capabilities.
 */
export function withCapsOf(presence: Stanza, before: Stanza | undefined): Stanza {
  if (before === undefined || presence.has(NS.caps, 'c')) return presence;
  const caps = before.child(NS.caps, 'c');
  return caps === undefined ? presence : presence.plus(caps);
}

/** Whether the later presence announces the same capabilities as the earlier one, and so may omit them. */
export function repeatsCaps(later: Stanza, earlier: Stanza | undefined): boolean {
  const [now, before] = [later.child(NS.caps, 'c'), earlier?.child(NS.caps, 'c')];
  if (now === undefined || before === undefined) return false;
  return ['hash', 'node', 'ver', 'ext'].every((name) => now.attrs[name] === before.attrs[name]);
}
