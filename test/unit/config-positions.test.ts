import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type KeyPath, locator } from '../../src/server/config/positions.js';

const text = `# a comment with [brackets] = "and quotes
top = 'literal \\' # not an escape
"quoted key" . inner = 1
[table] # comment
multi = """
[not.a.table]
key = "no" \\"""
and so on"""" # ends in a quote of its own
after = '''
'' still '''
[ table . "sub\\u0041" ]
list = [ 1, # one
  "two, ]", { a.b = 3, c = [4,
  5] },
]
date = 1979-05-27 07:32:00
[[items]]
name = "first"
[items.more]
x = 1
[[items]]
name = "second"
[[items.nested]]
deep = true
[items.nested.last]
y = {}
`;

const table: readonly (readonly [path: KeyPath, key: string, value: string])[] = [
  [['top'], '2:1', '2:7'],
  [['quoted key', 'inner'], '3:16', '3:24'],
  [['table'], '4:1', '4:1'],
  [['table', 'multi'], '5:1', '5:9'],
  [['table', 'after'], '9:1', '9:9'],
  [['table', 'subA'], '11:1', '11:1'],
  [['table', 'subA', 'list', 0], '12:10', '12:10'],
  [['table', 'subA', 'list', 1], '13:3', '13:3'],
  [['table', 'subA', 'list', 2, 'a', 'b'], '13:17', '13:21'],
  [['table', 'subA', 'list', 2, 'c', 1], '14:3', '14:3'],
  [['table', 'subA', 'date'], '16:1', '16:8'],
  [['items', 0, 'name'], '18:1', '18:8'],
  [['items', 0, 'more', 'x'], '20:1', '20:5'],
  [['items', 1, 'name'], '22:1', '22:8'],
  [['items', 1, 'nested', 0, 'deep'], '24:1', '24:8'],
  [['items', 1, 'nested', 0, 'last', 'y'], '26:1', '26:5'],
  [['table', 'missing'], '4:1', '4:1'],
  [['items', 5, 'name'], '17:3', '17:3'],
];

describe('positions in TOML', () => {
  const locate = locator(text);
  const at = (path: KeyPath, what: 'key' | 'value') => {
    const { line, column } = locate(path, what)!;
    return `${line}:${column}`;
  };
  for (const [path, key, value] of table) {
    test(path.join('.'), () => assert.deepEqual([at(path, 'key'), at(path, 'value')], [key, value]));
  }

  test('missing keys have no position', () => {
    assert.equal(locate(['nothing'], 'key'), undefined);
    assert.equal(locator('')(['x'], 'value'), undefined);
  });

  test('lines that end in CR LF count once', () => {
    assert.deepEqual(locator('a = 1\r\n\r\n[b]\r\nc = 2\r\n')(['b', 'c'], 'value'), { line: 4, column: 5 });
  });
});
