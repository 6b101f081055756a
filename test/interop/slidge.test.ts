/** XEP-0356 with slidge: a gateway that manages the contact list, the archive and PEP of its users. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { NS } from '../../src/server/stanza/ns.js';
import { installed, sources } from './libraries.js';
import { patience, within } from './server.js';
import { Stage, without } from './stage.js';
import { ways } from './ways.js';

const secret = 'a pound of apothecary';
const domain = 'slidge.localhost';
const juliet = `juliet@${domain}`;
const stage = Stage.forThisFile({
  listen: { component: ['127.0.0.1:0'] },
  components: {
    [domain]: {
      secret,
      privileges: {
        localhost: {
          roster: 'both',
          message: 'outgoing',
          presence: 'managed_entity',
          iq: { [NS.pubsub]: 'both', [NS.pubsubOwner]: 'set' },
        },
      },
    },
  },
});

test('slidge as a component', { skip: without('slixmpp') || without('slidge') }, async () => {
  const account = stage.account('one');
  const home = await mkdtemp(join(tmpdir(), 'waxwing-slidge-'));
  const device = await stage.keep(ways.slixmppTls.device(account, stage.port('c2s_tls')));
  await device.online();
  await device.enableCarbons();
  const options = {
    'legacy-module': 'slidge_bridge',
    jid: domain,
    secret,
    server: '127.0.0.1',
    port: String(stage.server.port('component')),
    'home-dir': home,
    'user-jid-validator': '.*@localhost',
  };
  const slidge = spawn(
    join(installed, 'slidge/bin/slidge'),
    Object.entries(options).map(([name, value]) => `--${name}=${value}`),
    { env: { ...process.env, PYTHONPATH: sources, WAXWING_USER: account.bare }, stdio: ['ignore', 'ignore', 'ignore'] },
  );
  const exited = once(slidge, 'exit');
  try {
    await within(patience, 'the contact of the gateway', () =>
      device.inbox.next('presence', { from: juliet, type: 'available' }),
    );
    assert.deepEqual((await device.roster()).map(({ jid, name, subscription }) => [jid, name, subscription]).sort(), [
      [juliet, 'Juliet', 'both'],
      [domain, 'Bridge', 'both'],
    ]);
    await device.say(juliet, 'Hello');
    await device.inbox.next('message', { body: 'I said this elsewhere', carbon: 'sent' });
    await device.inbox.next('message', { from: juliet, body: 'published: result, again: conflict' });
    const { messages } = await device.history({ with: juliet, max: 10 });
    assert.deepEqual(
      messages.map(({ body }) => body),
      ['Hello', 'I said this elsewhere', 'published: result, again: conflict'],
    );
  } finally {
    slidge.kill('SIGTERM');
    await within(patience, 'the end of slidge', () => exited);
    await rm(home, { recursive: true, maxRetries: 5 });
  }
});
