/** XEP-0191: blocking. To the blocked contact the account looks nonexistent; the blocking user hears nothing of them. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Peer, scenario } from './dialogue.js';
import { befriends, refusal, subscribes } from './phrases.js';
import { founds, service } from './rooms.js';

const items = (...jids: string[]) => jids.map((jid) => `<item jid='${jid}'/>`).join('');
const block = (...jids: string[]) => `<block xmlns='${NS.blocking}'>${items(...jids)}</block>`;
const unblock = (...jids: string[]) => `<unblock xmlns='${NS.blocking}'>${items(...jids)}</unblock>`;

async function does(peer: Peer, request: string): Promise<void> {
  await peer.sends(`<iq type='set' id='does'>${request}</iq>`);
  await peer.receives(`<iq type='result' id='does' to='${peer.jid}'/>`);
}

/** Unblocked contacts send their presence again. */
async function unblocks(peer: Peer, presences: readonly string[], ...jids: readonly string[]): Promise<void> {
  await peer.sends(`<iq type='set' id='does'>${unblock(...jids)}</iq>`);
  await peer.receivesAnyOrder([...presences, `<iq type='result' id='does' to='${peer.jid}'/>`]);
}

async function blocks(peer: Peer): Promise<string[]> {
  await peer.sends(`<iq type='get' id='list'><blocklist xmlns='${NS.blocking}'/></iq>`);
  const result = await peer.receives(`<iq type='result' id='list'><blocklist xmlns='${NS.blocking}'/></iq>`);
  return result
    .getChildElements()[0]!
    .getChildElements()
    .map(({ attrs }) => attrs.jid!);
}

const blocked = `<error type='cancel'><not-acceptable xmlns='${NS.stanzas}'/><blocked xmlns='${NS.blockingErrors}'/></error>`;

scenario('§3.1: support is announced', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await juliet.receives(
    `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='urn:xmpp:blocking'/></query></iq>`,
  );
});

scenario('§3.2 to §3.5: the list, and pushes to clients that requested it', async ({ actor }) => {
  const balcony = await actor('juliet@localhost/balcony', { presence: true });
  const chamber = await actor('juliet@localhost/chamber');
  const silent = await actor('juliet@localhost/silent');
  assert.deepEqual(await blocks(balcony), []);
  assert.deepEqual(await blocks(chamber), []);
  const push = (request: string) => `<iq type='set' id='*'>${request}</iq>`;
  const both = async (request: string) => {
    await balcony.sends(`<iq type='set' id='1'>${request}</iq>`);
    await balcony.receivesAnyOrder([`<iq type='result' id='1'/>`, push(request)]);
    await chamber.receives(push(request));
  };
  await both(block('romeo@localhost', 'iago@shakespeare.lit'));
  await both(block('evil.example', 'a@b.example/c', 'b.example/c'));
  assert.deepEqual((await blocks(silent)).sort(), [
    'a@b.example/c',
    'b.example/c',
    'evil.example',
    'iago@shakespeare.lit',
    'romeo@localhost',
  ]);
  silent.cut();
  await both(unblock('evil.example', 'romeo@localhost'));
  assert.deepEqual((await blocks(chamber)).length, 3);
  // §3.5: all
  await both(unblock());
  assert.deepEqual(await blocks(balcony), []);
  await balcony.receivesNothing();
});

scenario('§3.3: invalid items', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  for (const [request, error] of [
    [block(), refusal('modify', 'bad-request')],
    [`<block xmlns='${NS.blocking}'><item/></block>`, refusal('modify', 'bad-request')],
    [block('a@@b'), refusal('modify', 'jid-malformed')],
    [block('ok@localhost', 'a@@b'), refusal('modify', 'jid-malformed')],
  ]) {
    await juliet.sends(`<iq type='set' id='1'>${request}</iq>`);
    await juliet.receives(`<iq type='error' id='1'>${error}</iq>`);
  }
  assert.deepEqual(await blocks(juliet), []);
  // Spelled as the account is
  const chamber = await actor('juliet@localhost/chamber');
  await does(chamber, block('ROMEO@LocalHost'));
  assert.deepEqual(await blocks(chamber), ['romeo@localhost']);
});

scenario('§3.3: items are limited', { config: { modules: { blocking: { max_items: 2 } } } }, async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  await does(juliet, block('a@localhost'));
  await juliet.sends(`<iq type='set' id='1'>${block('b@localhost', 'c@localhost')}</iq>`);
  await juliet.receives(`<iq type='error' id='1'>${refusal('wait', 'resource-constraint')}</iq>`);
  await does(juliet, block('a@localhost', 'b@localhost'));
  assert.equal((await blocks(juliet)).length, 2);
});

scenario("§3.3: another's list is refused, as for a missing account", async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  for (const whose of ['juliet@localhost', 'nobody@localhost']) {
    for (const [type, request] of [
      ['get', `<blocklist xmlns='${NS.blocking}'/>`],
      ['set', block('paris@localhost')],
      ['set', unblock()],
    ]) {
      await romeo.sends(`<iq type='${type}' id='1' to='${whose}'>${request}</iq>`);
      await romeo.receives(`<iq type='error' id='1' from='${whose}'>${refusal('cancel', 'service-unavailable')}</iq>`);
    }
  }
  assert.deepEqual(await blocks(juliet), []);
});

scenario('§3.3: nothing arrives from blocked addresses', async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const balcony = await actor('juliet@localhost/balcony', { presence: true });
  const chamber = await actor('juliet@localhost/chamber', { presence: true });
  await befriends(romeo, balcony);
  await stage.settle();
  for (const peer of [romeo, balcony, chamber]) peer.forgets();
  await does(balcony, block('romeo@localhost'));
  // All her clients become unavailable for Romeo at once
  await romeo.receivesAnyOrder([
    `<presence type='unavailable' from='juliet@localhost/balcony'/>`,
    `<presence type='unavailable' from='juliet@localhost/chamber'/>`,
  ]);
  await romeo.receivesNothing();

  // Whatever Romeo sends her, the answer is that of a nonexistent account
  const answers: string[][] = [];
  for (const bare of ['juliet@localhost', 'nobody@localhost']) {
    const received: string[] = [];
    await romeo.sends(`<message id='groupchat' type='groupchat' to='${bare}'><body>x</body></message>`);
    for (const to of [bare, `${bare}/balcony`]) {
      for (const type of ['chat', 'normal', 'headline', 'error'])
        await romeo.sends(`<message id='${type}' type='${type}' to='${to}'><body>x</body></message>`);
      await romeo.sends(`<message id='state' type='chat' to='${to}'><active xmlns='${NS.chatStates}'/></message>`);
      for (const type of [
        '',
        `type='unavailable'`,
        `type='subscribe'`,
        `type='subscribed'`,
        `type='unsubscribe'`,
        `type='unsubscribed'`,
        `type='probe'`,
      ])
        await romeo.sends(`<presence ${type} to='${to}'/>`);
      for (const type of ['get', 'set'])
        await romeo.sends(`<iq type='${type}' id='${type}' to='${to}'><x xmlns='urn:example'/></iq>`);
      await romeo.sends(`<iq type='get' id='ping' to='${to}'><ping xmlns='${NS.ping}'/></iq>`);
      await romeo.sends(`<iq type='get' id='info' to='${to}'><query xmlns='${NS.discoInfo}'/></iq>`);
      for (const node of ['', `node='x'`, `node='${NS.commands}'`, `node='http://jabber.org/protocol/nick'`])
        for (const ns of [NS.discoInfo, NS.discoItems])
          await romeo.sends(`<iq type='get' id='disco' to='${to}'><query xmlns='${ns}' ${node}/></iq>`);
      await romeo.sends(`<iq type='get' id='last' to='${to}'><query xmlns='${NS.last}'/></iq>`);
      for (const asked of [
        `<subscriptions/>`,
        `<affiliations/>`,
        `<default/>`,
        `<items node='http://jabber.org/protocol/nick'/>`,
        `<items/>`,
        `<options node='x' jid='romeo@localhost'/>`,
      ])
        await romeo.sends(`<iq type='get' id='pubsub' to='${to}'><pubsub xmlns='${NS.pubsub}'>${asked}</pubsub></iq>`);
      for (const asked of [
        `<subscribe node='x' jid='romeo@localhost'/>`,
        `<subscribe node='x'/>`,
        `<unsubscribe node='x' jid='romeo@localhost'/>`,
        `<publish node='x'><item/></publish>`,
        `<retract node='x'><item id='a'/></retract>`,
        `<create node='x'/>`,
      ])
        await romeo.sends(`<iq type='set' id='pubsub' to='${to}'><pubsub xmlns='${NS.pubsub}'>${asked}</pubsub></iq>`);
      for (const asked of [`<configure node='x'/>`, `<affiliations node='x'/>`, `<default/>`])
        await romeo.sends(
          `<iq type='get' id='owner' to='${to}'><pubsub xmlns='${NS.pubsubOwner}'>${asked}</pubsub></iq>`,
        );
      await romeo.sends(`<iq type='get' id='vcard' to='${to}'><vCard xmlns='${NS.vcardTemp}'/></iq>`);
      await romeo.sends(`<iq type='result' id='r' to='${to}'/>`);
      await romeo.syncs();
      received.push(...romeo.forgets().map((element) => String(element).replaceAll(bare, 'WHOM')));
    }
    answers.push(received);
  }
  assert.deepEqual(answers[0], answers[1]);
  for (const peer of [balcony, chamber]) await peer.receivesNothing();
});

scenario('§3.3: nor through rooms, which forward invitations', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await founds(romeo, 'hall', 'romeo');
  const invites = async () => {
    await romeo.sends(
      `<message to='hall@${service}'><x xmlns='${NS.mucUser}'><invite to='juliet@localhost'/></x></message>`,
    );
    await romeo.receivesNothing();
  };
  await invites();
  await juliet.receives(`<message from='hall@${service}'><x xmlns='${NS.mucUser}'><invite/></x></message>`);
  await does(juliet, block('romeo@localhost'));
  await invites();
  await juliet.receivesNothing();
});

scenario('§3.3: nothing is sent to blocked addresses', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await does(juliet, block('romeo@localhost'));
  await romeo.receives(`<presence type='unavailable' from='juliet@localhost/balcony'/>`);
  for (const to of ['romeo@localhost', 'romeo@localhost/orchard']) {
    await juliet.sends(`<message id='1' type='chat' to='${to}'><body>x</body></message>`);
    await juliet.receives(`<message id='1' type='error' from='${to}'><body>x</body>${blocked}</message>`);
    await juliet.sends(`<presence id='2' to='${to}'/>`);
    await juliet.receives(`<presence id='2' type='error' from='${to}'>${blocked}</presence>`);
    await juliet.sends(`<iq id='3' type='get' to='${to}'><ping xmlns='${NS.ping}'/></iq>`);
    await juliet.receives(`<iq id='3' type='error' from='${to}'>${blocked}</iq>`);
  }
  // Broadcasts do not include Romeo
  await juliet.sends('<presence><show>away</show></presence>');
  await juliet.receives(`<presence from='juliet@localhost/balcony'/>`);
  await juliet.sends(`<presence type='unavailable'/>`);
  await juliet.receives(`<presence type='unavailable' from='juliet@localhost/balcony'/>`);
  const again = await actor('juliet@localhost/chamber', { presence: true });
  await romeo.receivesNothing();
  await again.receivesNothing();
});

scenario('§3.3, §4: subscriptions and the roster stay', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await does(juliet, block('romeo@localhost'));
  for (const [peer, contact] of [[romeo, 'juliet@localhost'] as const, [juliet, 'romeo@localhost'] as const]) {
    await peer.syncs();
    peer.forgets();
    await peer.sends(`<iq type='get' id='1'><query xmlns='${NS.roster}'/></iq>`);
    await peer.receives(
      `<iq type='result' id='1'><query xmlns='${NS.roster}'><item jid='${contact}' subscription='both'/></query></iq>`,
    );
  }
});

scenario('§3.4: after unblocking both exchange presence again', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: '<presence><show>dnd</show></presence>' });
  await befriends(romeo, juliet);
  await does(juliet, block('romeo@localhost'));
  await romeo.receives(`<presence type='unavailable' from='juliet@localhost/balcony'/>`);
  await romeo.sends('<presence><status>far away</status></presence>');
  await romeo.receives('<presence/>');
  const away = `<presence from='romeo@localhost/orchard' to='juliet@localhost/balcony'><status>far away</status></presence>`;
  await unblocks(juliet, [away], 'romeo@localhost');
  await romeo.receives(`<presence from='juliet@localhost/balcony'><show>dnd</show></presence>`);
  await romeo.sends(`<message type='chat' to='juliet@localhost'><body>x</body></message>`);
  await juliet.receives(`<message type='chat' from='romeo@localhost/orchard'><body>x</body></message>`);
  await juliet.sends(`<message type='chat' to='romeo@localhost'><body>y</body></message>`);
  await romeo.receives(`<message type='chat' from='juliet@localhost/balcony'><body>y</body></message>`);
});

scenario('§3.3, §3.4: presence is sent once, and not to addresses that another item blocks', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await does(juliet, block('romeo@localhost', 'ROMEO@localhost', 'localhost'));
  await romeo.receives(`<presence type='unavailable' from='juliet@localhost/balcony'/>`);
  await romeo.receivesNothing();
  await does(juliet, unblock('localhost')); // the other rule holds still
  await does(juliet, block('localhost'));
  await romeo.receivesNothing();
});

scenario('§3.3, §3.4: presence is sent only to subscribers', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await subscribes(juliet, romeo); // Juliet sees Romeo, Romeo does not see Juliet
  await does(juliet, block('romeo@localhost'));
  await unblocks(juliet, [`<presence from='romeo@localhost/orchard'/>`], 'romeo@localhost');
  await romeo.receivesNothing();
});

scenario('§3.4, §3.5: unblocking all, and missing items', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const chamber = await actor('juliet@localhost/chamber', { presence: true });
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const garden = await actor('romeo@localhost/garden', { presence: true });
  const paris = await actor('paris@localhost/street', { presence: true });
  await befriends(romeo, juliet);
  await befriends(paris, juliet);
  await does(juliet, block('romeo@localhost', 'paris@localhost'));
  await paris.sends(`<presence type='unavailable'/>`);
  for (const peer of [juliet, chamber, romeo, garden, paris]) {
    await peer.syncs();
    peer.forgets();
  }
  await unblocks(juliet, [
    `<presence from='romeo@localhost/orchard' to='juliet@localhost/balcony'/>`,
    `<presence from='romeo@localhost/garden' to='juliet@localhost/balcony'/>`,
    `<presence type='unavailable' from='paris@localhost' to='juliet@localhost/balcony'/>`,
  ]);
  await chamber.receivesAnyOrder([
    `<presence from='romeo@localhost/orchard' to='juliet@localhost/chamber'/>`,
    `<presence from='romeo@localhost/garden' to='juliet@localhost/chamber'/>`,
    `<presence type='unavailable' from='paris@localhost' to='juliet@localhost/chamber'/>`,
  ]);
  for (const peer of [romeo, garden])
    await peer.receivesAnyOrder([
      `<presence from='juliet@localhost/balcony'/>`,
      `<presence from='juliet@localhost/chamber'/>`,
    ]);
  await paris.receivesNothing();
});

scenario('RFC 6121 §4.6: recipients of directed presence get unavailable presence', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(`<presence to='romeo@localhost/orchard'/>`);
  await romeo.receives(`<presence from='juliet@localhost/balcony'/>`);
  await does(juliet, block('romeo@localhost'));
  await romeo.receives(`<presence type='unavailable' from='juliet@localhost/balcony'/>`);
  juliet.cut();
  await romeo.receivesNothing();
});

scenario('§6: by account, by client, by domain', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const rules: readonly (readonly [rule: string, isHeard: Readonly<Record<string, boolean>>])[] = [
    [
      'romeo@localhost',
      { 'romeo@localhost/orchard': false, 'romeo@localhost/garden': false, 'paris@localhost/street': true },
    ],
    ['romeo@localhost/garden', { 'romeo@localhost/orchard': true, 'romeo@localhost/garden': false }],
    ['elsewhere.example', { 'tybalt@elsewhere.example/street': false, 'romeo@localhost/orchard': true }],
    ['localhost', { 'romeo@localhost/orchard': false, 'tybalt@elsewhere.example/street': true }],
  ];
  const peers = new Map<string, Peer>();
  for (const [rule, isHeard] of rules) {
    await does(juliet, block(rule));
    for (const [address, received] of Object.entries(isHeard)) {
      const peer = peers.get(address) ?? (await actor(address));
      peers.set(address, peer);
      await peer.sends(`<message id='1' type='chat' to='juliet@localhost'><body>x</body></message>`);
      if (received) await juliet.receives(`<message id='1' type='chat' from='${address}'/>`);
      else await peer.receives(`<message id='1' type='error'>${refusal('cancel', 'service-unavailable')}</message>`);
      await juliet.receivesNothing();
    }
    // The user's own server keeps working
    await juliet.syncs();
    await does(juliet, unblock(rule));
  }
});

scenario("§5: a user's own clients cannot be blocked", async ({ actor }) => {
  const balcony = await actor('juliet@localhost/balcony', { presence: true });
  const chamber = await actor('juliet@localhost/chamber', { presence: true });
  balcony.forgets();
  await does(balcony, block('juliet@localhost', 'localhost'));
  await balcony.sends(`<message type='chat' to='juliet@localhost/chamber'><body>x</body></message>`);
  await chamber.receives(`<message type='chat' from='juliet@localhost/balcony'/>`);
  await balcony.sends('<presence/>');
  await chamber.receives(`<presence from='juliet@localhost/balcony'/>`);
  await balcony.receives(`<presence from='juliet@localhost/balcony'/>`);
  await balcony.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await balcony.receives(`<iq type='result' id='1'/>`);
});

scenario('§3.3: messages of blocked senders are not stored, archived or copied', async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const chamber = await actor('juliet@localhost/chamber');
  await chamber.sends(`<iq type='set' id='1'><enable xmlns='${NS.carbons}'/></iq>`);
  await chamber.receives(`<iq type='result' id='1'/>`);
  await does(juliet, block('romeo@localhost'));
  await juliet.sends(`<presence type='unavailable'/>`);
  await juliet.receives(`<presence type='unavailable'/>`);
  await romeo.sends(`<message id='1' type='chat' to='juliet@localhost'><body>x</body></message>`);
  await romeo.receives(`<message id='1' type='error'>${refusal('cancel', 'service-unavailable')}</message>`);
  await romeo.sends(`<presence type='subscribe' to='juliet@localhost'/>`);
  await juliet.sends(`<message id='2' type='chat' to='romeo@localhost'><body>x</body></message>`);
  await juliet.receives(`<message id='2' type='error'>${blocked}</message>`);
  await does(juliet, unblock());
  await stage.settle();
  await juliet.sends('<presence/>');
  await juliet.receives('<presence/>');
  await juliet.sends(`<iq type='set' id='archive'><query xmlns='${NS.mam}'/></iq>`);
  await juliet.receives(`<iq type='result' id='archive'/>`);
  await juliet.receivesNothing();
  await chamber.receivesNothing();
});

const lasting = new MemoryStorage();
scenario('§3.3: blocked after a restart', { storage: () => lasting }, async ({ actor, stage }) => {
  await does(await actor('juliet@localhost/balcony'), block('romeo@localhost'));
  await stage.restart();
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  assert.deepEqual(await blocks(juliet), ['romeo@localhost']);
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<message id='1' type='chat' to='juliet@localhost'><body>x</body></message>`);
  await romeo.receives(`<message id='1' type='error'>${refusal('cancel', 'service-unavailable')}</message>`);
  await juliet.receivesNothing();
});
