/** Hooks name the hooks that they follow or precede; the order of modules in a list has no meaning. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { loadConfig } from '../../src/server/config/load.js';
import { documents } from '../../src/server/docs.js';
import { chooseModules } from '../../src/server/loader.js';
import {
  admit,
  command,
  defineModule,
  event,
  type Hook,
  http,
  inline,
  iq,
  type ModuleDefinition,
  message,
  type Order,
  serverMessage,
  strangerIq,
  streamFeature,
  unauthenticatedIq,
} from '../../src/server/module/index.js';
import { HookError, Hooks } from '../../src/server/routing/hooks.js';
import { shuffled } from '../shuffle.js';
import { startHost } from './module-host.js';

const named = (name: string, ...hooks: readonly Hook[]): ModuleDefinition =>
  defineModule({ name, summary: 'Is started.', implements: {}, start: () => hooks });

/** The modules in the order of their handlers. */
function orderOf(all: Readonly<Record<string, Order>>, names = Object.keys(all)): string {
  const called: string[] = [];
  const started = names.map((name) => {
    const hooks = [admit(() => void called.push(name), all[name])];
    return { definition: named(name, ...hooks), hooks };
  });
  for (const handler of new Hooks('example.org', started).admit) void handler(undefined as never);
  return called.join(' ');
}

for (const [title, order, expected] of [
  ['without constraints, in the order of the modules', { a: {}, b: {} }, 'a b'],
  ['after', { a: { after: ['b'] }, b: {} }, 'b a'],
  ['before', { a: {}, b: { before: ['a'] } }, 'b a'],
  ['before and after', { a: { after: ['b'] }, b: { after: ['c'] }, c: {}, d: { before: ['c'] } }, 'd c b a'],
  ['before all', { a: {}, b: {}, c: { before: 'all' } }, 'c a b'],
  ['after all', { a: { after: 'all' }, b: {}, c: {} }, 'b c a'],
  ['several before all', { a: {}, b: { before: 'all' }, c: { before: 'all' } }, 'b c a'],
  ['a module that is not running', { a: { after: ['gone'] }, b: { before: ['gone'] } }, 'a b'],
  ['itself', { a: { after: ['a'], before: ['a'] }, b: {} }, 'a b'],
  ['a name that every object has', { a: { after: ['constructor'] }, b: {} }, 'a b'],
] as const) {
  test(`hooks in order: ${title}`, () => assert.equal(orderOf(order), expected));
}

test('named orders apply in any order of the list', () => {
  const order = { a: { after: ['c'] }, b: { before: 'all' }, c: { after: ['b'] }, d: { after: 'all' } } as const;
  for (let seed = 0; seed < 50; seed++) assert.equal(orderOf(order, shuffled(['a', 'b', 'c', 'd'], seed)), 'b c a d');
});

test('the hooks of one module stay in order', () => {
  const called: string[] = [];
  const hooks = [
    event('started', () => void called.push('first'), { after: ['other'] }),
    event('started', () => void called.push('second')),
  ];
  const other = [event('started', () => void called.push('other'))];
  const all = new Hooks('example.org', [
    { definition: named('one'), hooks },
    { definition: named('other'), hooks: other },
  ]);
  for (const handler of all.events.get('started')!) void handler({} as never);
  assert.deepEqual(called, ['other', 'first', 'second']);
});

test('the error for a circle names its modules and hooks', async () => {
  for (const circle of [
    { a: { after: ['b'] }, b: { after: ['a'] }, c: {} },
    { a: { before: ['b'] }, b: { before: ['a'] }, c: {} },
    { a: { after: ['b'] }, b: { after: ['c'] }, c: { after: ['a'] } },
  ])
    assert.throws(
      () => orderOf(circle),
      (error) =>
        error instanceof HookError &&
        /modules a, b(, c)? have circular order constraints in admission/.test(error.message),
    );
  const one = named(
    'one',
    message('copy', () => undefined, { after: ['two'] }),
  );
  const two = named(
    'two',
    message('copy', () => undefined, { after: ['one'] }),
  );
  await assert.rejects(startHost([one, two]), /modules one, two have circular .* in step copy/);
});

test('the deprecated names of hooks on unauthenticated streams still work', async () => {
  const handler = () => undefined;
  const { host } = await startHost([
    named('old', strangerIq('get', 'urn:x', 'x', handler), streamFeature('stranger', handler)),
  ]);
  assert.equal(host.hooks.beforeLogin.size, 1);
  assert.deepEqual(
    host.hooks.streamFeatures.map(({ phase }) => phase),
    ['unauthenticated'],
  );
});

test('two modules cannot claim the same thing', async () => {
  const nothing = () => undefined;
  const run = () => ({ status: 'completed' }) as const;
  for (const [hook, message] of [
    [iq.get('server', 'urn:x', 'x', nothing), /one and two both answer server IQ get x urn:x/],
    [
      unauthenticatedIq('get', 'urn:x', 'x', nothing),
      /one and two both answer IQ get x urn:x of an unauthenticated stream/,
    ],
    [inline('urn:x', 'x', nothing), /one and two both answer <x xmlns="urn:x"\/> while a client binds/],
    [http('GET', '/x', () => ({})), /one and two both answer GET \/x/],
    [
      command({ node: 'urn:x', name: 'X', target: 'server', access: 'admins', run }),
      /one and two both have a server command urn:x/,
    ],
  ] as const)
    await assert.rejects(startHost([named('one', hook), named('two', hook)]), message);
});

test('a message to the host goes to the next handler if an asynchronous one declines', async () => {
  const taken: string[] = [];
  const slow = named(
    'slow',
    serverMessage(async () => {
      taken.push('slow');
    }),
  );
  const taker = named(
    'taker',
    serverMessage(({ id }) => {
      taken.push('taker');
      return id === 'mine' ? 'handled' : undefined;
    }),
  );
  const { connect, account, stop } = await startHost([slow, taker]);
  after(stop);
  await account('alice');
  const alice = connect('alice@example.org/a');
  assert.equal(await alice.asks('<message id="mine" to="example.org"/>'), '');
  assert.match(await alice.asks('<message id="other" to="example.org"/>'), /id="other".*<service-unavailable /);
  assert.deepEqual(taken, ['slow', 'taker', 'slow', 'taker']);
});

test('the standard modules start after the modules that they need, in any order of the list', () => {
  const config = loadConfig({ text: '', modules: standardModules });
  for (let seed = 1; seed <= 20; seed++) {
    const chosen = chooseModules(shuffled(standardModules, seed), config);
    const provided = new Set<string>();
    const all = new Set<string>(chosen.flatMap(({ provides = [] }) => provides));
    for (const { name, needs = [], wants = [], provides = [] } of chosen) {
      for (const service of [...needs, ...wants])
        assert.ok(provided.has(service) || !all.has(service), `${name} starts before ${service} is there`);
      for (const service of provides) provided.add(service);
    }
  }
});

test('the documents are the same in any order of the list', () => {
  const project = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
  const expected = documents(standardModules, project);
  for (const seed of [1, 2, 3]) assert.deepEqual(documents(shuffled(standardModules, seed), project), expected);
});

for (const path of ['', 'x', '/x/', '//x', '/x?y', '/x#y', '/x y', '/x\ny'])
  test(`no hook can answer for the path ${JSON.stringify(path)}`, async () => {
    await assert.rejects(
      startHost([
        named(
          'one',
          http('GET', path, () => ({})),
        ),
      ]),
      /module one: .* not a valid path/,
    );
  });
