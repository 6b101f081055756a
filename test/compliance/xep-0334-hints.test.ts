/** XEP-0334: processing hints of the sender, and how the server follows them. */
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const hint = (name: string) => `<${name} xmlns='${NS.hints}'/>`;

const message = (id: string, content: string, type = 'chat') =>
  `<message id='${id}' type='${type}' to='juliet@localhost'>${content}</message>`;

/** The ids in the account's archive. */
async function archived(peer: Peer, ...ids: string[]): Promise<void> {
  await peer.sends(`<iq type='set' id='archive'><query xmlns='${NS.mam}'/></iq>`);
  for (const id of ids)
    await peer.receives(`<message><result xmlns='${NS.mam}'><forwarded xmlns='${NS.forward}'>
      <message xmlns='jabber:client' id='${id}' type='*'/></forwarded></result></message>`);
  await peer.receives(`<iq type='result' id='archive'/>`);
}

scenario('§4.2: no-store', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await romeo.sends(message('1', `<body>x</body>${hint('no-store')}`));
  // Not delivered and not stored: its sender gets an error (RFC 6121 §8.5.2.2.1)
  await romeo.receives(`<message id='1' type='error'>${refusal('cancel', 'service-unavailable')}</message>`);
  await romeo.sends(message('2', `<active xmlns='${NS.chatStates}'/>${hint('no-store')}`));
  await romeo.sends(message('3', `<body>x</body>${hint('no-store')}${hint('store')}`));
  await romeo.receives(`<message id='3' type='error'/>`);
  await romeo.receivesNothing();
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends('<presence/>');
  await juliet.receives('<presence/>');
  await juliet.receivesNothing();
  // An online client gets it, with the hint
  await romeo.sends(message('4', `<body>x</body>${hint('no-store')}`));
  await juliet.receives(`<message id='4' type='chat'><body>x</body>${hint('no-store')}</message>`);
  await archived(juliet);
  await archived(romeo);
});

scenario('§4.1: no-permanent-store: stored for an offline user, but not archived', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await romeo.sends(message('1', `<body>x</body>${hint('no-permanent-store')}`));
  await romeo.receivesNothing();
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends('<presence/>');
  await juliet.receives('<presence/>');
  await juliet.receives(`<message id='1' type='chat'><body>x</body>${hint('no-permanent-store')}</message>`);
  await archived(juliet);
  await archived(romeo);
});

scenario('§4.4: store', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await romeo.sends(message('state', `<active xmlns='${NS.chatStates}'/>${hint('store')}`));
  await romeo.sends(message('news', `<body>x</body>${hint('store')}`, 'headline'));
  await romeo.sends(message('payload', `<x xmlns='urn:example'/>${hint('store')}`, 'normal'));
  await romeo.sends(message('bare', hint('store')));
  await romeo.sends(message('room', `<body>x</body>${hint('store')}`, 'groupchat'));
  await romeo.receives(`<message id='room' type='error'/>`);
  // §5: an error contains the refused stanza, including hints
  await romeo.sends(message('error', `<body>x</body>${hint('store')}${refusal('cancel', 'gone')}`, 'error'));
  await romeo.receivesNothing();
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends('<presence/>');
  await juliet.receives('<presence/>');
  for (const [id, type] of [
    ['state', 'chat'],
    ['news', 'headline'],
    ['payload', 'normal'],
    ['bare', 'chat'],
  ])
    await juliet.receives(`<message id='${id}' type='${type}'>${hint('store')}</message>`);
  await juliet.receivesNothing();
});

scenario('§4.3: no-copy', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const balcony = await actor('juliet@localhost/balcony', { presence: true });
  const chamber = await actor('juliet@localhost/chamber', { presence: true });
  balcony.forgets();
  await chamber.sends(`<iq type='set' id='enable'><enable xmlns='${NS.carbons}'/></iq>`);
  await chamber.receives(`<iq type='result' id='enable'/>`);
  await romeo.sends(
    `<message id='1' type='chat' to='juliet@localhost/balcony'><body>x</body>${hint('no-copy')}</message>`,
  );
  await balcony.receives(`<message id='1' type='chat'><body>x</body>${hint('no-copy')}</message>`);
  await chamber.receivesNothing();
  // To the bare address it goes where such messages go
  await romeo.sends(message('2', `<body>x</body>${hint('no-copy')}`));
  await balcony.receives(`<message id='2' type='chat'/>`);
  await chamber.receives(`<message id='2' type='chat'/>`);
  await balcony.receivesNothing();
  await chamber.receivesNothing();
});
