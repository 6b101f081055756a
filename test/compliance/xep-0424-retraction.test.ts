/** XEP-0424: Message Retraction, as far as a server has a part in it. */
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, scenario } from './dialogue.js';

const chat = (to: string, id: string, content: string): string =>
  `<message to='${to}@localhost' type='chat' id='${id}'>${content}</message>`;
const retract = (to: string, id: string, of: string): string =>
  chat(
    to,
    id,
    `<retract xmlns='${NS.retract}' id='${of}'/><body>/me retracted a message</body><fallback xmlns='urn:xmpp:fallback:0' for='${NS.retract}'/><store xmlns='${NS.hints}'/>`,
  );

/** Asks until the archive has no such text any more: a tombstone is set after the retraction was passed on. */
async function forgot(who: Peer, text: string): Promise<void> {
  for (;;) {
    await who.sends(`<iq type='set' id='w'><query xmlns='${NS.mam}'/></iq>`);
    await who.syncs();
    if (!who.forgets().some((element) => element.toString().includes(text))) return;
  }
}

async function archives(who: Peer, messages: readonly string[]): Promise<void> {
  await who.sends(`<iq type='set' id='q'><query xmlns='${NS.mam}'/></iq>`);
  for (const message of messages)
    await who.receives(
      `<message><result xmlns='${NS.mam}' id='*'><forwarded xmlns='${NS.forward}'><delay xmlns='${NS.delay}' stamp='*'/>${message}</forwarded></result></message>`,
    );
  await who.receives(`<iq type='result' id='q'><fin xmlns='${NS.mam}' complete='true'/></iq>`);
}

scenario('§2, §4 support is announced', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='d' to='romeo@localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><feature var='${NS.retract}'/><feature var='${NS.retractTombstone}'/></query></iq>`,
  );
  await romeo.sends(`<iq type='get' id='d' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><feature var='${NS.retract}'/></query></iq>`,
  );
});

scenario('§4 the message becomes a tombstone on both sides, and the retraction is archived', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await romeo.sends(chat('juliet', 'm1', '<body>wrong recipient</body>'));
  await juliet.receives("<message type='chat' id='m1'><body>wrong recipient</body></message>");
  await romeo.sends(
    chat('juliet', 'm2', "<body>wrong recipient!</body><replace xmlns='urn:xmpp:message-correct:0' id='m1'/>"),
  );
  await juliet.receives("<message type='chat' id='m2'/>");
  await romeo.sends(chat('juliet', 'm3', '<body>hello</body>'));
  await juliet.receives("<message type='chat' id='m3'/>");
  await romeo.sends(retract('juliet', 'r1', 'm1'));
  await juliet.receives(`<message type='chat' id='r1'><retract xmlns='${NS.retract}' id='m1'/></message>`);
  for (const who of [romeo, juliet]) {
    await forgot(who, 'wrong recipient');
    const tombstone = (id: string) =>
      `<message xmlns='jabber:client' type='chat' from='romeo@localhost/orchard' to='juliet@localhost' id='${id}'><retracted xmlns='${NS.retract}' id='r1' stamp='*'/></message>`;
    await archives(who, [
      tombstone('m1'),
      tombstone('m2'),
      "<message xmlns='jabber:client' id='m3'><body>hello</body></message>",
      `<message xmlns='jabber:client' id='r1'><retract xmlns='${NS.retract}' id='m1'/></message>`,
    ]);
  }
});

scenario('§4 also from another device of the author; nothing else of the message remains', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const phone = await actor('romeo@localhost/phone');
  const juliet = await actor('juliet@localhost/balcony');
  await romeo.sends(
    chat('juliet', 'm1', "<subject>s</subject><body>secret</body><x xmlns='jabber:x:oob'><url>https://a/b</url></x>"),
  );
  await romeo.syncs();
  await phone.sends(retract('juliet', 'r1', 'm1'));
  await forgot(juliet, 'secret');
  await juliet.sends(
    `<iq type='set' id='q'><query xmlns='${NS.mam}'><set xmlns='${NS.rsm}'><max>1</max></set></query></iq>`,
  );
  await juliet.receives(
    `<message to='juliet@localhost/balcony' from='juliet@localhost'><result xmlns='${NS.mam}' id='*'><forwarded xmlns='${NS.forward}'><delay xmlns='${NS.delay}' stamp='*'/>
      <message xmlns='jabber:client' type='chat' from='romeo@localhost/orchard' to='juliet@localhost' id='m1'>
      <retracted xmlns='${NS.retract}' id='r1' stamp='*'/></message></forwarded></result></message>`,
    { exactly: true },
  );
  await juliet.receives("<iq type='result' id='q'/>");
});

scenario('§5 only the author can retract a message', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony');
  const tybalt = await actor('tybalt@localhost/street');
  await romeo.sends(chat('juliet', 'm1', '<body>stays</body>'));
  await romeo.sends(chat('juliet', 'm2', '<body>goes</body>'));
  await romeo.syncs();
  await juliet.sends(retract('romeo', 'r1', 'm1'));
  await juliet.syncs();
  await tybalt.sends(retract('juliet', 'r2', 'm1'));
  await tybalt.syncs();
  await romeo.sends(retract('juliet', 'r3', 'nope'));
  await romeo.sends(retract('juliet', 'r4', 'm2'));
  await forgot(juliet, 'goes');
  await forgot(romeo, 'goes');
  const stays = "<message xmlns='jabber:client' id='m1'><body>stays</body></message>";
  const is = (id: string) => `<message xmlns='jabber:client' id='${id}'/>`;
  await archives(romeo, [stays, is('m2'), is('r1'), is('r3'), is('r4')]);
  await archives(juliet, [stays, is('m2'), is('r1'), is('r2'), is('r3'), is('r4')]);
});
