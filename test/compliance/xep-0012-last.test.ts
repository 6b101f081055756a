/** XEP-0012: how long an account has been away, and the server running. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Peer, scenario } from './dialogue.js';
import { befriends, refusal, subscribes } from './phrases.js';

const query = `<query xmlns='${NS.last}'/>`;

async function asks(peer: Peer, to: string): Promise<{ seconds: number; status: string }> {
  await peer.sends(`<iq type='get' id='last' to='${to}'>${query}</iq>`);
  const result = await peer.receives(
    `<iq type='result' id='last' from='${to}'><query xmlns='${NS.last}' seconds='*'/></iq>`,
  );
  const answer = result.getChild('query', NS.last)!;
  return { seconds: Number(answer.attrs.seconds), status: answer.getText() };
}

scenario('§3: online users, and users with a last status', async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await subscribes(romeo, juliet);
  assert.deepEqual(await asks(romeo, 'juliet@localhost'), { seconds: 0, status: '' });
  const chamber = await actor('juliet@localhost/chamber', { presence: true });
  await juliet.sends(`<presence type='unavailable'><status>One of us is still here</status></presence>`);
  await stage.settle();
  romeo.forgets();
  assert.deepEqual(await asks(romeo, 'juliet@localhost'), { seconds: 0, status: '' }, 'still');
  await chamber.sends(`<presence type='unavailable'><status>Good &lt;night&gt;</status></presence>`);
  await stage.settle();
  romeo.forgets();
  const { seconds, status } = await asks(romeo, 'juliet@localhost');
  assert.equal(status, 'Good <night>');
  assert.ok(seconds >= 0 && seconds < 60);
});

scenario('§3, §8: refused without access to the presence, as for a missing account', async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await stage.account('paris@localhost');
  await subscribes(juliet, romeo);
  for (const whom of ['juliet@localhost', 'paris@localhost', 'nobody@localhost'])
    for (const to of [whom, `${whom}/balcony`]) {
      await romeo.sends(`<iq type='get' id='1' to='${to}'>${query}</iq>`);
      await romeo.receives(`<iq type='error' id='1' from='${to}'>${query}${refusal('auth', 'forbidden')}</iq>`);
    }
  await juliet.receivesNothing();
});

scenario('§4: a request to a client is answered by the client', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await romeo.sends(`<iq type='get' id='1' to='juliet@localhost/balcony'>${query}</iq>`);
  await juliet.receives(`<iq type='get' id='1' from='romeo@localhost/orchard'>${query}</iq>`);
  await juliet.sends(
    `<iq type='result' id='1' to='romeo@localhost/orchard'><query xmlns='${NS.last}' seconds='123'/></iq>`,
  );
  await romeo.receives(
    `<iq type='result' id='1' from='juliet@localhost/balcony'><query xmlns='${NS.last}' seconds='123'/></iq>`,
  );
  await romeo.sends(`<iq type='get' id='2' to='juliet@localhost/nowhere'>${query}</iq>`);
  await romeo.receives(`<iq type='error' id='2'>${refusal('cancel', 'service-unavailable')}</iq>`);
});

scenario('§5: the uptime of the server', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const { seconds, status } = await asks(romeo, 'localhost');
  assert.ok(Number.isInteger(seconds) && seconds >= 0);
  assert.equal(status, '');
});

const lasting = new MemoryStorage();
scenario('§3: an account is still away after a restart', { storage: () => lasting }, async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await subscribes(romeo, juliet);
  await juliet.sends(`<presence type='unavailable'><status>Gone</status></presence>`);
  await juliet.syncs();
  await stage.settle();
  await stage.restart();
  const again = await actor('romeo@localhost/orchard', { presence: true });
  assert.equal((await asks(again, 'juliet@localhost')).status, 'Gone');
});

const stored = new MemoryStorage();
scenario(
  'a time that is not yet stored is known, and deleted with the account',
  { storage: () => stored },
  async (scene) => {
    const { actor, stage, server } = scene;
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await subscribes(romeo, juliet);
    await juliet.sends(`<presence type='unavailable'><status>Gone</status></presence>`);
    await stage.settle();
    romeo.forgets();
    assert.equal((await asks(romeo, 'juliet@localhost')).status, 'Gone');
    await server.accounts.remove('juliet@localhost');
    await stage.restart();
    assert.equal(await stored.document('last_activity').get('juliet@localhost'), undefined);
  },
);

scenario('§6: support is announced', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='jabber:iq:last'/></query></iq>`,
  );
});
