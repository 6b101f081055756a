/** Groups whose members are contacts of each other. */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { ask } from './http-client.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
const nurse = 'nurse@localhost';

const bare = (address: string): Jid => Jid.parse(address).toBare();
const groupsOf = ({ stage }: Scene) => stage.nodes[0]!.host('localhost')!.provided('sharedGroups')!;

/** An online client that has its contact list. */
async function arrives(scene: Scene, jid: string): Promise<Peer> {
  const peer = await scene.actor(jid, { presence: true });
  await contactsOf(peer);
  return peer;
}

/** The contacts of a client's account, as clients see them. */
async function contactsOf(peer: Peer): Promise<Record<string, string>> {
  await peer.sends(`<iq type='get' id='contacts'><query xmlns='${NS.roster}'/></iq>`);
  const answer = await peer.receives(`<iq type='result' id='contacts'/>`);
  const items = answer.getChild('query', NS.roster)!.getChildren('item');
  return Object.fromEntries(
    items.map((item) => [
      item.attrs.jid!,
      [item.attrs.subscription, ...item.getChildren('group').map((group) => group.text())].join(' '),
    ]),
  );
}

const pushed = (jid: string, subscription: string, ...groups: readonly string[]): string =>
  `<iq type='set'><query xmlns='${NS.roster}'><item jid='${jid}' subscription='${subscription}'>${groups
    .map((group) => `<group>${group}</group>`)
    .join('')}</item></query></iq>`;

scenario('members become contacts at once, see each other, and part again', async (scene) => {
  const groups = groupsOf(scene);
  const [orchard, balcony] = [await arrives(scene, `${romeo}/orchard`), await arrives(scene, `${juliet}/balcony`)];
  await groups.create('team', 'Team & Ω');
  await groups.add('team', bare(orchard.jid));
  await orchard.receivesNothing();
  await groups.add('team', bare(balcony.jid));
  await orchard.receivesAnyOrder([pushed(juliet, 'both', 'Team &amp; Ω'), `<presence from='${balcony.jid}'/>`]);
  await balcony.receivesAnyOrder([pushed(romeo, 'both', 'Team &amp; Ω'), `<presence from='${orchard.jid}'/>`]);
  // Twice the same, and a group twice.
  await groups.add('team', bare(balcony.jid));
  await assert.rejects(groups.create('team', 'Another'), /There is a group/);
  await balcony.receivesNothing();
  assert.deepEqual(await groups.list(), [
    { id: 'team', name: 'Team & Ω', members: [juliet, romeo], isConfigured: false },
  ]);
  assert.equal(await groups.drop('team', bare(balcony.jid)), true);
  // The items end as others do, and clients drop the presence with them.
  for (const [peer, other] of [
    [orchard, juliet],
    [balcony, romeo],
  ] as const) {
    await peer.receives(pushed(other, 'none'));
    await peer.receives(pushed(other, 'remove'));
    await peer.receivesNothing();
  }
  await orchard.sends(`<presence><show>away</show></presence>`);
  await orchard.receives(`<presence from='${orchard.jid}'/>`);
  await balcony.receivesNothing();
  assert.equal(await groups.drop('team', bare(balcony.jid)), false);
  await groups.remove('team');
  assert.deepEqual(await groups.list(), []);
  await assert.rejects(groups.add('team', bare(balcony.jid)), /no such group/);
});

scenario('what users do with such contacts stays; contacts of their own stay without the group', async (scene) => {
  const groups = groupsOf(scene);
  const orchard = await arrives(scene, `${romeo}/orchard`);
  for (const name of [juliet, nurse]) await scene.stage.account(name);
  // The nurse was a contact of Romeo before.
  await orchard.sends(
    `<iq type='set' id='own'><query xmlns='${NS.roster}'><item jid='${nurse}' name='Angelica'/></query></iq>`,
  );
  await orchard.receivesAnyOrder([`<iq type='result' id='own'/>`, pushed(nurse, 'none')]);
  await orchard.sends(`<presence to='${nurse}' type='subscribe'/>`);
  await orchard.syncs();
  await groups.create('team', 'Team');
  await groups.create('cast', 'Cast');
  for (const group of ['team', 'cast']) for (const name of [romeo, juliet, nurse]) await groups.add(group, bare(name));
  await orchard.syncs();
  orchard.forgets();
  assert.deepEqual(await contactsOf(orchard), { [juliet]: 'both Team Cast', [nurse]: 'both Team Cast' });
  // Romeo removes Juliet, who is not added again by a change of the group.
  await orchard.sends(
    `<iq type='set' id='off'><query xmlns='${NS.roster}'><item jid='${juliet}' subscription='remove'/></query></iq>`,
  );
  await orchard.receivesAnyOrder([`<iq type='result' id='off'/>`, pushed(juliet, 'remove')]);
  await scene.stage.account('paris@localhost');
  await groups.add('team', bare('paris@localhost'));
  await orchard.receivesAnyOrder([
    pushed('paris@localhost', 'both', 'Team'),
    `<presence from='paris@localhost' type='unavailable'/>`,
  ]);
  await orchard.receivesNothing();
  // With the last of the groups the contacts that they made are gone.
  await groups.remove('team');
  await orchard.syncs();
  orchard.forgets();
  assert.deepEqual(await contactsOf(orchard), { [nurse]: 'both Cast' });
  await groups.remove('cast');
  await orchard.syncs();
  orchard.forgets();
  assert.deepEqual(await contactsOf(orchard), {});
});

scenario('who was a contact before stays one', async (scene) => {
  const groups = groupsOf(scene);
  const [orchard, balcony] = [await arrives(scene, `${romeo}/orchard`), await arrives(scene, `${juliet}/balcony`)];
  await orchard.sends(`<presence to='${juliet}' type='subscribe'/>`);
  await balcony.syncs();
  await balcony.sends(`<presence to='${romeo}' type='subscribed'/>`);
  await orchard.syncs();
  await balcony.syncs();
  await groups.create('circle', 'Team');
  for (const peer of [orchard, balcony]) await groups.add('circle', bare(peer.jid));
  await groups.remove('circle');
  await orchard.syncs();
  orchard.forgets();
  assert.deepEqual(await contactsOf(orchard), { [juliet]: 'both' });
});

scenario(
  'groups of the configuration: accounts that come later are in them, and those that are deleted are not',
  {
    config: {
      modules: {
        shared_groups: { groups: { cast: { name: 'Cast', members: [romeo, juliet, 'x@elsewhere.example'] } } },
      },
    },
  },
  async (scene) => {
    const orchard = await arrives(scene, `${romeo}/orchard`);
    await scene.stage.account(juliet);
    await orchard.receives(pushed(juliet, 'both', 'Cast'));
    await assert.rejects(groupsOf(scene).add('cast', bare(romeo)), /in the configuration/);
    await assert.rejects(groupsOf(scene).remove('cast'), /in the configuration/);
    await scene.stage.home(juliet).accounts.remove(juliet);
    await orchard.syncs();
    orchard.forgets();
    assert.deepEqual(await contactsOf(orchard), {});
    assert.deepEqual(
      (await groupsOf(scene).list()).map(({ members }) => members),
      [[romeo]],
    );
  },
);

scenario('an invitation into a group', async (scene) => {
  const orchard = await arrives(scene, `${romeo}/orchard`);
  await groupsOf(scene).create('guests', 'Team');
  await groupsOf(scene).add('guests', bare(orchard.jid));
  const invites = scene.stage.nodes[0]!.host('localhost')!.provided('invites')!;
  const { url } = await invites.make({ groups: ['guests', 'gone'], registers: true, connects: false, uses: 1 });
  const made = await ask(scene, 'http', new URL(url!).pathname, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: 'name=paris&password=pencil',
  });
  assert.equal(made.status, 201);
  await orchard.receives(pushed('paris@localhost', 'both', 'Team'));
  await groupsOf(scene).remove('guests');
  await scene.stage.home('paris@localhost').accounts.remove('paris@localhost');
});

scenario(
  'groups and members are bounded, and ids are ids',
  { config: { modules: { shared_groups: { max_members: 2, max_groups: 2 } } }, alone: true },
  async (scene) => {
    const groups = groupsOf(scene);
    for (const name of [romeo, juliet, nurse]) await scene.stage.account(name);
    await groups.create('one', 'Same name');
    await groups.create('two', 'Same name');
    await assert.rejects(groups.create('three', 'x'), /as many groups/);
    for (const name of [romeo, juliet]) await groups.add('one', bare(name));
    await assert.rejects(groups.add('one', bare(nurse)), /as many members/);
    await assert.rejects(groups.add('one', bare('nobody@localhost')), /as many members|no such account/);
    await assert.rejects(groups.add('two', bare('nobody@localhost')), /no such account/);
    await assert.rejects(groups.add('__proto__', bare(nurse)), /no such group/);
    // Two groups of one name: leaving one keeps the name.
    for (const name of [romeo, juliet]) await groups.add('two', bare(name));
    await groups.remove('one');
    const orchard = await arrives(scene, `${romeo}/orchard`);
    assert.deepEqual(await contactsOf(orchard), { [juliet]: 'both Same name' });
  },
);

scenario('everything at once: groups and contacts agree at the end', { alone: true }, async (scene) => {
  const groups = groupsOf(scene);
  const names = [romeo, juliet, nurse, 'paris@localhost'];
  for (const name of names) await scene.stage.account(name);
  await groups.create('team', 'Team');
  await Promise.all(names.flatMap((name) => [groups.add('team', bare(name)), groups.add('team', bare(name))]));
  await Promise.all([groups.drop('team', bare(nurse)), groups.add('team', bare(romeo))]);
  const orchard = await arrives(scene, `${romeo}/orchard`);
  assert.deepEqual(await contactsOf(orchard), { [juliet]: 'both Team', 'paris@localhost': 'both Team' });
});
