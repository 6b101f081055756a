/**
 * Plain English: phrases that make comments, texts and documents hard to read. CONTRIBUTING.md names the rule; each entry says
 * what to write instead.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

/** What to write instead, by phrase. A phrase is a regular expression over text in which each run of whitespace is one space. */
const instead: Readonly<Record<string, string>> = {
  'as it were': 'nothing',
  'but for': '"except"',
  'dear(?:er|est)?': '"expensive"',
  'for ever': '"forever"',
  '(?:he|his|him)': '"they", or the noun',
  'holds no longer': '"is stale"',
  'in company': '"batched"',
  'is no more': '"no longer exists", "was deleted"',
  'of (?:its|their) own accord': '"unsolicited", "on its own initiative"',
  'of late': '"recently"',
  'out of consideration': '"to let other connections run", or the actual reason',
  'outlasts?': '"survives"',
  'put away': '"persisted", "stored"',
  'said twice': '"repeated"',
  'taken up again': '"resumed"',
  'takes? along': '"includes", "flushes"',
  'that is so': 'what is the case',
  'told of': '"notified of", "gets"',
  'undefined:': '"Undefined if …"',
  'waits? for company': '"is deferred", "is batched"',
  'what came before': 'the noun: "earlier stanzas"',
};

const phrases = Object.keys(instead).map(
  (phrase) => [phrase, new RegExp(`(?<![\\w-])${phrase}(?![\\w-])`, 'i')] as const,
);

const root = new URL('../../../', import.meta.url);

/** Documents that are written by hand, and the generated ones, whose text comes from the code. */
const documents = [
  ...filesIn('', '.md', false),
  ...filesIn('docs/', '.md'),
  ...filesIn('bench/', '.md'),
  ...filesIn('test/', '.md'),
  ...filesIn('conf/', '.toml'),
];
const code = [...filesIn('src/', '.ts'), ...filesIn('scripts/', '.mjs')];
/** Only their comments are checked: their strings are mostly messages of people. */
const tests = ['test/', 'bench/', 'examples/']
  .flatMap((folder) => filesIn(folder, '.ts'))
  .filter((file) => file !== 'test/unit/english.test.ts');

function filesIn(folder: string, ending: string, recursive = true): string[] {
  return readdirSync(new URL(folder, root), { recursive, encoding: 'utf8' })
    .map((name) => folder + name.replaceAll('\\', '/'))
    .filter((name) => name.endsWith(ending))
    .sort();
}

/** The comments and strings of a TypeScript file. Comments on successive lines are one text. */
function textsOf(source: string): string[] {
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*(?:\n[ \t]*\/\/[^\n]*)*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g;
  return [...source.matchAll(token)].map(([text]) => text);
}

/** One line, without the marks of comments. */
const flat = (text: string): string => text.replace(/\n[ \t]*(?:\*(?!\/)|\/\/|#|>)?/g, ' ').replace(/\s+/g, ' ');

const isComment = (text: string): boolean => /^\/[/*]/.test(text);

const found = (text: string): string[] => {
  const line = flat(text);
  return phrases.filter(([, pattern]) => pattern.test(line)).map(([phrase]) => phrase);
};

test('a phrase is found in comments, also across lines, and in strings', () => {
  const texts = textsOf("const a = 1; // so, as it\n  // were\n/** as it\n * were */\nlog('as it were');\nasItWere();");
  assert.deepEqual(
    texts.map((text) => found(text).length),
    [1, 1, 1],
  );
});

for (const [what, files, split] of [
  ['documents', documents, (text: string) => [text]],
  ['comments and strings of the code', code, textsOf],
  ['comments of tests', tests, (text: string) => textsOf(text).filter(isComment)],
] as const)
  test(`${what} are in plain English`, () => {
    const faults: string[] = [];
    for (const file of files)
      for (const text of split(readFileSync(new URL(file, root), 'utf8')))
        for (const phrase of found(text)) faults.push(`${file}: "${phrase}": write ${instead[phrase]}`);
    assert.deepEqual(faults, []);
  });
