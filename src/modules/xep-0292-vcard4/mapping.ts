/**
 * XEP-0292 §11: converts between vCards of XEP-0054 and of RFC 6351, in both directions. Properties with the same
 * meaning form a group. A group is only rewritten if it differs from the other vCard, so that each vCard retains
 * properties without a counterpart.
 */
import { NS } from '../../server/stanza/ns.js';
import { childrenOf, type Element, el, serialize } from '../../server/xml/element.js';

type Elements = readonly Element[];

interface Group {
  /** Its properties in XEP-0054 and in RFC 6351. */
  readonly temp: readonly string[];
  readonly four: readonly string[];
  toFour(properties: Elements): Elements;
  toTemp(properties: Elements): Elements;
}

const tempText = (property: Element, name: string): string => property.getChildText(name, NS.vcardTemp)?.trim() ?? '';
const has = (property: Element, name: string): boolean => property.getChild(name, NS.vcardTemp) !== undefined;

/** The values of an RFC 6351 property, of any type. */
const valuesOf = (property: Element): string[] =>
  childrenOf(property)
    .filter((child) => child.getName() !== 'parameters')
    .map((child) => child.getText().trim())
    .filter((text) => text !== '');

const typesOf = (property: Element): string[] =>
  childrenOf(property.getChild('parameters') ?? el('none'))
    .filter((one) => one.getName() === 'type')
    .flatMap(childrenOf)
    .map((text) => text.getText().trim().toLowerCase());

const isPreferred = (property: Element): boolean =>
  property.getChild('parameters')?.getChild('pref')?.getText().trim() === '1' ||
  property.getChild('parameters')?.getChild('pref')?.getChildText('integer')?.trim() === '1';

const one = (name: string, type: string, value: string): Elements =>
  value === '' ? [] : [el(name, null, el(type, null, value))];

/** Properties with one text each. `typeOf`: the type of the value in RFC 6351. */
const plain = (temp: string, four: string, typeOf: (value: string) => string = () => 'text'): Group => ({
  temp: [temp],
  four: [four],
  toFour: (all) => all.flatMap((property) => one(four, typeOf(property.getText().trim()), property.getText().trim())),
  toTemp: (all) => all.flatMap((property) => valuesOf(property).map((value) => el(temp, null, value))),
});

const hasScheme = (value: string): boolean => /^[a-z][a-z0-9+.-]*:\S+$/i.test(value);
const uriOrText = (value: string): string => (hasScheme(value) ? 'uri' : 'text');

// --- properties -------------------------------------------------------------------------------------------------

/** PHOTO, LOGO, SOUND: a URI, or the data itself. */
const media = (temp: string, four: string, usual: string): Group => ({
  temp: [temp],
  four: [four],
  toFour: (all) =>
    all.flatMap((property) => {
      const binary = tempText(property, 'BINVAL').replace(/\s+/g, '');
      const type = tempText(property, 'TYPE') || usual;
      return one(four, 'uri', binary === '' ? tempText(property, 'EXTVAL') : `data:${type};base64,${binary}`);
    }),
  toTemp: (all) =>
    all.flatMap((property) =>
      valuesOf(property).map((uri) => {
        const [, type, binary] = /^data:([^;,]*)(?:;[^;,]*)*;base64,([\s\S]*)$/i.exec(uri) ?? [];
        if (binary === undefined) return el(temp, null, el('EXTVAL', null, uri));
        const named = temp === 'SOUND' ? undefined : el('TYPE', null, type || usual);
        return el(temp, null, named, el('BINVAL', null, binary.replace(/\s+/g, '')));
      }),
    ),
});

/** Properties with types, and with parts given by the conversion functions. */
const typed = (
  temp: string,
  four: string,
  types: readonly string[],
  toFour: (property: Element) => Elements,
  toTemp: (property: Element) => Elements,
): Group => ({
  temp: [temp],
  four: [four],
  toFour: (all) =>
    all.flatMap((property) => {
      const inner = toFour(property);
      if (inner.length === 0) return [];
      const named = types.filter((type) => has(property, type.toUpperCase()));
      const type = named.length === 0 ? undefined : el('type', null, ...named.map((name) => el('text', null, name)));
      const pref = has(property, 'PREF') ? el('pref', null, el('integer', null, '1')) : undefined;
      const parameters = type === undefined && pref === undefined ? undefined : el('parameters', null, type, pref);
      return el(four, null, parameters, ...inner);
    }),
  toTemp: (all) =>
    all.flatMap((property) => {
      const inner = toTemp(property);
      if (inner.length === 0) return [];
      const known = typesOf(property);
      const named = types.filter((type) => known.includes(type)).map((type) => el(type.toUpperCase()));
      return el(temp, null, ...named, isPreferred(property) ? el('PREF') : undefined, ...inner);
    }),
});

/** The parts of a structured value, in the order of RFC 6350. */
const parts = (names: readonly (readonly [temp: string, four: string])[]) => ({
  toFour: (property: Element): Element[] =>
    names.flatMap(([temp, four]) => {
      const text = tempText(property, temp);
      return text === '' ? [] : el(four, null, text);
    }),
  toTemp: (property: Element): Element[] =>
    names.flatMap(([temp, four]) => {
      const text = property
        .getChildren(four)
        .map((part) => part.getText().trim())
        .filter((part) => part !== '')
        .join(', ');
      return text === '' ? [] : el(temp, null, text);
    }),
});

const nameParts = parts([
  ['FAMILY', 'surname'],
  ['GIVEN', 'given'],
  ['MIDDLE', 'additional'], // §11.1.3
  ['PREFIX', 'prefix'],
  ['SUFFIX', 'suffix'],
]);

const addressParts = parts([
  ['POBOX', 'pobox'],
  ['EXTADD', 'ext'],
  ['STREET', 'street'],
  ['LOCALITY', 'locality'],
  ['REGION', 'region'],
  ['PCODE', 'code'],
  ['CTRY', 'country'],
]);

/** N, with SORT-STRING, which RFC 6350 has as a parameter (§11.3.4, RFC 6351 §5). */
const name: Group = {
  temp: ['N', 'SORT-STRING'],
  four: ['n'],
  toFour: (all) => {
    const sort =
      all
        .find((property) => property.getName() === 'SORT-STRING')
        ?.getText()
        .trim() ?? '';
    const inner = all.filter((property) => property.getName() === 'N').flatMap(nameParts.toFour);
    if (inner.length === 0) return [];
    const parameters = sort === '' ? undefined : el('parameters', null, ...one('sort-as', 'text', sort));
    return [el('n', null, parameters, ...inner)];
  },
  toTemp: (all) =>
    all.slice(0, 1).flatMap((property) => {
      const inner = nameParts.toTemp(property);
      const sort = property.getChild('parameters')?.getChild('sort-as')?.getChildText('text')?.trim() ?? '';
      return [
        ...(inner.length === 0 ? [] : [el('N', null, ...inner)]),
        ...(sort === '' ? [] : [el('SORT-STRING', null, sort)]),
      ];
    }),
};

/** §11.1.1. Clients of XEP-0054 read it from DESC. */
const note: Group = {
  temp: ['DESC', 'NOTE'],
  four: ['note'],
  toFour: (all) => all.flatMap((property) => one('note', 'text', property.getText().trim())),
  toTemp: (all) => all.flatMap(valuesOf).map((value) => el('DESC', null, value)),
};

/** §11.1.2: other IMPP addresses have no counterpart. */
const address: Group = {
  temp: ['JABBERID'],
  four: ['impp'],
  toFour: (all) =>
    all.flatMap((property) => {
      const jid = property.getText().trim();
      return one('impp', 'uri', jid === '' ? '' : `xmpp:${jid}`);
    }),
  toTemp: (all) =>
    all
      .flatMap(valuesOf)
      .filter((uri) => /^xmpp:./i.test(uri))
      .map((uri) => el('JABBERID', null, uri.slice('xmpp:'.length))),
};

const geo: Group = {
  temp: ['GEO'],
  four: ['geo'],
  toFour: (all) =>
    all.flatMap((property) => {
      const [lat, lon] = [tempText(property, 'LAT'), tempText(property, 'LON')];
      return lat === '' || lon === '' ? [] : one('geo', 'uri', `geo:${lat},${lon}`);
    }),
  toTemp: (all) =>
    all.flatMap(valuesOf).flatMap((uri) => {
      const [, lat, lon] = /^geo:([-+\d.]+),([-+\d.]+)/i.exec(uri) ?? [];
      return lat === undefined || lon === undefined ? [] : el('GEO', null, el('LAT', null, lat), el('LON', null, lon));
    }),
};

/** §11.3.3 does not mention units; RFC 6351 has them as further texts. */
const organization: Group = {
  temp: ['ORG'],
  four: ['org'],
  toFour: (all) =>
    all.flatMap((property) => {
      const named = tempText(property, 'ORGNAME');
      const units = property.getChildren('ORGUNIT', NS.vcardTemp).map((unit) => unit.getText().trim());
      const texts = [named, ...units.filter((unit) => unit !== '')];
      return texts.every((text) => text === '') ? [] : el('org', null, ...texts.map((text) => el('text', null, text)));
    }),
  toTemp: (all) =>
    all.flatMap((property) => {
      const [named = '', ...units] = property.getChildren('text').map((text) => text.getText().trim());
      if (named === '' && units.length === 0) return [];
      return el('ORG', null, el('ORGNAME', null, named), ...units.map((unit) => el('ORGUNIT', null, unit)));
    }),
};

const categories: Group = {
  temp: ['CATEGORIES'],
  four: ['categories'],
  toFour: (all) =>
    all.flatMap((property) => {
      const words = property.getChildren('KEYWORD', NS.vcardTemp).map((word) => word.getText().trim());
      const present = words.filter((word) => word !== '');
      return present.length === 0 ? [] : el('categories', null, ...present.map((word) => el('text', null, word)));
    }),
  toTemp: (all) =>
    all.flatMap((property) => {
      const words = valuesOf(property);
      return words.length === 0 ? [] : el('CATEGORIES', null, ...words.map((word) => el('KEYWORD', null, word)));
    }),
};

/** §11.2.1: a key given by URI has no counterpart. */
const key: Group = {
  temp: ['KEY'],
  four: ['key'],
  toFour: (all) => all.flatMap((property) => one('key', 'text', tempText(property, 'CRED'))),
  toTemp: (all) =>
    all
      .flatMap((property) => property.getChildText('text')?.trim() ?? [])
      .filter((text) => text !== '')
      .map((text) => el('KEY', null, el('CRED', null, text))),
};

/** §11.3.2: in RFC 6350 §6.6.6 an agent is a RELATED property. */
const agent: Group = {
  temp: ['AGENT'],
  four: ['related'],
  toFour: (all) =>
    all.flatMap((property) => {
      const uri = tempText(property, 'EXTVAL');
      const type = el('parameters', null, el('type', null, el('text', null, 'agent')));
      return uri === '' ? [] : el('related', null, type, el('uri', null, uri));
    }),
  toTemp: (all) =>
    all
      .filter((property) => typesOf(property).includes('agent'))
      .flatMap(valuesOf)
      .map((uri) => el('AGENT', null, el('EXTVAL', null, uri))),
};

/** §11.3.5. */
const telephone = typed(
  'TEL',
  'tel',
  ['home', 'work', 'text', 'voice', 'fax', 'cell', 'video', 'pager', 'textphone'],
  (property) => {
    const number = tempText(property, 'NUMBER');
    const isUri = /^\+?[\d()*#.-]+$/.test(number);
    return number === '' ? [] : [el(isUri ? 'uri' : 'text', null, isUri ? `tel:${number}` : number)];
  },
  (property) =>
    valuesOf(property)
      .slice(0, 1)
      .map((value) => el('NUMBER', null, value.replace(/^tel:/i, ''))),
);

const email = typed(
  'EMAIL',
  'email',
  ['home', 'work'],
  (property) => {
    const id = tempText(property, 'USERID');
    return id === '' ? [] : [el('text', null, id)];
  },
  (property) =>
    valuesOf(property)
      .slice(0, 1)
      .map((value) => el('USERID', null, value)),
);

/** §11.3.1: other types of addresses have no counterpart. */
const postal = typed('ADR', 'adr', ['home', 'work'], addressParts.toFour, addressParts.toTemp);

const groups: readonly Group[] = [
  plain('FN', 'fn'),
  name,
  plain('NICKNAME', 'nickname'),
  media('PHOTO', 'photo', 'image/png'),
  plain('BDAY', 'bday', (value) => (/^[\d-]{4,10}$/.test(value) ? 'date' : 'text')),
  postal,
  telephone,
  email,
  address,
  plain('TZ', 'tz'),
  geo,
  plain('TITLE', 'title'),
  plain('ROLE', 'role'),
  media('LOGO', 'logo', 'image/png'),
  agent,
  organization,
  categories,
  note,
  plain('PRODID', 'prodid'),
  plain('REV', 'rev', () => 'timestamp'),
  media('SOUND', 'sound', 'audio/basic'),
  plain('UID', 'uid', uriOrText),
  plain('URL', 'url', () => 'uri'),
  key,
];

// --- cards --------------------------------------------------------------------------------------------------------------

const of = (card: Element | undefined, ns: string, names: readonly string[]): Element[] =>
  card === undefined ? [] : childrenOf(card).filter((child) => child.getNS() === ns && names.includes(child.getName()));

const isSame = (some: Elements, others: Elements): boolean =>
  some.length === others.length && some.every((element, at) => serialize(element) === serialize(others[at]!));

const saysSomething = (element: Element): boolean =>
  element.getText().trim() !== '' || childrenOf(element).some(saysSomething);

/** Whether a property has content but no counterpart. */
const isLost = (property: Element, convert: (properties: Elements) => Elements): boolean =>
  convert([property]).length === 0 && saysSomething(property);

/** The XEP-0054 vCard for an RFC 6351 one. Returns `before` if that is equivalent. */
export function tempFrom(before: Element | undefined, four: Element | undefined): Element {
  return merged(before, 'vCard', NS.vcardTemp, (group) => {
    const theirs = of(four, NS.vcard4, group.four);
    const ours = of(before, NS.vcardTemp, group.temp);
    // Compares after a round trip, so that properties without a counterpart do not count.
    if (isSame(group.toFour(ours), group.toFour(shown(group.toTemp(theirs), NS.vcardTemp)))) return undefined;
    return {
      names: group.temp,
      elements: [...group.toTemp(theirs), ...ours.filter((property) => isLost(property, group.toFour))],
    };
  });
}

/** The RFC 6351 vCard for an XEP-0054 one. Returns `before` if that is equivalent. */
export function fourFrom(before: Element | undefined, temp: Element): Element {
  return merged(before, 'vcard', NS.vcard4, (group) => {
    const theirs = of(temp, NS.vcardTemp, group.temp);
    const ours = of(before, NS.vcard4, group.four);
    if (isSame(group.toTemp(ours), group.toTemp(shown(group.toFour(theirs), NS.vcard4)))) return undefined;
    return {
      names: group.four,
      elements: [...group.toFour(theirs), ...ours.filter((property) => isLost(property, group.toTemp))],
    };
  });
}

/** The properties with the namespace of their vCard. */
function shown(properties: Elements, ns: string): Elements {
  return childrenOf(el('card', { xmlns: ns }, ...properties));
}

/** Replaces changed groups in place, or appends them. */
function merged(
  before: Element | undefined,
  root: string,
  ns: string,
  replaced: (group: Group) => { readonly names: readonly string[]; readonly elements: Elements } | undefined,
): Element {
  const changes = groups.flatMap((group) => replaced(group) ?? []);
  const written = new Set<(typeof changes)[number]>();
  const children = childrenOf(before ?? el(root)).flatMap((child) => {
    const change = child.getNS() === ns ? changes.find(({ names }) => names.includes(child.getName())) : undefined;
    if (change === undefined) return [child];
    if (written.has(change)) return [];
    written.add(change);
    return change.elements;
  });
  const added = changes.filter((change) => !written.has(change)).flatMap(({ elements }) => elements);
  return el(root, { ...before?.attrs, xmlns: ns }, ...children, ...added);
}
