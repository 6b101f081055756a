/**
 * XEP-0124 §6: what passes as a `<body/>` means the same to saxes, which shares nothing with our reader, and each payload
 * taken out of it means what it meant inside.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NS } from '../../src/server/stanza/ns.js';
import { readPayloads, readWrapper } from '../../src/server/transport/bosh/wrapper.js';
import { XmlError } from '../../src/server/xml/element.js';
import type { ReaderLimits } from '../../src/server/xml/reader.js';
import { mulberry32 } from '../../src/storage/wrappers.js';
import { strictTree, type Tree } from '../strict.js';

const seed = Number(process.env.SEED ?? 1);
const rounds = Number(process.env.ROUNDS ?? 3000);
const limits: ReaderLimits = { stanzaBytes: 100_000, depth: 50, attributes: 50 };
const lang = `lang ${NS.xml}`;

/** XEP-0206 §2: elements that are in the namespace of the body only because they are in it are those of a client. */
function asClient(tree: Tree): Tree {
  const [ns, name, attributes, ...content] = tree;
  const inside = content.map((one) => (typeof one === 'string' ? one : asClient(one)));
  return [ns === NS.httpBind ? NS.client : ns, name, attributes, ...inside];
}

function inLanguage([ns, name, attributes, ...content]: Tree, wanted: string | undefined): Tree {
  if (wanted === undefined || attributes.some(([key]) => key === lang)) return [ns, name, attributes, ...content];
  const all: [string, string][] = [...attributes, [lang, wanted]];
  return [ns, name, all.sort(([one], [other]) => (one < other ? -1 : 1)), ...content];
}

class Writer {
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  pick<T>(of: readonly T[]): T {
    return of[Math.floor(this.#random() * of.length)]!;
  }

  body(): string {
    const prefixed = this.pick([false, false, true]);
    const name = prefixed ? 'hb:body' : 'body';
    const own = prefixed ? `xmlns:hb='${NS.httpBind}'` : `xmlns='${NS.httpBind}'`;
    const more = this.pick([
      '',
      " xml:lang='de'",
      ` xmlns:a='urn:a'`,
      ` xmlns:a='${NS.client}' xmlns:b='urn:b'`,
      " xml:lang=''",
    ]);
    const children = Array.from(
      { length: Math.floor(this.#random() * 4) },
      () => this.pick(['', ' ', '\n']) + this.element(3),
    );
    return `${this.pick(['', "<?xml version='1.0'?>", '\ufeff'])}<${name} ${own}${more} rid='1'>${children.join('')}</${name}>`;
  }

  element(depth: number): string {
    const name = this.pick(['message', 'iq', 'x', 'a:x', 'b:y', 'é', 'stream']);
    const attributes = this.pick([
      '',
      ' to="a&amp;b"',
      ` xmlns='${NS.client}'`,
      ` xmlns='urn:x'`,
      ` xmlns:a='urn:other'`,
      ` xmlns:b='urn:b' b:c='1&#9;'`,
      ` a:d='>'`,
      ` xml:lang='fr'`,
      ` xmlns=''`,
      ` xmlns='urn:&#120;'`,
    ]);
    if (depth === 0 || this.#random() < 0.3) return `<${name}${attributes}/>`;
    const content = Array.from({ length: Math.floor(this.#random() * 3) }, () =>
      this.pick([() => this.element(depth - 1), () => this.text()])(),
    );
    return `<${name}${attributes}>${content.join('')}</${name}>`;
  }

  text(): string {
    return this.pick(['text', '&lt;x/&gt;', '<![CDATA[<y>]]>', '€𝄞', '&#x1D11E;', ' \r\n', ']]', '&#38;amp;']);
  }

  /** Changes some bytes. */
  damage(bytes: Buffer): Buffer {
    const damaged = Buffer.from(bytes);
    const at = () => Math.floor(this.#random() * damaged.length);
    const what = Math.floor(this.#random() * 3);
    if (what === 0) damaged[at()] = Math.floor(this.#random() * 256);
    else if (what === 1) return Buffer.concat([damaged.subarray(0, at()), damaged.subarray(at())]);
    else damaged[at()] = this.pick([...Buffer.from('<>/&"\'= :![]?x\0')]);
    return damaged;
  }
}

/** Whether it was read. Fails if saxes reads something else. */
function agrees(bytes: Buffer): boolean {
  const attrs = readWrapper(bytes);
  if (attrs === undefined) return false;
  const language = attrs['xml:lang'];
  let payloads: Buffer[] | undefined;
  try {
    const read = readPayloads(bytes, limits, language);
    if (read !== undefined) payloads = [...read];
  } catch (error) {
    if (error instanceof XmlError) return false;
    throw error;
  }
  if (payloads === undefined) return false;
  const [ns, name, , ...content] = strictTree(bytes);
  assert.deepEqual([ns, name], [NS.httpBind, 'body']);
  const children = content.filter((one): one is Tree => typeof one !== 'string');
  assert.deepEqual(
    payloads.map((payload) => asClient(strictTree(payload))),
    children.map((child) => inLanguage(asClient(child), language)),
    bytes.toString(),
  );
  return true;
}

test('payloads mean outside of their body what they mean in it', () => {
  const writer = new Writer(mulberry32(seed));
  let read = 0;
  for (let round = 0; round < rounds; round++) if (agrees(Buffer.from(writer.body()))) read++;
  assert.ok(read > rounds / 5, `${read} were read`);
});

test('damaged bodies are refused, or mean the same to both readers', () => {
  const writer = new Writer(mulberry32(seed + 1));
  let read = 0;
  for (let round = 0; round < rounds; round++) if (agrees(writer.damage(Buffer.from(writer.body())))) read++;
  assert.ok(read > 0);
});
