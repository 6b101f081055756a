/** XEP-0359: only an account's own server adds its stanza ids. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const forged = (by: string) => `<stanza-id xmlns='${NS.stanzaId}' id='forged' by='${by}'/>`;
const origin = `<origin-id xmlns='${NS.stanzaId}' id='mine'/>`;

const ids = (message: Element) =>
  message
    .getChildren('stanza-id', NS.stanzaId)
    .map(({ attrs }) => `${attrs.id === 'forged' ? 'forged' : 'ours'} ${attrs.by}`);

/** Spellings of one address. */
const spellings = ['juliet@localhost', 'JULIET@LocalHost', ' juliet@localhost ', 'juliet@localhost/balcony'];
const all = `${spellings.map(forged).join('')}<s:stanza-id xmlns:s='${NS.stanzaId}' id='forged' by='juliet@localhost'/>`;

scenario('§3: forged ids of the account are removed from all messages', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const messages: readonly (readonly [attributes: string, content: string, isArchived: boolean])[] = [
    [`type='chat'`, '<body>x</body>', true],
    [`type='normal'`, '<body>x</body>', true],
    [`type='chat'`, `<body>x</body><no-store xmlns='${NS.hints}'/>`, false],
    [`type='chat'`, `<composing xmlns='${NS.chatStates}'/>`, false],
    [`type='headline'`, '<body>x</body>', false],
    [`type='groupchat'`, '<body>x</body>', false],
    [`type='error'`, refusal('cancel', 'gone'), false],
  ];
  for (const [attributes, content, isArchived] of messages) {
    await romeo.sends(
      `<message to='juliet@localhost/balcony' ${attributes}>${all}${forged('room@chat.example')}${content}${origin}</message>`,
    );
    const message = await juliet.receives(`<message ${attributes}>${content}${origin}</message>`);
    assert.deepEqual(
      ids(message).sort(),
      isArchived ? ['forged room@chat.example', 'ours juliet@localhost'] : ['forged room@chat.example'],
      `${attributes} ${content}`,
    );
  }
});

scenario('§3: also from stored and copied messages', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const orchard = await actor('romeo@localhost/orchard', { presence: true });
  const garden = await actor('romeo@localhost/garden');
  await garden.sends(`<iq type='set' id='enable'><enable xmlns='${NS.carbons}'/></iq>`);
  await garden.receives(`<iq type='result' id='enable'/>`);
  await orchard.sends(`<message to='juliet@localhost' type='chat'>${all}${forged('romeo@localhost')}
    <body>x</body>${origin}</message>`);
  const carbon = await garden.receives(`<message type='chat'><sent xmlns='${NS.carbons}'/></message>`);
  const sent = carbon.getChild('sent', NS.carbons)!.getChild('forwarded', NS.forward)!.getChild('message')!;
  // On the way out it passed Romeo's account: an id of that account is removed there, one of Juliet's only in hers
  assert.equal(ids(sent).filter((id) => id === 'ours romeo@localhost').length, 1);
  assert.ok(!ids(sent).includes('forged romeo@localhost'));
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends('<presence/>');
  await juliet.receives('<presence/>');
  const stored = await juliet.receives(`<message type='chat'><body>x</body>${origin}</message>`);
  assert.deepEqual(ids(stored), ['ours juliet@localhost']);
});

scenario('§3: also from messages to oneself', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(`<message to='juliet@localhost' type='chat'>${all}<body>x</body></message>`);
  const message = await juliet.receives(`<message type='chat'><body>x</body></message>`);
  assert.deepEqual(ids(message), ['ours juliet@localhost']);
});

scenario('§3: the id is that of the archive, unique and stable', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const seen = new Set<string>();
  for (let n = 0; n < 50; n++)
    await romeo.sends(`<message to='juliet@localhost' type='chat'><body>${n}</body></message>`);
  for (let n = 0; n < 50; n++) {
    const message = await juliet.receives(`<message type='chat'><body>${n}</body></message>`);
    seen.add(message.getChild('stanza-id', NS.stanzaId)!.attrs.id!);
  }
  assert.equal(seen.size, 50);
  await juliet.sends(`<iq type='set' id='archive'><query xmlns='${NS.mam}'/></iq>`);
  for (const id of seen) await juliet.receives(`<message><result xmlns='${NS.mam}' id='${id}'/></message>`);
});

scenario('§5: accounts announce support', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='1' to='romeo@localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='${NS.stanzaId}'/></query></iq>`,
  );
});
