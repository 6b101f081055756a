import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import disco from '../../src/modules/xep-0030-disco.js';
import adhoc from '../../src/modules/xep-0050-adhoc.js';
import { type CommandResult, type CommandStep, command, defineModule } from '../../src/server/module/index.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { NS } from '../../src/server/stanza/ns.js';
import { el } from '../../src/server/xml/element.js';
import { startHost } from './module-host.js';

const x = (text: string) => el('x', { xmlns: NS.dataForms }, el('title', null, text));
const wizard = async ({ action, form, state }: CommandStep): Promise<CommandResult> => {
  const page = action === 'execute' ? 1 : (state as number) + (action === 'prev' ? -1 : 1);
  if (form?.getChildText('title') === 'bad')
    throw new StanzaError('bad-request', undefined, { extra: [el('bad-payload', { xmlns: NS.commands })] });
  if (page === 3) return { status: 'completed', note: { type: 'info', text: 'Done.' }, payload: [x('the end')] };
  const actions = page === 1 ? (['next'] as const) : (['prev', 'complete'] as const);
  return { status: 'executing', state: page, actions, payload: [x(`page ${page}`)] };
};
const tools = defineModule({
  name: 'tools',
  summary: 'Commands for the test.',
  implements: {},
  start: () => [
    command({ node: 'wizard', name: 'Wizard', target: 'server', access: 'users', run: wizard }),
    command({
      node: 'simple',
      name: 'Simple',
      target: 'server',
      access: 'anyone',
      run: ({ action }) =>
        action === 'complete' ? { status: 'completed' } : { status: 'executing', payload: [x('fill in')] },
    }),
    command({
      node: 'ruin',
      name: 'Ruin',
      target: 'server',
      access: 'admins',
      run: () => ({ status: 'completed', note: { type: 'error', text: 'Ruined.' } }),
    }),
    command({ node: 'own', name: 'Own', target: 'account', access: 'owner', run: () => ({ status: 'completed' }) }),
  ],
});

const { limits, connect, account, stop } = await startHost([roster, disco, adhoc, tools], {
  config: { hosts: { 'example.org': { admins: ['admin@example.org'] } } },
});
after(stop);
for (const name of ['alice', 'bob', 'admin']) await account(name);
const alice = connect('alice@example.org/a');
const bob = connect('bob@example.org/b');
const admin = connect('admin@example.org/x');

const run = (node: string, { id = '', action = '', content = '', to = 'example.org' } = {}) =>
  `<iq type="set" id="1" to="${to}"><command xmlns="${NS.commands}" node="${node}"${id && ` sessionid="${id}"`}${
    action && ` action="${action}"`
  }>${content}</command></iq>`;
const sessionOf = (answer: string) => /sessionid="([^"]+)"/.exec(answer)![1]!;
const disco_ = (what: string, node: string, to = 'example.org') =>
  `<iq type="get" id="1" to="${to}"><query xmlns="http://jabber.org/protocol/disco#${what}" node="${node}"/></iq>`;
const refusedAs = (answer: string, type: string, ...conditions: string[]) => {
  assert.match(answer, new RegExp(`<error type="${type}"`));
  for (const condition of conditions) assert.match(answer, new RegExp(`<${condition} `));
};

test('commands are listed for users who may run them', async () => {
  const listed = async (client: typeof alice, to?: string) =>
    [...(await client.asks(disco_('items', NS.commands, to))).matchAll(/<item [^>]*node="([^"]+)"/g)].map(
      ([, node]) => node,
    );
  assert.deepEqual(await listed(alice), ['wizard', 'simple']);
  assert.deepEqual(await listed(admin), ['wizard', 'simple', 'ruin']);
  // Commands for users at the server are also listed at the user's own account
  assert.deepEqual(await listed(alice, 'alice@example.org'), ['wizard', 'simple', 'own']);
  assert.deepEqual(await listed(bob, 'alice@example.org'), []);
  assert.match(await alice.asks(disco_('info', NS.commands)), /category="automation" type="command-list"/);
});

test('a command is described (§2.2)', async () => {
  const answer = await alice.asks(disco_('info', 'wizard'));
  assert.match(answer, /<identity category="automation" type="command-node" name="Wizard"\/>/);
  for (const feature of [NS.commands, NS.dataForms]) assert.ok(answer.includes(`<feature var="${feature}"/>`));
  refusedAs(await alice.asks(disco_('info', 'ruin')), 'cancel', 'forbidden');
});

test('stages: next, previous, complete', async () => {
  const first = await alice.asks(run('wizard'));
  assert.match(first, /status="executing"><actions execute="next"><next\/><\/actions><x [^>]*><title>page 1/);
  const id = sessionOf(first);
  const second = await alice.asks(run('wizard', { id })); // execute stands for next
  assert.match(second, /<actions execute="complete"><prev\/><complete\/><\/actions>.*page 2/);
  assert.match(await alice.asks(run('wizard', { id, action: 'prev' })), /page 1/);
  assert.match(await alice.asks(run('wizard', { id, action: 'next' })), /page 2/);
  const last = await alice.asks(run('wizard', { id, action: 'complete' }));
  assert.match(last, /status="completed"><x .*the end.*<note type="info">Done.<\/note><\/command>/);
  refusedAs(await alice.asks(run('wizard', { id })), 'cancel', 'not-allowed', 'session-expired');
});

test('one form without actions is completed by executing it', async () => {
  const answer = await alice.asks(run('simple', { action: 'execute' }));
  assert.match(answer, /<actions execute="complete"><complete\/><\/actions>/);
  assert.match(await alice.asks(run('simple', { id: sessionOf(answer) })), /status="completed"/);
});

test('cancel frees the session', async () => {
  const id = sessionOf(await alice.asks(run('wizard')));
  assert.match(await alice.asks(run('wizard', { id, action: 'cancel' })), /status="canceled"\/>/);
  refusedAs(await alice.asks(run('wizard', { id })), 'cancel', 'session-expired');
});

test('the errors of §4.4', async () => {
  refusedAs(await alice.asks(run('nope')), 'cancel', 'item-not-found');
  refusedAs(await alice.asks(run('ruin')), 'cancel', 'forbidden');
  refusedAs(await alice.asks(run('wizard', { action: 'dance' })), 'modify', 'bad-request', 'malformed-action');
  refusedAs(await alice.asks(run('wizard', { action: 'complete' })), 'modify', 'bad-request', 'bad-action');
  refusedAs(await alice.asks(run('wizard', { id: 'made-up' })), 'modify', 'bad-request', 'bad-sessionid');
  const id = sessionOf(await alice.asks(run('wizard')));
  refusedAs(await alice.asks(run('wizard', { id, action: 'complete' })), 'modify', 'bad-request', 'bad-action');
  const bad = '<x xmlns="jabber:x:data" type="submit"><title>bad</title></x>';
  refusedAs(await alice.asks(run('wizard', { id, content: bad })), 'modify', 'bad-request', 'bad-payload');
  assert.match(await alice.asks(run('wizard', { id })), /page 2/); // it can be tried again
});

test('a session belongs to the address that opened it, and to its command', async () => {
  const id = sessionOf(await alice.asks(run('wizard')));
  const other = connect('alice@example.org/other');
  for (const client of [bob, other])
    refusedAs(await client.asks(run('wizard', { id })), 'modify', 'bad-request', 'bad-sessionid');
  refusedAs(await alice.asks(run('simple', { id })), 'modify', 'bad-request', 'bad-sessionid');
  assert.match(await alice.asks(run('wizard', { id })), /page 2/);
});

test('sessions per address are limited; the oldest is evicted', async () => {
  const ids: string[] = [];
  for (let n = 0; n < 11; n++) ids.push(sessionOf(await bob.asks(run('wizard'))));
  refusedAs(await bob.asks(run('wizard', { id: ids[0]! })), 'modify', 'bad-sessionid');
  assert.match(await bob.asks(run('wizard', { id: ids[1]! })), /page 2/);
});

test('the commands of an account are for its owner', async () => {
  const to = 'alice@example.org';
  assert.match(await alice.asks(run('own', { to })), /status="completed"/);
  assert.match(await bob.asks(run('own', { to })), /<service-unavailable /);
});

test('sessions are bounded in total, and an account with many clients evicts only its own', async () => {
  const id = sessionOf(await bob.asks(run('wizard')));
  for (let n = 0; n < 1001; n++) await connect(`alice@example.org/r${n}`).says(run('wizard'));
  assert.ok(!limits.includes('command_sessions'));
  assert.match(await bob.asks(run('wizard', { id })), /page 2/);
  for (let n = 0; n < 1001; n++) await connect(`user${n}@example.org/r`).says(run('wizard'));
  assert.ok(limits.includes('command_sessions'));
});
