/** Storage limits of an account and a room: limits.account_bytes, limits.archive_bytes (docs/admin.md). */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { hits, isHit, type Peer, scenario } from './dialogue.js';

const config = {
  hosts: { localhost: { admins: ['nurse@localhost'] }, 'elsewhere.example': {} },
  limits: { account_bytes: 200_000, archive_bytes: 400_000 },
};

/** Publishes an item of so many bytes. Returns the condition of the error, if refused. */
async function publishes(peer: Peer, id: number, bytes: number): Promise<string | undefined> {
  await peer.sends(`<iq type='set' id='p'><pubsub xmlns='${NS.pubsub}'><publish node='n${id}'><item id='${id}'>
    <x xmlns='test:x'>${'x'.repeat(bytes)}</x></item></publish></pubsub></iq>`);
  await peer.syncs();
  const answer = peer.forgets().find(({ attrs }) => attrs.id === 'p');
  return answer?.getChild('error')?.getChildElements()[0]?.getName();
}

scenario('the quota of an account covers all its stores', { config }, async ({ actor, server, stage }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  let stored = 0;
  for (let n = 0; n < 20; n++) if ((await publishes(romeo, n, 20_000)) === undefined) stored++;
  assert.ok(stored >= 8 && stored <= 13, `${stored} items`);
  assert.equal(await publishes(romeo, 30, 20_000), 'resource-constraint');
  assert.ok((await hits(stage, 'account_bytes')) > 0);
  // Any other store refuses too.
  await romeo.sends(
    `<iq type='set' id='v'><vCard xmlns='${NS.vcardTemp}'><NOTE>${'x'.repeat(20_000)}</NOTE></vCard></iq>`,
  );
  await romeo.syncs();
  assert.equal(romeo.forgets().find(({ attrs }) => attrs.id === 'v')?.attrs.type, 'error');
  const { data, quota } = await server.usages.of('romeo@localhost');
  assert.ok(data <= 280_000 && quota?.data === 200_000);
  // Others go on, and administrators have no quota.
  const juliet = await actor('juliet@localhost/balcony');
  assert.equal(await publishes(juliet, 1, 20_000), undefined);
  const nurse = await actor('nurse@localhost/kitchen');
  for (let n = 0; n < 15; n++) assert.equal(await publishes(nurse, n, 20_000), undefined);
  // An administrator raises the quota of one account.
  await server.quotas.set('romeo@localhost', { data: null });
  server.usages.changed('romeo@localhost');
  assert.equal(await publishes(romeo, 40, 20_000), undefined);
});

scenario('the oldest messages of an archive make room', { config }, async ({ actor, server }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const most = 300;
  for (let n = 0; n < most; n++)
    await romeo.sends(
      `<message to='juliet@localhost' type='chat' id='m${n}'><body>${'x'.repeat(5000)}</body></message>`,
    );
  for (let n = 0; n < most; n++) await juliet.receives(`<message type='chat' id='m${n}'/>`);
  await romeo.syncs();
  const archive = server.storage.log('archive');
  for (const owner of ['romeo@localhost', 'juliet@localhost']) {
    while ((await archive.size(owner)) > 480_000) await new Promise((resolve) => setImmediate(resolve));
    const { entries } = await archive.page(owner, { limit: 1, backwards: true });
    assert.match(entries[0]?.value ?? '', /id=.m299./);
  }
});

const gibibyte = 2 ** 30;
let free = 50 * gibibyte;

scenario(
  'when the disk is nearly full, the accounts that wrote most are slowed down, and nobody is refused',
  {
    space: async () => ({ free, total: 100 * gibibyte }),
    config: {
      storage: { low_space_bytes: gibibyte },
      limits: { rate: { byte_burst: 'unlimited' }, rate_account: { byte_burst: 'unlimited' } },
    },
  },
  async (scene) => {
    const { actor, server } = scene;
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const tybalt = await actor('tybalt@localhost/street');
    const victim = await actor('victim@localhost/street', { presence: true });
    const chat = (to: Peer, id: string, bytes: number) =>
      `<message to='${to.jid}' type='chat' id='${id}'><body>${'x'.repeat(bytes)}</body></message>`;
    for (let n = 0; n < 7; n++) {
      await tybalt.sends(chat(victim, `large${n}`, 200_000));
      await victim.receives(`<message type='chat' id='large${n}'/>`);
    }
    await server.disk.look();
    assert.equal(server.disk.isLow, false);
    assert.ok(server.writtenBy('tybalt@localhost').today >= 1_400_000);
    assert.ok(server.writtenBy('romeo@localhost').today < 1000);

    free = gibibyte / 10;
    await server.disk.look();
    assert.equal(server.disk.isLow, true);
    await tybalt.sends(chat(victim, 'slow', 10));
    await isHit(scene, 'storage.low_space_bytes');
    for (let round = 0; round < 5; round++) {
      await romeo.sends(chat(juliet, `to${round}`, 100));
      await juliet.receives(`<message type='chat' id='to${round}'/>`);
    }
    // Any connection of the account waits.
    const second = await actor('tybalt@localhost/square');
    await second.sends(chat(victim, 'slow too', 10));
    await romeo.sends(chat(victim, 'of somebody else', 10));
    await victim.receives(`<message type='chat' id='of somebody else'/>`);

    free = 50 * gibibyte;
    await server.disk.look();
    await victim.receivesAnyOrder([`<message type='chat' id='slow'/>`, `<message type='chat' id='slow too'/>`]);
    await tybalt.syncs();
    await tybalt.receivesNothing();
  },
);
