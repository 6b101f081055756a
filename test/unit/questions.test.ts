import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { z } from 'zod';
import { standardModules } from '../../src/modules/index.js';
import { Jid } from '../../src/server/address/jid.js';
import { answers, defineModule, defineQuestion, type Hook } from '../../src/server/module/index.js';
import { Hooks } from '../../src/server/routing/hooks.js';
import { startHost } from './module-host.js';

const sum = defineQuestion({ name: 'counter.sum', given: z.array(z.number()), answer: z.number() });
const slow = defineQuestion({ name: 'counter.slow', given: z.null(), answer: z.string() });
const nobodys = defineQuestion({ name: 'counter.nobodys', given: z.null(), answer: z.null() });

const counter = defineModule({
  name: 'counter',
  summary: 'For the test.',
  implements: {},
  start: () => [
    answers(sum, (given) => given.reduce((all, one) => all + one, 0)),
    answers(slow, async (_, owner) => owner.full),
  ],
});

const { host, stop } = await startHost([counter]);
after(stop);
const owner = Jid.parse('romeo@example.org');

test('a known answer is synchronous', () => {
  assert.equal(host.askHome(sum, owner, [1, 2, 3]), 6);
  assert.deepEqual(host.askNodes(sum, [1, 2]), [3]);
});

test('an asynchronous answer is awaited, for the right account', async () => {
  assert.equal(await host.askHome(slow, owner, null), 'romeo@example.org');
  assert.deepEqual(await host.askNodes(slow, null), ['example.org']);
});

test('a question without an answerer is a bug of the module', () => {
  assert.throws(() => host.askHome(nobodys, owner, null), /counter\.nobodys/);
});

test('a question has one answerer', () => {
  const twice = [answers(sum, () => 0), answers(sum, () => 1)];
  assert.throws(() => new Hooks('example.org', [{ definition: counter, hooks: twice }]), /counter\.sum/);
});

test('questions of standard modules are prefixed with their names', async () => {
  const names: string[] = [];
  const listening = standardModules.map((module) => ({
    ...module,
    start: async (given: never): Promise<readonly Hook[]> => {
      const hooks = await (module.start as (given: never) => readonly Hook[] | Promise<readonly Hook[]>)(given);
      for (const hook of hooks)
        if (hook.kind === 'question') {
          names.push(hook.question.name);
          assert.ok(hook.question.name.startsWith(`${module.name}.`), hook.question.name);
        }
      return hooks;
    },
  }));
  const { stop } = await startHost(listening as unknown as typeof standardModules);
  await stop();
  assert.ok(names.length > 10);
});
