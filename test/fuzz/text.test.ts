/**
 * With any characters in names, values and text, the output equals the checked input: stanzas of generator.ts, split
 * into chunks, pass every operation on a stanza; the result is parsed by saxes and compared with the input parsed by
 * saxes. SEED and ROUNDS in the environment repeat and extend a run.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Jid } from '../../src/server/address/jid.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { el, escapeAttribute, escapeText } from '../../src/server/xml/element.js';
import { type TopLevel, XmlReader } from '../../src/server/xml/reader.js';
import { addText, StrictReader, strictTree, type Tree, treeOf } from '../strict.js';
import { Generator, pick, type Random, randomOf } from './generator.js';

const SEED = Number(process.env.SEED ?? 1);
const ROUNDS = Number(process.env.ROUNDS ?? 2000);
/** Stanzas on one stream. */
const STREAM_LENGTH = 50;
const LIMITS = { stanzaBytes: 2 ** 20, depth: 100, attributes: 100 };

const addresses = ['romeo@localhost/orchard', 'juliet@localhost/ö漢\u{1f600}', 'é@localhost', 'localhost'];
const outers: readonly Readonly<Record<string, string>>[] = [
  {},
  { o: 'urn:a', é: 'urn:é', ア漢: 'urn:b' },
  { p: NS.stanzaId, é: NS.client, a: NS.delay },
];

/** A stream, or a WebSocket connection, read by both. */
class Both {
  readonly #random: Random;
  readonly #framed: boolean;
  readonly #ours: XmlReader;
  readonly #theirs: StrictReader;

  constructor(random: Random, framed: boolean, outer: Readonly<Record<string, string>>) {
    this.#random = random;
    this.#framed = framed;
    this.#ours = new XmlReader(framed ? 'framed' : 'stream', LIMITS);
    this.#theirs = new StrictReader(framed ? 'framed' : 'stream');
    if (framed) return;
    const prefixes = Object.entries(outer).map(([prefix, ns]) => ` xmlns:${prefix}='${ns}'`);
    const header = Buffer.from(`<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}'${prefixes.join('')}>`);
    this.#theirs.read(header);
    this.#ours.push(header);
    assert.equal(this.#ours.next()?.kind, 'open');
  }

  read(xml: string): { readonly top: TopLevel; readonly tree: Tree } {
    const bytes = Buffer.from(xml);
    const [theirs] = this.#theirs.read(bytes);
    assert.ok(theirs?.kind === 'element');
    const longest =
      this.#framed || this.#random(4) === 0 ? bytes.length : 1 + this.#random(this.#random(3) === 0 ? 3 : 60);
    for (let at = 0; at < bytes.length; ) {
      const size = Math.min(bytes.length - at, longest === bytes.length ? longest : 1 + this.#random(longest));
      const chunk = Buffer.from(bytes.subarray(at, at + size));
      at += size;
      this.#ours.push(chunk);
      const top = this.#ours.next();
      // Nothing may hang on to the chunk once it asks for more.
      if (top === undefined) chunk.fill(0x21);
      if (at < bytes.length) assert.equal(top, undefined);
      else {
        assert.ok(top?.kind === 'element', 'the reader waits for more');
        assert.equal(this.#ours.next(), undefined);
        return { top, tree: theirs.tree };
      }
    }
    throw new Error('nothing to read');
  }
}

/** A stanza and its expected result. */
interface Pair {
  readonly stanza: Stanza;
  readonly tree: Tree;
}

const isElement = (child: Tree | string): child is Tree => typeof child !== 'string';
const contentOf = ([, , , ...content]: Tree): (Tree | string)[] => content;
const elementsOf = (tree: Tree): Tree[] => contentOf(tree).filter(isElement);
const textOf = (tree: Tree): string =>
  contentOf(tree)
    .filter((child) => !isElement(child))
    .join('');

/** The tree with other content; texts that come to stand beside one another are one. */
function filled([ns, name, attributes]: Tree, content: readonly (Tree | string)[]): Tree {
  const tree: Tree = [ns, name, attributes];
  for (const child of content) {
    if (isElement(child)) tree.push(child);
    else addText(tree, child);
  }
  return tree;
}

/** The header as a tree has it: RFC 6120 §8.1 knows five attributes, all others are dropped. */
function headed({ to, from, type, id, lang }: Stanza, [ns, name, , ...content]: Tree): Tree {
  const attributes: [string, string][] = [];
  if (from !== undefined) attributes.push(['from ', from.full]);
  if (id !== undefined) attributes.push(['id ', id]);
  if (lang !== undefined) attributes.push([`lang ${NS.xml}`, lang]);
  if (to !== undefined) attributes.push(['to ', to.full]);
  if (type !== undefined) attributes.push(['type ', type]);
  return [ns, name, attributes, ...content];
}

function same(actual: unknown, expected: unknown): void {
  const [ours, theirs] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (ours !== theirs) assert.deepEqual(actual, expected);
}

/** The output, the index and look-ups equal the expected ones. */
function check({ stanza, tree }: Pair, random: Random): void {
  same(strictTree(stanza.toXml(NS.client)), tree);
  const children = elementsOf(tree);
  assert.equal(stanza.childCount, children.length);
  same(
    stanza.childNames(),
    children.map(([ns, name]) => ({ ns, name })),
  );
  if (children.length === 0) return;
  const [ns, name] = pick(children, random);
  const first = children.find((child) => child[0] === ns && child[1] === name)!;
  assert.ok(stanza.has(ns, name));
  assert.ok(!stanza.has(`${ns}x`, name) && !stanza.has(ns, `${name}x`));
  assert.equal(stanza.text(ns, name), textOf(first));
  same(treeOf(stanza.child(ns, name)!), first);
  if (random(3) === 0) same(stanza.children().map(treeOf), children);
}

/** Some text that no XML has touched. */
function someText(generator: Generator): string {
  return textOf(strictTree(`<x>${generator.text()}</x>`));
}

function changed({ stanza, tree }: Pair, generator: Generator, random: Random): Pair {
  switch (random(9)) {
    case 0: {
      const other = stanza.with({
        to: random(3) === 0 ? undefined : Jid.parse(pick(addresses, random)),
        from: Jid.parse(pick(addresses, random)),
        id: someText(generator),
        ...(random(2) === 0 && { type: pick(['chat', 'é\u{1f600}"', undefined], random) }),
      });
      return { stanza: other, tree: headed(other, tree) };
    }
    case 1: {
      const text = someText(generator);
      const ns = pick(['urn:x', NS.client, 'urn:é&"<漢\u{10ffff}'], random);
      const more = el('é', { xmlns: ns, 漢: text }, text, el('inner', { xmlns: pick([ns, 'urn:y'], random) }, text));
      return { stanza: stanza.plus(more), tree: filled(tree, [...contentOf(tree), treeOf(more)]) };
    }
    case 2: {
      const xml = generator.text(3) + generator.child('é漢', 'urn:\u{1f600}') + generator.text(3);
      const more = contentOf(strictTree(`<x xmlns='${NS.client}'>${xml}</x>`));
      return { stanza: stanza.plus(xml), tree: filled(tree, [...contentOf(tree), ...more]) };
    }
    case 3: {
      const text = someText(generator);
      const xml = `<é xmlns="urn:é漢\u{1f600}" by="${escapeAttribute(text)}">${escapeText(text)}</é>`;
      return { stanza: stanza.plusWritten(xml), tree: filled(tree, [...contentOf(tree), strictTree(xml)]) };
    }
    case 4:
    case 5: {
      const children = elementsOf(tree);
      const [ns, name] = children.length === 0 ? ['urn:none', 'none'] : pick(children, random);
      const isBare = random(3) === 0;
      const rest = contentOf(tree).filter(
        (child) =>
          !isElement(child) ||
          child[0] !== ns ||
          child[1] !== name ||
          (isBare && child[2].some(([key]) => key === 'by ')),
      );
      const where = isBare ? { attrs: undefined } : undefined;
      return {
        stanza: stanza.without(ns, name, where && ((attributes) => attributes.by === undefined)),
        tree: filled(tree, rest),
      };
    }
    case 6: {
      const error = new StanzaError('bad-request', someText(generator));
      const answer = stanza.error(error);
      const more = treeOf(error.toElement());
      // The element inherits the stanza's own namespace.
      const own = (one: Tree): Tree =>
        filled(
          [one[0] === '' ? NS.client : one[0], one[1], one[2]],
          contentOf(one).map((c) => (isElement(c) ? own(c) : c)),
        );
      return { stanza: answer, tree: headed(answer, filled(tree, [...contentOf(tree), own(more)])) };
    }
    case 7: {
      const stored = Stanza.parse(stanza.toXml(NS.client));
      return { stanza: stored, tree };
    }
    default: {
      // As a client of ours reads it, and sends it on.
      const { top } = new Both(random, true, {}).read(stanza.toXml(NS.client));
      return { stanza: Stanza.fromTopLevel(top), tree };
    }
  }
}

test('serialized stanzas are equal to parsed ones, except for requested changes', () => {
  const random = randomOf(SEED);
  let both: Both | undefined;
  let generator = new Generator(random);
  let framed = false;
  for (let round = 0; round < ROUNDS; round++) {
    if (both === undefined || round % STREAM_LENGTH === 0) {
      framed = random(3) === 0;
      const outer = framed ? {} : pick(outers, random);
      both = new Both(random, framed, outer);
      generator = new Generator(random, { outer });
    }
    const attributes = [
      `to=${generator.spelled(pick(addresses, random))}`,
      `from=${generator.spelled(pick(addresses, random))}`,
      `id=${generator.value()}`,
      ...(random(2) === 0 ? [`type=${generator.spelled('chat')}`] : []),
      ...(framed ? [`xmlns=${generator.spelled(NS.client)}`] : []),
    ];
    const xml = generator.stanza(pick(['message', 'presence', 'iq'], random), attributes);
    try {
      const { top, tree } = both.read(xml);
      const stanza = Stanza.fromTopLevel(top);
      let pair: Pair = { stanza, tree: headed(stanza, tree) };
      check(pair, random);
      for (let times = random(4); times > 0; times--) {
        pair = changed(pair, new Generator(random), random);
        check(pair, random);
      }
      // The stanza that all of this was made of is as it was.
      if (random(4) === 0) check({ stanza, tree: headed(stanza, tree) }, random);
    } catch (error) {
      (error as Error).message += `\nSEED=${SEED}, round ${round}: ${xml}`;
      throw error;
    }
  }
});
