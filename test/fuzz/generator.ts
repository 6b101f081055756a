/**
 * Random stanzas, well-formed and within RFC 6120 §11, in forms that no client would use: characters of one to four
 * bytes wherever XML allows them, references, CDATA, all kinds of white space, prefixes and default namespaces
 * declared, redeclared and undeclared, names of 256 bytes, and children that imitate those added by servers. Their
 * meaning is determined by a parser (strict.ts), not here.
 */

/** A number from 0 up to, not including, `below`. */
export type Random = (below: number) => number;

/** Mulberry32: the same numbers for the same seed. */
export function randomOf(seed: number): Random {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

export function pick<T>(from: readonly T[], random: Random): T {
  return from[random(from.length)]!;
}

export interface GeneratorOptions {
  /** Prefixes that the stream header declares: stanzas lean on them. */
  readonly outer?: Readonly<Record<string, string>>;
  /** The addresses that forged `by` and `from` attributes claim. */
  readonly claimed?: readonly string[];
  /** Bytes of the longest name. Default: 256, the limit of the server. */
  readonly longestName?: number;
}

// Outside ASCII these are name characters of XML 1.0, fourth edition; four-byte characters are not (appendix B).
const nameStarts = ['a', 'Z', 'q', '_', 'é', 'Ö', 'Я', 'ع', 'ß', '漢', 'ア', 'ก', '가', 'Ω', 'א'];
const nameMarks = ['-', '.', '7', '0', '\u00b7', '\u0301', '\u0660', '\u3005', '\u309a', '\u30fc', '\u20dc'];

const characters = [
  ...[
    'a',
    'b',
    ' ',
    ' ',
    'x',
    '0',
    '=',
    ';',
    '#',
    '/',
    '!',
    '?',
    '-',
    '--',
    '>',
    ']',
    ']]',
    ']]]',
    "'",
    '"',
    '\t',
    '\n',
  ],
  ...[
    '\r',
    '\r\n',
    '\x7f',
    '\x80',
    '\x85',
    'é',
    'ß',
    'я',
    '\u05d0',
    '\u07ff',
    '\u0800',
    '€',
    '漢',
    'ア',
    '\u2028',
    '\u202e',
  ],
  ...[
    '\ufeff',
    '\ufffd',
    '\ud7ff',
    '\ue000',
    '\u0301',
    '\u{10000}',
    '\u{1f600}',
    '\u{1f468}\u200d\u{1f469}',
    '\u{2000b}',
  ],
  ...[
    '\u{10ffff}',
    '\u{effff}',
    'the quick brown fox',
    'Слово не воробей',
    '国破山河在',
    'xmlns="u"',
    '</body>',
    '<a/>',
    '<!--',
    ']]>',
  ],
];

const references = [
  ...[
    '&amp;',
    '&lt;',
    '&gt;',
    '&quot;',
    '&apos;',
    '&#65;',
    '&#x41;',
    '&#9;',
    '&#10;',
    '&#13;',
    '&#xA;',
    '&#xD;',
    '&#233;',
  ],
  ...[
    '&#xe9;',
    '&#x6f22;',
    '&#x1F600;',
    '&#x10FFFF;',
    '&#32;',
    '&#x20;',
    '&#60;',
    '&#38;',
    '&#0000065;',
    '&amp;amp;',
    '&amp;#38;',
  ],
];

const spaces = [' ', ' ', ' ', '\n', '\t', '\r\n', '\r', '  ', ' \n\t '];

const namespaces = [
  ...[
    'urn:a',
    'urn:b',
    'u',
    'é',
    '漢字',
    'urn:\u{1f600}',
    'http://example.net/?a=1&b=2',
    "it's",
    'say "so"',
    'a b',
    '<ns>',
  ],
  ...['urn:é:\u{10ffff}:ア', 'urn:a\tb'],
];
/** As long as the limit lets them be. */
const longNamespaces = ['x'.repeat(256), '漢'.repeat(256)];

const stanzaIds = 'urn:xmpp:sid:0';
/** Children that servers write, or that mean something to them. */
const claims: readonly (readonly [name: string, ns: string])[] = [
  ['stanza-id', stanzaIds],
  ['stanza-id', stanzaIds],
  ['stanza-id', stanzaIds],
  ['origin-id', stanzaIds],
  ['occupant-id', 'urn:xmpp:occupant-id:0'],
  ['delay', 'urn:xmpp:delay'],
  ['x', 'jabber:x:oob'],
  ['body', 'jabber:client'],
  ['active', 'http://jabber.org/protocol/chatstates'],
];

export class Generator {
  readonly #random: Random;
  readonly #outer: readonly (readonly [string, string])[];
  readonly #claimed: readonly string[];
  readonly #longestName: number;

  constructor(random: Random, options: GeneratorOptions = {}) {
    this.#random = random;
    this.#outer = Object.entries(options.outer ?? {});
    this.#claimed = options.claimed ?? ['romeo@localhost', 'localhost'];
    this.#longestName = options.longestName ?? 256;
  }

  /**
   * A whole stanza. `attributes` are written as they are, quotes and all, with `more` random ones around them; `inside`
   * is put somewhere between the children.
   */
  stanza(name: string, attributes: readonly string[], inside: readonly string[] = []): string {
    const scope = new Scope('jabber:client', this.#outer);
    const own: string[] = [...attributes];
    let prefix = '';
    const declared = attributes.some((attribute) => attribute.startsWith('xmlns='));
    if (this.#oneIn(6)) {
      // The stanza has a prefix, so its children have to declare their namespace.
      prefix = `${this.#prefix()}:`;
      own.push(`xmlns:${prefix.slice(0, -1)}=${this.#namespace('jabber:client')}`);
      scope.declare(prefix.slice(0, -1), 'jabber:client');
    } else if (!declared && this.#oneIn(4)) own.push(`xmlns=${this.#namespace('jabber:client')}`);
    if (this.#oneIn(4)) own.push(...this.#declarations(scope, own));
    if (this.#oneIn(5)) own.push(...this.#attributes(scope, [...own, 'to=', 'from=', 'id=', 'type=']));
    const pieces = [...inside];
    for (let count = this.#random(5); count > 0; count--) {
      pieces.splice(this.#random(pieces.length + 1), 0, this.#piece(scope, 1));
    }
    const isPlain = inside.length === 0 && this.#oneIn(10);
    return this.#write(`${prefix}${name}`, this.#shuffled(own), isPlain ? '' : pieces.join(''));
  }

  /** An element that leans on nothing, for payloads. `name` and `ns`: its own. */
  element(name?: string, ns?: string): string {
    const scope = new Scope('', []);
    const own = ns ?? this.#ns();
    const attributes = [`xmlns=${this.#namespace(own)}`];
    scope.declare('', own);
    if (this.#oneIn(2)) attributes.push(...this.#declarations(scope, attributes));
    attributes.push(...this.#attributes(scope, attributes));
    return this.#write(name ?? this.#name(), this.#shuffled(attributes), this.#content(scope, 2));
  }

  /** A child of a stanza in a random spelling, whose default namespace is the stanza's. */
  child(name: string, ns: string, attributes: readonly string[] = [], content?: string): string {
    return this.#child(new Scope('jabber:client', this.#outer), name, ns, attributes, content);
  }

  /** Character data, written for the content of an element. */
  text(most = 8): string {
    let text = '';
    // What stands in front of it may end in `]]`, which no `>` may follow.
    let before = ']]';
    for (let count = this.#random(most + 1); count > 0; count--) {
      const kind = this.#random(12);
      if (kind < 3) {
        text += kind === 0 ? this.#cdata() : pick(references, this.#random);
        before = '';
        continue;
      }
      const plain = pick(characters, this.#random).replaceAll('<', '&lt;');
      before += plain;
      text += before.includes(']]>') ? plain.replaceAll('>', '&gt;') : plain;
    }
    return text;
  }

  /** An attribute's value with its quotes. */
  value(most = 6): string {
    const quote = pick(['"', "'"], this.#random);
    let text = '';
    for (let count = this.#random(most + 1); count > 0; count--) {
      text += this.#oneIn(5) ? pick(references, this.#random) : pick(characters, this.#random).replaceAll('<', '&lt;');
    }
    return `${quote}${text.replaceAll(quote, quote === '"' ? '&quot;' : '&#39;')}${quote}`;
  }

  /** Exactly this value in a random spelling, with its quotes. */
  spelled(value: string): string {
    const quote = pick(['"', "'"], this.#random);
    let text = '';
    for (const character of value) {
      const code = character.codePointAt(0)!;
      if ('<&\t\n\r'.includes(character) || character === quote || this.#oneIn(this.#oneIn(3) ? 4 : 40)) {
        text += this.#oneIn(2) ? `&#${code};` : `&#x${code.toString(16)};`;
      } else text += character;
    }
    return `${quote}${text}${quote}`;
  }

  #oneIn(count: number): boolean {
    return this.#random(count) === 0;
  }

  #space(): string {
    return pick(spaces, this.#random);
  }

  #ns(): string {
    return pick(this.#oneIn(60) ? longNamespaces : namespaces, this.#random);
  }

  /** References preserve characters that would otherwise be normalised. */
  #namespace(ns: string): string {
    return this.spelled(ns);
  }

  #shuffled(list: string[]): string[] {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.#random(i + 1);
      [list[i], list[j]] = [list[j]!, list[i]!];
    }
    return list;
  }

  /** XML-NAMES §4 NCName of at most so many bytes. */
  #name(longest = this.#longestName): string {
    let name = pick(nameStarts, this.#random);
    const aim = this.#oneIn(150) ? longest : 1 + this.#random(8);
    for (;;) {
      const more = pick(this.#oneIn(3) ? nameMarks : nameStarts, this.#random);
      if (Buffer.byteLength(name + more) > Math.min(aim, longest)) break;
      name += more;
    }
    // An exact fit: where the limit counts anything else than bytes, this shows it.
    if (aim === longest) name += 'n'.repeat(longest - Buffer.byteLength(name));
    return /^xml/i.test(name) ? `n${name.slice(1)}` : name;
  }

  #prefix(): string {
    return this.#oneIn(3) ? pick(['a', 'p', 'é', 'stream', 'ア'], this.#random) : this.#name(40);
  }

  #cdata(): string {
    let text = '';
    for (let count = this.#random(5); count > 0; count--)
      text += pick([...characters, '&amp;', '&', '<'], this.#random);
    return `<![CDATA[${text.replaceAll(']>', '] >')}]]>`;
  }

  #declarations(scope: Scope, beside: readonly string[]): string[] {
    const declarations = new Map<string, string>();
    for (let count = 1 + this.#random(2); count > 0; count--) {
      const prefix = this.#prefix();
      if (beside.some((other) => other.startsWith(`xmlns:${prefix}=`))) continue;
      const ns = this.#oneIn(8) ? 'jabber:client' : this.#ns();
      declarations.set(prefix, ns);
    }
    for (const [prefix, ns] of declarations) scope.declare(prefix, ns);
    return [...declarations].map(([prefix, ns]) => `xmlns:${prefix}=${this.#namespace(ns)}`);
  }

  /** No duplicate attributes, by name or by expanded name. `scope` has the declarations of the tag itself. */
  #attributes(scope: Scope, beside: readonly string[]): string[] {
    const attributes: string[] = [];
    const taken = new Set(beside.map((attribute) => attribute.slice(0, attribute.indexOf('='))));
    const expanded = new Set<string>();
    for (let count = this.#random(4); count > 0; count--) {
      const local = this.#oneIn(4) ? pick(['id', 'by', 'from', 'to', 'type'], this.#random) : this.#name();
      const prefix = this.#oneIn(3) ? scope.prefixes[this.#random(scope.prefixes.length)] : undefined;
      let name = local;
      if (prefix !== undefined) {
        name = `${prefix}:${local}`;
        const key = `${local} ${scope.find(prefix)}`;
        if (Buffer.byteLength(name) > this.#longestName || expanded.has(key)) continue;
        expanded.add(key);
      }
      if (taken.has(name) || name === '__proto__') continue;
      taken.add(name);
      attributes.push(
        `${name}${this.#oneIn(8) ? this.#space() : ''}=${this.#oneIn(8) ? this.#space() : ''}${this.value()}`,
      );
    }
    if (this.#oneIn(6) && !taken.has('xml:lang')) attributes.push(`xml:lang=${pick(["'de'", '"x-é"'], this.#random)}`);
    return attributes;
  }

  #write(name: string, attributes: readonly string[], content: string): string {
    let tag = `<${name}`;
    for (const attribute of attributes) tag += `${this.#space()}${attribute}`;
    if (this.#oneIn(4)) tag += this.#space();
    if (content === '' && this.#oneIn(2)) return `${tag}/>`;
    return `${tag}>${content}</${name}${this.#oneIn(4) ? this.#space() : ''}>`;
  }

  /** Text, or a child: one of ours, one that claims something, or anything. */
  #piece(scope: Scope, depth: number): string {
    const kind = this.#random(10);
    if (kind < 2) return this.text(4);
    if (kind < 4) {
      const [name, ns] = pick(claims, this.#random);
      const by = pick(this.#claimed, this.#random);
      const attributes: string[] = [];
      if (!this.#oneIn(5)) attributes.push(`${pick(['by', 'by', 'from', 'BY'], this.#random)}=${this.spelled(by)}`);
      if (!this.#oneIn(5)) attributes.push(`id=${this.spelled(`forged-${by}`)}`);
      return this.#child(scope, name, ns, attributes);
    }
    return this.#child(scope, this.#name(), this.#oneIn(3) ? scope.own : this.#ns(), [], undefined, depth);
  }

  /** The element by a default namespace, by a prefix that it declares, or by one from outside. */
  #child(around: Scope, name: string, ns: string, given: readonly string[], content?: string, depth = 1): string {
    const scope = around.inner();
    const attributes = [...given];
    if (this.#oneIn(3)) attributes.push(...this.#declarations(scope, attributes));
    let prefix = '';
    const known = scope.prefixes.filter((one) => scope.find(one) === ns && fits(one, name, this.#longestName));
    if (known.length > 0 && this.#oneIn(2)) prefix = `${pick(known, this.#random)}:`;
    else if (ns !== '' && this.#oneIn(4)) {
      const one = this.#prefix();
      const declaration = `xmlns:${one}=`;
      if (fits(one, name, this.#longestName) && !attributes.some((other) => other.startsWith(declaration))) {
        attributes.push(`${declaration}${this.#namespace(ns)}`);
        scope.declare(one, ns);
        prefix = `${one}:`;
      }
    }
    if (prefix === '' && (scope.find('') !== ns || this.#oneIn(5))) {
      attributes.push(`xmlns=${this.#namespace(ns)}`);
      scope.declare('', ns);
    } else if (prefix !== '' && this.#oneIn(4)) {
      const other = this.#oneIn(2) ? '' : this.#ns();
      attributes.push(`xmlns=${this.#namespace(other)}`);
      scope.declare('', other);
    }
    attributes.push(...this.#attributes(scope, attributes));
    return this.#write(`${prefix}${name}`, this.#shuffled(attributes), content ?? this.#content(scope, depth + 1));
  }

  #content(scope: Scope, depth: number): string {
    let content = '';
    for (let count = this.#random(4); count > 0; count--) {
      if (depth > 5 || this.#oneIn(2)) content += this.text(5);
      else if (this.#oneIn(5)) {
        // Undeclared: its children are in no namespace at all.
        const inner = scope.inner();
        inner.declare('', '');
        content += this.#write(this.#name(), ["xmlns=''"], this.#content(inner, depth + 1));
      } else content += this.#piece(scope, depth);
    }
    return content;
  }
}

/** What prefixes mean; '' is the default namespace. */
class Scope {
  readonly #namespaces: Map<string, string>;

  constructor(
    readonly own: string,
    prefixes: Iterable<readonly [string, string]>,
  ) {
    this.#namespaces = new Map(prefixes);
    this.#namespaces.set('', own);
  }

  get prefixes(): string[] {
    return [...this.#namespaces.keys()].filter((prefix) => prefix !== '');
  }

  find(prefix: string): string | undefined {
    return this.#namespaces.get(prefix);
  }

  declare(prefix: string, ns: string): void {
    this.#namespaces.set(prefix, ns);
  }

  inner(): Scope {
    const inner = new Scope(this.own, this.#namespaces);
    inner.declare('', this.find('')!);
    return inner;
  }
}

const fits = (prefix: string, name: string, longest: number): boolean =>
  Buffer.byteLength(prefix) + 1 + Buffer.byteLength(name) <= longest;
