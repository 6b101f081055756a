/** Commands that modules bring, as administrators call them. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { configure, dataOf, errorOf, home, start, waxwing } from './program.js';
import { warmWaxwing } from './warm.js';

const greeter = `
export default {
  name: 'greeter',
  summary: 'Greets.',
  implements: {},
  cli: [
    {
      name: 'greet all',
      summary: 'Greets everybody of a name',
      parameters: {
        name: { type: 'text', positional: true, required: true, description: 'Whom.' },
        times: { type: 'count', description: 'How often (1).' },
        loud: { type: 'flag', description: 'So that all hear it.' },
      },
      run: ({ hosts, progress }, { name, times = 1, loud }) => {
        progress('clearing the throat');
        return { greeted: hosts.map(({ domain }) => name + '@' + domain), times, loud };
      },
      text: ({ greeted }) => greeted.join('\\n'),
    },
    {
      name: 'greet none',
      summary: 'Takes all greetings back',
      parameters: {},
      confirm: () => 'All of them?',
      run: () => ({}),
      text: () => '',
    },
  ],
  start: () => [],
};
`;

describe('commands of modules', { concurrency: 1 }, () => {
  const settings = '[hosts.localhost]\n[hosts."elsewhere.example"]\n[modules]\nload = ["./greeter.mjs"]\n';
  const withModule = (text: string, more = '') => {
    const at = home();
    writeFileSync(join(dirname(at.file), 'greeter.mjs'), text);
    configure(at, `${settings}${more}`);
    return at;
  };
  const at = withModule(greeter);

  test("modules' commands are in the help and in shell completion", async () => {
    for (const args of [['help'], ['--help'], ['help', 'greet'], ['greet', '--help']]) {
      const { code, out, err } = await warmWaxwing(at, args);
      assert.equal(code, 0, err);
      assert.match(out, /greet all NAME +Greets everybody of a name/, args.join(' '));
    }
    assert.match((await warmWaxwing(at, ['help', 'room'])).out, /room destroy ROOM/);
    const { out } = await waxwing(at, ['greet', 'all', '--help']);
    assert.match(out, /Usage: waxwing greet all NAME.*--loud/s);
    assert.match((await warmWaxwing(at, ['completion', 'bash'])).out, /greet/);
  });

  test('wrong usage is reported', async () => {
    const wrong = await warmWaxwing(at, ['greet', 'al', 'Juliet']);
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /did you mean greet all\?/);
    assert.match((await warmWaxwing(at, ['greet', 'all'])).err, /missing argument NAME/);
    assert.match((await warmWaxwing(at, ['greet', 'all', 'x', '--lou'])).err, /did you mean --loud\?/);
    assert.match((await warmWaxwing(at, ['user', 'ad'])).err, /did you mean user add\?/);
  });

  test("modules' commands run in the server, over its socket", async () => {
    const none = await warmWaxwing(at, ['greet', 'all', 'juliet']);
    assert.equal(none.code, 3, none.err);
    const server = await start(at);
    assert.deepEqual(await dataOf(at, ['greet', 'all', 'juliet', '--times=2']), {
      greeted: ['juliet@localhost', 'juliet@elsewhere.example'],
      times: 2,
      loud: false,
    });
    const { out, err } = await warmWaxwing(at, ['greet', 'all', '--loud', 'romeo']);
    assert.equal(out, 'romeo@localhost\nromeo@elsewhere.example\n');
    assert.match(err, /clearing the throat …/);
    assert.deepEqual(await errorOf(at, ['greet', 'none']), ['usage', 2]);
    assert.deepEqual(await dataOf(at, ['greet', 'none', '--yes']), {});
    const rooms = await warmWaxwing(at, ['room', 'list']);
    assert.deepEqual([rooms.code, rooms.out], [0, 'There are no rooms.\n']);
    server.child.kill('SIGTERM');
    assert.equal(await server.ended, 0);
  });

  test('a configuration or module with errors hides no other command', async () => {
    const unloadable = withModule('export default {');
    const help = await warmWaxwing(unloadable, ['help']);
    assert.equal(help.code, 0);
    assert.match(help.out, /room list.*user add|user add.*room list/s);
    assert.match(help.err, /Commands of modules .* missing: module .*greeter\.mjs cannot be loaded/);
    const unknown = await warmWaxwing(unloadable, ['greet', 'all', 'juliet']);
    assert.equal(unknown.code, 2);
    assert.match(unknown.err, /unknown command: greet.*cannot be loaded/s);
    const invalid = withModule(greeter, '[');
    assert.match((await warmWaxwing(invalid, ['help'])).out, /room list/);
    assert.equal((await warmWaxwing(invalid, ['room', 'list'])).code, 3);
  });
});
