/** XEP-0356: Privileged Entity. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createServer } from '../../src/server/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { ComponentPeer, type ComponentScene, withComponents } from './component.js';
import type { Scene } from './dialogue.js';
import { befriends, refusal } from './phrases.js';

const host = 'localhost';
const all = {
  roster: 'both',
  message: 'outgoing',
  presence: 'roster',
  iq: { [NS.pubsub]: 'both', 'urn:example:read': 'get', 'urn:example:write': 'set' },
};
const forbidden = refusal('auth', 'forbidden');
const privilege = NS.privilege;

/** A component `mantua` with these privileges at localhost, and another without any. */
const play = (
  title: string,
  privileges: Readonly<Record<string, unknown>>,
  dialogue: (scene: ComponentScene & { friar: ComponentPeer }) => Promise<void>,
  more?: Parameters<typeof withComponents>[3],
) =>
  withComponents(
    title,
    { mantua: { privileges: { [host]: privileges } }, padua: {} },
    async (scene) => {
      const friar = await scene.component('mantua').logsIn();
      await friar.receives(`<message from='${host}' to='mantua'/>`);
      await dialogue({ ...scene, friar });
    },
    more,
  );

async function refused({ server }: Pick<Scene, 'server'>): Promise<number> {
  const { text } = await server.metrics.text();
  return Number(/^waxwing_privilege_refused_total (\d+)/m.exec(text)?.[1]);
}

const rosterGet = (to: string, id = '1') =>
  `<iq type='get' id='${id}' from='mantua' to='${to}'><query xmlns='${NS.roster}'/></iq>`;
const rosterSet = (to: string, item: string, id = '1') =>
  `<iq type='set' id='${id}' from='mantua' to='${to}'><query xmlns='${NS.roster}'>${item}</query></iq>`;
const enclosed = (message: string, ns: string = privilege) =>
  `<privilege xmlns='${ns}'><forwarded xmlns='${NS.forward}'>${message}</forwarded></privilege>`;
const outgoing = (message: string, id = '1', ns?: string) =>
  `<message from='mantua' to='${host}' id='${id}'>${enclosed(message, ns)}</message>`;
const messages = (attributes: string, content = '<body>hist</body>') =>
  `<message xmlns='jabber:client' ${attributes}>${content}</message>`;
const asking = (to: string, inner: string, type = 'set', id = '1') =>
  `<iq type='${type}' id='${id}' from='mantua' to='${to}'><privileged_iq xmlns='${privilege}'>${inner}</privileged_iq></iq>`;

// --- §4.2, §5.2, §6.2, §7.2: announcement -----------------------------------------------------------------------------

withComponents(
  '§4.2, §5.2, §6.2, §7.5: privileges are announced after the login, by each host that grants some',
  {
    mantua: { privileges: { localhost: all, 'elsewhere.example': { roster: 'get', roster_push: false } } },
    verona: { connections: 2, privileges: { localhost: { message: 'outgoing' } } },
    padua: {},
  },
  async ({ component }) => {
    const friar = await component('mantua').logsIn();
    const local = await friar.receives(
      `<message from='${host}' to='mantua' id='*'>
        <privilege xmlns='${privilege}'>
          <perm access='roster' type='both' push='true'/><perm access='message' type='outgoing'/>
          <perm access='iq'><namespace ns='${NS.pubsub}' type='both'/><namespace ns='urn:example:read' type='get'/>
            <namespace ns='urn:example:write' type='set'/></perm>
          <perm access='presence' type='roster'/>
        </privilege>
        <privilege xmlns='urn:xmpp:privilege:1'><perm access='roster' type='both'/>
          <perm access='message' type='outgoing'/><perm access='presence' type='roster'/></privilege>
      </message>`,
    );
    assert.equal(local.getChildElements().length, 2);
    await friar.receives(
      `<message from='elsewhere.example' to='mantua'><privilege xmlns='${privilege}'>
        <perm access='roster' type='get' push='false'/></privilege>
        <privilege xmlns='urn:xmpp:privilege:1'><perm access='roster' type='get'/></privilege></message>`,
    );
    await friar.hearsNothing();
    // Each connection may be another process.
    for (const peer of [await component('verona').logsIn(), await component('verona').logsIn()])
      await peer.receives(
        `<message from='${host}' to='verona'><privilege xmlns='${privilege}'>
          <perm access='message' type='outgoing'/></privilege></message>`,
      );
    await (await component('padua').logsIn()).hearsNothing();
  },
);

// --- §4: rosters --------------------------------------------------------------------------------------------------------

play('§4.3, §4.4: a component reads and changes a roster, and gets pushes', all, async ({ actor, friar }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='r'><query xmlns='${NS.roster}'/></iq>`);
  await romeo.receives(`<iq type='result' id='r'><query xmlns='${NS.roster}'/></iq>`);
  friar.says(
    rosterSet('romeo@localhost', `<item jid='juliet@example.org' name='J' subscription='both'><group>F</group></item>`),
  );
  const item = `<item jid='juliet@example.org' name='J' subscription='none'><group>F</group></item>`;
  await friar.receives(
    `<iq type='set' id='*' from='romeo@localhost' to='mantua'><query xmlns='${NS.roster}'>${item}</query></iq>`,
  );
  await friar.receives(`<iq type='result' id='1' from='romeo@localhost' to='mantua'/>`, { exactly: true });
  await romeo.receives(`<iq type='set'><query xmlns='${NS.roster}'>${item}</query></iq>`);
  friar.says(rosterGet('romeo@localhost', '2'));
  await friar.receives(
    `<iq type='result' id='2' from='romeo@localhost' to='mantua'><query xmlns='${NS.roster}'>${item}</query></iq>`,
  );
  // The client's own changes.
  await romeo.sends(
    `<iq type='set' id='s'><query xmlns='${NS.roster}'><item jid='juliet@example.org' subscription='remove'/></query></iq>`,
  );
  await friar.receives(
    `<iq type='set' id='{push}' from='romeo@localhost'><query xmlns='${NS.roster}'>
      <item jid='juliet@example.org' subscription='remove'/></query></iq>`,
  );
  friar.sends(`<iq type='result' id='{push}' from='mantua' to='romeo@localhost'/>`);
  friar.says(rosterSet('romeo@localhost', `<item jid='juliet@example.org' subscription='remove'/>`, '3'));
  await friar.receives(`<iq type='error' id='3'>${refusal('cancel', 'item-not-found')}</iq>`);
  friar.says(rosterSet('romeo@localhost', '', '4'));
  await friar.receives(`<iq type='error' id='4'>${refusal('modify', 'bad-request')}</iq>`);
  await friar.hearsNothing();
});

play(
  '§4.3: a component decides on the subscriptions of its own addresses',
  { roster: 'both', roster_push: false },
  async ({ actor, friar }) => {
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const item = (subscription: string) => `<item jid='juliet@mantua' subscription='${subscription}'/>`;
    friar.says(rosterSet('romeo@localhost', item('both')));
    await friar.receives(`<presence from='romeo@localhost/orchard' to='juliet@mantua'/>`);
    await friar.receives(`<iq type='result' id='1'/>`);
    friar.says(rosterGet('romeo@localhost', '2'));
    await friar.receives(`<iq type='result' id='2'><query xmlns='${NS.roster}'>${item('both')}</query></iq>`);
    await romeo.sends('<presence><show>away</show></presence>');
    await friar.receives(`<presence from='romeo@localhost/orchard' to='juliet@mantua'><show>away</show></presence>`);
    friar.says(rosterSet('romeo@localhost', item('to'), '3'));
    await friar.receives(`<presence type='unavailable' from='romeo@localhost/orchard' to='juliet@mantua'/>`);
    await friar.receives(`<iq type='result' id='3'/>`);
    friar.says(rosterSet('romeo@localhost', `<item jid='juliet@mantua' subscription='what'/>`, '4'));
    await friar.receives(`<iq type='result' id='4'/>`);
    friar.says(rosterGet('romeo@localhost', '5'));
    await friar.receives(`<iq type='result' id='5'><query xmlns='${NS.roster}'>${item('to')}</query></iq>`);
    await friar.hearsNothing();
  },
);

play('§4.3: what is not granted is forbidden, logged and counted', { roster: 'get' }, async (scene) => {
  const { actor, component, friar } = scene;
  await actor('romeo@localhost/orchard');
  await actor('benvolio@elsewhere.example/street');
  const before = await refused(scene);
  friar.says(rosterSet('romeo@localhost', `<item jid='x@example.org'/>`));
  await friar.receives(`<iq type='error' id='1' from='romeo@localhost'><query xmlns='${NS.roster}'/>${forbidden}</iq>`);
  // Another host's account, an account that does not exist, and a user of the component.
  for (const xml of [
    rosterGet('benvolio@elsewhere.example'),
    rosterGet('nobody@localhost'),
    rosterGet('romeo@localhost').replace(`from='mantua'`, `from='user@mantua'`),
  ]) {
    friar.says(xml);
    await friar.receives(`<iq type='error' id='1'>${forbidden}</iq>`);
  }
  const padua = await component('padua').logsIn();
  padua.says(rosterGet('romeo@localhost').replace('mantua', 'padua'));
  await padua.receives(`<iq type='error' id='1'>${forbidden}</iq>`);
  assert.equal((await refused(scene)) - before, 3);
  await friar.hearsNothing();
});

play('§4.1: pushes only for who may read', { roster: 'set' }, async ({ actor, friar }) => {
  await actor('romeo@localhost/orchard');
  friar.says(rosterSet('romeo@localhost', `<item jid='x@example.org'/>`));
  await friar.receives(`<iq type='result' id='1'/>`);
  friar.says(rosterGet('romeo@localhost', '2'));
  await friar.receives(`<iq type='error' id='2'>${forbidden}</iq>`);
  await friar.hearsNothing();
});

play('XEP-0191 §3: an account that blocks the component is hidden from it', all, async ({ actor, friar }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='mantua'/></block></iq>`);
  await romeo.receives(`<iq type='result' id='b'/>`);
  friar.says(rosterGet('romeo@localhost'));
  await friar.receives(`<iq type='error' id='1'>${forbidden}</iq>`);
  friar.says(
    asking(
      'romeo@localhost',
      `<iq xmlns='jabber:client' type='get' id='x'><query xmlns='urn:example:read'/></iq>`,
      'get',
    ),
  );
  await friar.receives(`<iq type='error' id='1'>${forbidden}</iq>`);
  await romeo.sends('<presence/>');
  await romeo.syncs();
  await friar.hearsNothing();
});

// --- §5: messages -------------------------------------------------------------------------------------------------------

play('§5.3: a message goes out as the account sent it', all, async ({ actor, friar }) => {
  const orchard = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await friar.syncs();
  await orchard.sends(`<iq type='set' id='c'><enable xmlns='${NS.carbons}'/></iq>`);
  await orchard.receives(`<iq type='result' id='c'/>`);
  for (const ns of [privilege, NS.privilegeOld]) {
    friar.says(outgoing(messages(`from='romeo@localhost' to='juliet@localhost' type='chat' id='m'`), '1', ns));
    await juliet.receives(
      `<message from='romeo@localhost' to='juliet@localhost' type='chat' id='m'><body>hist</body></message>`,
    );
    await orchard.receives(
      `<message from='romeo@localhost' type='chat'><sent xmlns='${NS.carbons}'><forwarded xmlns='${NS.forward}'>
        <message xmlns='jabber:client' from='romeo@localhost' to='juliet@localhost' type='chat' id='m'>
          <body>hist</body></message></forwarded></sent></message>`,
    );
  }
  // The archive of the account has it too.
  await orchard.sends(`<iq type='set' id='q'><query xmlns='${NS.mam}'/></iq>`);
  for (let count = 0; count < 2; count++)
    await orchard.receives(
      `<message><result xmlns='${NS.mam}'><forwarded xmlns='${NS.forward}'>
        <message xmlns='jabber:client' from='romeo@localhost' to='juliet@localhost'/></forwarded></result></message>`,
    );
  await orchard.receives(`<iq type='result' id='q'/>`);
  // To a contact of the gateway, which comes back to the component.
  friar.says(outgoing(messages(`from='romeo@localhost' to='juliet@mantua' type='chat' id='n'`), '2'));
  await friar.receives(
    `<message from='romeo@localhost' to='juliet@mantua' type='chat' id='n'><body>hist</body></message>`,
  );
  await friar.hearsNothing();
  await juliet.receivesNothing();
});

play('§5.1: the host itself may be the sender', all, async ({ actor, friar }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await friar.syncs();
  friar.says(outgoing(messages(`from='localhost' to='romeo@localhost/orchard'`)));
  await romeo.receives(`<message from='localhost' to='romeo@localhost/orchard'><body>hist</body></message>`);
  friar.says(outgoing(messages(`from='localhost'`), '2'));
  await friar.receives(`<message type='error' id='2' from='localhost'>${refusal('modify', 'bad-request')}</message>`);
  await friar.hearsNothing();
});

play('§5.1: any other sender is forbidden', all, async (scene) => {
  const { actor, friar, component } = scene;
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await actor('romeo@localhost/orchard');
  await actor('benvolio@elsewhere.example/street');
  await friar.syncs();
  for (const from of [
    `from='romeo@localhost/orchard'`,
    `from='nobody@localhost'`,
    `from='benvolio@elsewhere.example'`,
    `from='elsewhere.example'`,
    `from='localhost/x'`,
    `from='conference.localhost'`,
    `from='@'`,
    '',
  ]) {
    friar.says(outgoing(messages(`${from} to='juliet@localhost'`)));
    await friar.receives(`<message type='error' id='1' from='localhost' to='mantua'>${forbidden}</message>`);
  }
  const good = messages(`from='romeo@localhost' to='juliet@localhost'`);
  for (const [xml, error] of [
    [outgoing(`${good}${good}`), refusal('modify', 'bad-request')],
    [outgoing(''), refusal('modify', 'bad-request')],
    [
      `<message from='mantua' to='localhost' id='1'><privilege xmlns='${privilege}'/></message>`,
      refusal('modify', 'bad-request'),
    ],
    [outgoing(good.replace('jabber:client', 'jabber:server')), forbidden],
    [outgoing(`<iq xmlns='jabber:client' from='romeo@localhost' type='get' id='1'/>`), forbidden],
    [outgoing(messages(`from='romeo@localhost' to='@'`)), refusal('modify', 'jid-malformed')],
    // A user of the component, and the wrong host.
    [outgoing(good).replace(`from='mantua'`, `from='user@mantua'`), refusal('cancel', 'service-unavailable')],
    [outgoing(good).replace(`to='localhost'`, `to='elsewhere.example'`), forbidden],
  ] as const) {
    friar.says(xml);
    await friar.receives(`<message type='error' id='1'>${error}</message>`);
  }
  const padua = await component('padua').logsIn();
  padua.says(outgoing(good).replace('mantua', 'padua'));
  await padua.receives(`<message type='error' id='1'>${forbidden}</message>`);
  // Errors are not answered.
  friar.says(outgoing(good).replace('<message ', `<message type='error' `));
  await friar.hearsNothing();
  await juliet.receivesNothing();
});

play('§9: a disabled account sends nothing', all, async ({ actor, friar, server }) => {
  await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await friar.syncs();
  await server.accounts.disable('romeo@localhost');
  friar.says(outgoing(messages(`from='romeo@localhost' to='juliet@localhost'`)));
  await friar.receives(`<message type='error' id='1' from='localhost'>${forbidden}</message>`);
  const inner = `<iq xmlns='jabber:client' type='get' id='x'><query xmlns='urn:example:read'/></iq>`;
  friar.says(asking('romeo@localhost', inner, 'get'));
  await friar.receives(`<iq type='error' id='1'>${forbidden}</iq>`);
  await juliet.receivesNothing();
});

play('§5.3, RFC 6120 §10.1: messages of an account stay in order', all, async ({ actor, friar }) => {
  await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await friar.syncs();
  for (let n = 0; n < 50; n++)
    friar.says(outgoing(messages(`from='romeo@localhost' to='juliet@localhost' type='chat' id='${n}'`)));
  for (let n = 0; n < 50; n++) await juliet.receives(`<message from='romeo@localhost' type='chat' id='${n}'/>`);
  await friar.hearsNothing();
});

play('XEP-0191 §3: an account cannot write to whom it blocks', all, async ({ actor, friar }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await friar.syncs();
  await romeo.sends(`<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='juliet@localhost'/></block></iq>`);
  await romeo.receives(`<iq type='result' id='b'/>`);
  friar.says(outgoing(messages(`from='romeo@localhost' to='juliet@localhost'`)));
  await friar.receives(
    `<message type='error' id='1' from='localhost'>${refusal('cancel', 'not-acceptable')}</message>`,
  );
  await juliet.receivesNothing();
});

// --- §6: IQs ------------------------------------------------------------------------------------------------------------

play('§6.3: a request goes out as the account, and its answer comes back enclosed', all, async (scene) => {
  const { actor, component, friar } = scene;
  await actor('romeo@localhost/orchard');
  const padua = await component('padua').logsIn();
  const inner = `<iq xmlns='jabber:client' type='set' to='friar@padua' id='sub'><query xmlns='urn:example:write'><x/></query></iq>`;
  friar.says(asking('romeo@localhost', inner));
  await padua.receives(
    `<iq type='set' from='romeo@localhost' to='friar@padua' id='{id}'><query xmlns='urn:example:write'><x/></query></iq>`,
  );
  padua.sends(
    `<iq type='result' to='romeo@localhost' from='friar@padua' id='{id}'><query xmlns='urn:example:write'/></iq>`,
  );
  await friar.receives(
    `<iq type='result' id='1' from='romeo@localhost' to='mantua'><privilege xmlns='${privilege}'>
      <forwarded xmlns='${NS.forward}'>
        <iq xmlns='jabber:client' type='result' from='friar@padua' to='romeo@localhost' id='sub'>
          <query xmlns='urn:example:write'/></iq></forwarded></privilege></iq>`,
  );
  // An error is enclosed too.
  friar.says(asking('romeo@localhost', inner.replace(`id='sub'`, `id='sub2' from='romeo@localhost'`), 'set', '2'));
  await padua.receives(`<iq type='set' from='romeo@localhost' to='friar@padua' id='{other}'/>`);
  padua.sends(
    `<iq type='error' to='romeo@localhost' from='friar@padua' id='{other}'>${refusal('cancel', 'item-not-found')}</iq>`,
  );
  await friar.receives(
    `<iq type='error' id='2'><privilege xmlns='${privilege}'><forwarded xmlns='${NS.forward}'>
      <iq xmlns='jabber:client' type='error' from='friar@padua' to='romeo@localhost' id='sub2'>
        <error type='cancel'><item-not-found xmlns='${NS.stanzas}'/></error></iq></forwarded></privilege>
      ${refusal('cancel', 'item-not-found')}</iq>`,
  );
  await friar.hearsNothing();
});

play('§6.3: what the account itself may ask, of itself and of others', all, async ({ actor, friar }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await friar.syncs();
  const publish = `<iq xmlns='jabber:client' type='set' id='p'><pubsub xmlns='${NS.pubsub}'><publish node='urn:example:n'><item id='i'><x xmlns='urn:example:x'/></item></publish></pubsub></iq>`;
  friar.says(asking('romeo@localhost', publish));
  await friar.receives(
    `<iq type='result' id='1'><privilege xmlns='${privilege}'><forwarded xmlns='${NS.forward}'>
      <iq xmlns='jabber:client' type='result' id='p' to='romeo@localhost'>
        <pubsub xmlns='${NS.pubsub}'/></iq></forwarded></privilege></iq>`,
  );
  const items = `<pubsub xmlns='${NS.pubsub}'><items node='urn:example:n'/></pubsub>`;
  await romeo.syncs();
  romeo.forgets();
  await romeo.sends(`<iq type='get' id='g'>${items}</iq>`);
  await romeo.receives(
    `<iq type='result' id='g'><pubsub xmlns='${NS.pubsub}'><items node='urn:example:n'><item id='i'/></items></pubsub></iq>`,
  );
  // The namespace is granted, the request is refused as it would be for the account.
  friar.says(
    asking(
      'romeo@localhost',
      `<iq xmlns='jabber:client' type='get' to='juliet@localhost' id='q'>${items}</iq>`,
      'get',
      '2',
    ),
  );
  await friar.receives(
    `<iq type='error' id='2'><privilege xmlns='${privilege}'><forwarded xmlns='${NS.forward}'>
      <iq xmlns='jabber:client' type='error' id='q' from='juliet@localhost' to='romeo@localhost'/></forwarded></privilege></iq>`,
  );
  // Nothing answers this.
  friar.says(
    asking(
      'romeo@localhost',
      `<iq xmlns='jabber:client' type='get' to='localhost' id='r'><x xmlns='urn:example:read'/></iq>`,
      'get',
      '3',
    ),
  );
  await friar.receives(
    `<iq type='error' id='3'><privilege xmlns='${privilege}'><forwarded xmlns='${NS.forward}'>
      <iq xmlns='jabber:client' type='error' id='r' from='localhost'>
        <error><service-unavailable xmlns='${NS.stanzas}'/></error></iq></forwarded></privilege></iq>`,
  );
});

play('§6.3: requests that are forbidden', all, async (scene) => {
  const { actor, component, friar } = scene;
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await actor('benvolio@elsewhere.example/street');
  await friar.syncs();
  const inner = (attributes = `type='set'`, payload = `<x xmlns='urn:example:write'/>`, ns = 'jabber:client') =>
    `<iq xmlns='${ns}' id='x' to='romeo@localhost' ${attributes}>${payload}</iq>`;
  const before = await refused(scene);
  const wrong = [
    asking('romeo@localhost/orchard', inner()),
    asking('localhost', inner()),
    asking('nobody@localhost', inner()),
    asking('benvolio@elsewhere.example', inner()),
    asking('romeo@localhost', inner(undefined, `<x xmlns='urn:example:other'/>`)),
    asking('romeo@localhost', inner(undefined, `<x xmlns='constructor'/>`)),
    asking('romeo@localhost', inner(undefined, `<x xmlns='urn:example:read'/>`)),
    asking('romeo@localhost', inner(`type='get'`), 'get'),
    asking('romeo@localhost', inner(`type='set' from='juliet@localhost'`)),
    asking('romeo@localhost', inner(`type='set' from='romeo@localhost/orchard'`)),
    asking('romeo@localhost', inner(), 'get'),
    asking('romeo@localhost', inner(`type='result'`)),
  ];
  for (const xml of wrong) {
    friar.says(xml);
    await friar.receives(`<iq type='error' id='1'>${forbidden}</iq>`);
  }
  assert.equal((await refused(scene)) - before, wrong.length);
  friar.says(asking('romeo@localhost', inner(undefined, undefined, 'jabber:server')));
  await friar.receives(`<iq type='error' id='1'>${forbidden}</iq>`);
  for (const [xml, error] of [
    [inner(undefined, ''), refusal('modify', 'bad-request')],
    [
      inner(undefined, `<x xmlns='urn:example:write'/><x xmlns='urn:example:write'/>`),
      refusal('modify', 'bad-request'),
    ],
    [inner().replace(`id='x'`, ''), refusal('modify', 'bad-request')],
    [inner() + inner(), refusal('modify', 'bad-request')],
    ['', refusal('modify', 'bad-request')],
    [inner().replace('romeo@localhost', '@'), refusal('modify', 'jid-malformed')],
  ] as const) {
    friar.says(asking('romeo@localhost', xml));
    await friar.receives(`<iq type='error' id='1'>${error}</iq>`);
  }
  const padua = await component('padua').logsIn();
  padua.says(asking('romeo@localhost', inner()).replace('mantua', 'padua'));
  await padua.receives(`<iq type='error' id='1'>${forbidden}</iq>`);
  // To a client of another server it is a request that nothing answers.
  const tybalt = await actor('tybalt@localhost/street');
  await tybalt.sends(asking('romeo@localhost', inner()).replace(` from='mantua'`, ''));
  await tybalt.receives(`<iq type='error' id='1'>${refusal('cancel', 'service-unavailable')}</iq>`);
  await romeo.receivesNothing();
});

play('§6.3: only the asked entity answers', all, async ({ actor, component, friar }) => {
  await actor('romeo@localhost/orchard');
  const padua = await component('padua').logsIn();
  const inner = `<iq xmlns='jabber:client' type='get' to='friar@padua' id='a'><x xmlns='urn:example:read'/></iq>`;
  friar.says(asking('romeo@localhost', inner, 'get'));
  await padua.receives(`<iq type='get' from='romeo@localhost' to='friar@padua' id='{id}'/>`);
  padua.sends(`<iq type='result' to='romeo@localhost' from='other@padua' id='{id}'/>`);
  await padua.hearsNothing();
  await friar.hearsNothing();
  padua.sends(`<iq type='result' to='romeo@localhost' from='friar@padua' id='{id}'/>`);
  await friar.receives(`<iq type='result' id='1'><privilege xmlns='${privilege}'/></iq>`);
  padua.sends(`<iq type='result' to='romeo@localhost' from='friar@padua' id='{id}'/>`);
  await padua.hearsNothing();
  await friar.hearsNothing();
});

// --- §7: presence -------------------------------------------------------------------------------------------------------

play('§7.1: presence of accounts, whenever it changes', { presence: 'managed_entity' }, async ({ actor, friar }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<presence id='1'><show>chat</show></presence>`);
  await friar.receives(`<presence from='romeo@localhost/orchard' to='mantua' id='1'><show>chat</show></presence>`);
  await romeo.sends('<presence><show>away</show></presence>');
  await friar.receives(`<presence from='romeo@localhost/orchard' to='mantua'><show>away</show></presence>`);
  // Directed presence, subscriptions and probes are not.
  await romeo.sends(
    `<presence to='juliet@localhost'/><presence to='juliet@localhost' type='subscribe'/><presence to='juliet@localhost' type='probe'/>`,
  );
  await romeo.sends(`<presence type='unavailable'><status>gone</status></presence>`);
  await friar.receives(
    `<presence type='unavailable' from='romeo@localhost/orchard' to='mantua'><status>gone</status></presence>`,
  );
  await romeo.sends('<presence/>');
  await friar.receives(`<presence from='romeo@localhost/orchard' to='mantua'/>`);
  await romeo.closes();
  await friar.receives(`<presence type='unavailable' from='romeo@localhost/orchard' to='mantua'/>`);
  const benvolio = await actor('benvolio@elsewhere.example/street', { presence: true });
  await benvolio.syncs();
  await friar.hearsNothing();
});

play('§8: who connects later gets the presence of all, once', { presence: 'managed_entity' }, async (scene) => {
  const { actor, component, friar } = scene;
  friar.says('</stream:stream>');
  await friar.hearsEnd();
  const romeo = await actor('romeo@localhost/orchard', { presence: '<presence><show>dnd</show></presence>' });
  await actor('juliet@localhost/balcony');
  const again = await component('mantua').logsIn();
  await again.receives(`<message from='localhost'/>`);
  await again.receives(`<presence from='romeo@localhost/orchard' to='mantua'><show>dnd</show></presence>`);
  // A component that is a contact gets presence as such.
  await romeo.sends(`<presence to='mantua' type='subscribed'/>`);
  again.says(`<presence from='mantua' to='romeo@localhost' type='subscribe'/>`);
  assert.deepEqual(
    (await again.syncs()).map(({ attrs }) => attrs.type),
    ['subscribed', undefined],
  );
  await romeo.sends('<presence><show>xa</show></presence>');
  await romeo.syncs();
  await again.receives(`<presence from='romeo@localhost/orchard' to='mantua'><show>xa</show></presence>`);
  await again.hearsNothing();
});

play(
  '§7.4, §8: presence of contacts, each once',
  { roster: 'get', roster_push: false, presence: 'roster' },
  async (scene) => {
    const { actor, component, friar } = scene;
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const benvolio = await actor('benvolio@elsewhere.example/street', { presence: true });
    await befriends(romeo, benvolio);
    await befriends(juliet, benvolio);
    await befriends(romeo, juliet);
    await friar.syncs();
    await benvolio.sends('<presence><show>away</show></presence>');
    await friar.receives(`<presence from='benvolio@elsewhere.example/street' to='mantua'><show>away</show></presence>`);
    await juliet.sends('<presence><show>away</show></presence>');
    await friar.receives(`<presence from='juliet@localhost/balcony' to='mantua'><show>away</show></presence>`);
    // To an offline account, and not from an address that is not a contact.
    await romeo.closes();
    await friar.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
    const tybalt = await actor('tybalt@elsewhere.example/street');
    await tybalt.sends(`<presence to='juliet@localhost'/>`);
    await tybalt.syncs();
    await benvolio.sends('<presence><show>xa</show></presence>');
    await friar.receives(`<presence from='benvolio@elsewhere.example/street' to='mantua'><show>xa</show></presence>`);
    friar.says('</stream:stream>');
    await friar.hearsEnd();
    const again = await component('mantua').logsIn();
    await again.receives(`<message from='localhost'/>`);
    await again.receives(`<presence from='juliet@localhost/balcony' to='mantua'><show>away</show></presence>`);
    await again.receives(`<presence from='benvolio@elsewhere.example/street' to='mantua'><show>xa</show></presence>`);
    await benvolio.closes();
    await again.receives(`<presence type='unavailable' from='benvolio@elsewhere.example/street' to='mantua'/>`);
    await again.hearsNothing();
  },
);

test('§4.2: a reload announces changes, and revokes privileges that are no longer configured', async () => {
  const data = mkdtempSync(join(tmpdir(), 'waxwing-'));
  const file = join(data, 'waxwing.toml');
  const secret = 'a pound of apothecary';
  const configure = (privileges: string) =>
    writeFileSync(
      file,
      `[listen]\nc2s = []\nc2s_tls = []\nhttps = []\nhttp = []\ncomponent = ["127.0.0.1:0"]\n` +
        `[modules.proxy65]\nlisten = []\n[log]\nlevel = "silent"\n[storage]\nlow_space_bytes = 0\n` +
        `[components.mantua]\nsecret = "${secret}"\n${privileges}`,
    );
  const table = '[components.mantua.privileges.localhost]\n';
  configure(`${table}roster = "both"\nmessage = "outgoing"\niq = { "urn:example:read" = "get" }\n`);
  const server = await createServer({ file, overrides: { data }, storage: new MemoryStorage() });
  let friar: ComponentPeer | undefined;
  try {
    await server.start();
    friar = await new ComponentPeer(server.listening[0]!.port, 'mantua', secret).logsIn();
    await friar.receives(`<message from='localhost'/>`);
    await server.reload();
    await friar.hearsNothing();
    configure(`${table}roster = "get"\nroster_push = false\n`);
    assert.deepEqual(await server.reload(), {
      applied: [
        'components.mantua.privileges.localhost.roster',
        'components.mantua.privileges.localhost.roster_push',
        'components.mantua.privileges.localhost.message',
        'components.mantua.privileges.localhost.iq."urn:example:read"',
      ],
      restart: [],
    });
    await friar.receives(
      `<message from='localhost'><privilege xmlns='${privilege}'><perm access='roster' type='get' push='false'/>
        <perm access='message' type='none'/><perm access='iq'><namespace ns='urn:example:read' type='none'/></perm>
      </privilege></message>`,
    );
    configure('');
    await server.reload();
    await friar.receives(
      `<message from='localhost'><privilege xmlns='${privilege}'><perm access='roster' type='none'/></privilege></message>`,
    );
    await friar.hearsNothing();
  } finally {
    friar?.socket.destroy();
    await server.stop();
    rmSync(data, { recursive: true });
  }
});
