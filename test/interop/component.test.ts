/** XEP-0114 with slixmpp: a component that answers the users of the server, also after it was away. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { installed, sources } from './libraries.js';
import { patience, within } from './server.js';
import { Stage, without } from './stage.js';
import { ways } from './ways.js';

const secret = 'a pound of apothecary';
const bot = 'echo@bot.localhost';
const stage = Stage.forThisFile({
  listen: { component: ['127.0.0.1:0'] },
  components: { 'bot.localhost': { secret } },
});

/** A component that has logged in. Resolves with what ends it. */
async function starts(): Promise<() => Promise<void>> {
  const program = [
    join(sources, 'slixmpp_component.py'),
    'bot.localhost',
    secret,
    String(stage.server.port('component')),
  ];
  const child = spawn(join(installed, 'venv/bin/python'), program, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const line = once(createInterface(child.stdout), 'line') as Promise<[string]>;
  const [said] = await within(patience, 'the start of the component', () => line);
  const { kind, categories } = JSON.parse(said) as { kind: string; categories: string[] };
  assert.deepEqual([kind, categories.includes('server')], ['started', true]);
  return async () => {
    child.stdin.end();
    await within(patience, 'the end of the component', () => exited);
  };
}

test('slixmpp as a component', { skip: without('slixmpp') }, async () => {
  let ends = await starts();
  const device = await stage.keep(ways.slixmppTls.device(stage.account('one'), stage.port('c2s_tls')));
  await device.online();
  await device.subscribe(bot);
  await device.inbox.next('presence', { from: bot, type: 'available' });
  await device.say(bot, 'Hello');
  await device.inbox.next('message', { from: bot, body: 'Hello, you say' });
  await ends();
  await device.say(bot, 'Are you there?');
  await device.inbox.next('refused', { from: bot, condition: 'remote-server-timeout' });
  ends = await starts();
  await device.say(bot, 'Hello again');
  await device.inbox.next('message', { from: bot, body: 'Hello again, you say' });
  await ends();
});
