/** XEP-0430: Inbox. */
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const ask = (inner = '', attributes = ''): string =>
  `<iq type='get' id='i'><inbox xmlns='${NS.inbox}' ${attributes}>${inner}</inbox></iq>`;
const set = (inner: string): string => `<set xmlns='${NS.rsm}'>${inner}</set>`;
const entry = (who: string, unread: number, body?: string): string =>
  `<message from='romeo@localhost'><entry xmlns='${NS.inbox}' jid='${who}@localhost' unread='${unread}' id='*'/>${
    body === undefined
      ? ''
      : `<result xmlns='${NS.mam}' queryid='i' id='*'><forwarded xmlns='${NS.forward}'><message xmlns='jabber:client'><body>${body}</body></message></forwarded></result>`
  }</message>`;
const fin = (total: number, unread: number, all: number, inner = ''): string =>
  `<iq type='result' id='i'><fin xmlns='${NS.inbox}' total='${total}' unread='${unread}' all-unread='${all}'>${set(inner)}</fin></iq>`;

async function says(from: Peer, to: string, ...bodies: string[]): Promise<void> {
  for (const body of bodies)
    await from.sends(`<message to='${to}@localhost' type='chat' id='${body}'><body>${body}</body></message>`);
  await from.syncs();
}

scenario('§2.1 support is announced; an empty inbox', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='d' to='romeo@localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><feature var='${NS.inbox}'/></query></iq>`,
  );
  await romeo.sends(ask());
  await romeo.receives(fin(0, 0, 0, '<count>0</count>'));
});

scenario('§3.1 conversations, the latest first, with last message and unread count', async ({ actor, stage }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const nurse = await actor('nurse@localhost/house');
  const tybalt = await actor('tybalt@localhost/street');
  await stage.account('romeo@localhost');
  await says(tybalt, 'romeo', 't1');
  await says(juliet, 'romeo', 'j1', 'j2', 'j3');
  await says(nurse, 'romeo', 'n1');
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(ask());
  await romeo.receives(entry('nurse', 1, 'n1'));
  await romeo.receives(entry('juliet', 3, 'j3'));
  await romeo.receives(entry('tybalt', 1, 't1'));
  await romeo.receives(
    fin(3, 3, 5, "<first index='0'>nurse@localhost</first><last>tybalt@localhost</last><count>3</count>"),
  );

  // §4: displayed, and by that all before it; answered; and a receipt alone
  await romeo.sends(`<message to='juliet@localhost' type='chat'><displayed xmlns='${NS.markers}' id='j2'/></message>`);
  await romeo.sends(`<message to='nurse@localhost' type='chat'><received xmlns='${NS.receipts}' id='n1'/></message>`);
  await says(romeo, 'tybalt', 'peace');
  await romeo.sends(ask());
  await romeo.receives(entry('tybalt', 0, 'peace'));
  await romeo.receives(entry('nurse', 1, 'n1'));
  await romeo.receives(entry('juliet', 1, 'j3'));
  await romeo.receives(fin(3, 2, 2));

  await romeo.sends(ask('', "unread-only='true' messages='false'"));
  for (const who of ['nurse', 'juliet'])
    await romeo.receives(
      `<message to='romeo@localhost/orchard' from='romeo@localhost'><entry xmlns='${NS.inbox}' jid='${who}@localhost' unread='1' id='*'/></message>`,
      { exactly: true },
    );
  await romeo.receives(fin(3, 2, 2, '<count>2</count>'));

  // Another session, and after a restart
  await stage.restart();
  const phone = await actor('romeo@localhost/phone');
  await phone.sends(ask(set('<max>1</max>')));
  await phone.receives(entry('tybalt', 0, 'peace'));
  await phone.receives(
    fin(3, 2, 2, "<first index='0'>tybalt@localhost</first><last>tybalt@localhost</last><count>3</count>"),
  );
  await phone.sends(ask(set('<max>2</max><after>tybalt@localhost</after>')));
  await phone.receives(entry('nurse', 1, 'n1'));
  await phone.receives(entry('juliet', 1, 'j3'));
  await phone.receives(fin(3, 2, 2, "<first index='1'>nurse@localhost</first><last>juliet@localhost</last>"));
  await phone.sends(ask(set('<max>1</max><before/>')));
  await phone.receives(entry('juliet', 1, 'j3'));
  await phone.receives(fin(3, 2, 2, "<first index='2'>juliet@localhost</first>"));
});

scenario('§3.1 the id of a conversation can be used in archive queries', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const romeo = await actor('romeo@localhost/orchard');
  await says(juliet, 'romeo', 'j1');
  await romeo.sends(ask());
  await romeo.receives(
    `<message><entry xmlns='${NS.inbox}' jid='juliet@localhost' unread='1' id='{last}'/><result xmlns='${NS.mam}' id='{last}'/></message>`,
  );
  await romeo.receives(fin(1, 1, 1));
  await says(juliet, 'romeo', 'j2');
  await romeo.sends(
    `<iq type='set' id='q'><query xmlns='${NS.mam}'><x xmlns='jabber:x:data' type='submit'><field var='with'><value>juliet@localhost</value></field></x>${set('<after>{last}</after>')}</query></iq>`,
  );
  await romeo.receives(
    `<message><result xmlns='${NS.mam}'><forwarded xmlns='${NS.forward}'><message xmlns='jabber:client'><body>j2</body></message></forwarded></result></message>`,
  );
  await romeo.receives("<iq type='result' id='q'/>");
});

scenario('invalid pages, and inboxes of others', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const romeo = await actor('romeo@localhost/orchard');
  await says(juliet, 'romeo', 'j1');
  const cases: [inner: string, error: string][] = [
    [set('<after>nobody@localhost</after>'), refusal('cancel', 'item-not-found')],
    [set('<before>nobody@localhost</before>'), refusal('cancel', 'item-not-found')],
    [set('<max>many</max>'), refusal('modify', 'bad-request')],
    [set('<index>0</index><after>juliet@localhost</after>'), refusal('modify', 'bad-request')],
  ];
  for (const [inner, error] of cases) {
    await romeo.sends(ask(inner));
    await romeo.receives(`<iq type='error' id='i'>${error}</iq>`);
  }
  for (const index of ['0', '1', '9999999999']) {
    await romeo.sends(ask(set(`<index>${index}</index>`)));
    if (index === '0') await romeo.receives(entry('juliet', 1, 'j1'));
    await romeo.receives(fin(1, 1, 1, '<count>1</count>'));
  }
  for (const to of ['juliet@localhost', 'nobody@localhost']) {
    await romeo.sends(ask().replace("id='i'", `id='i' to='${to}'`));
    await romeo.receives(`<iq type='error' id='i' from='${to}'>${refusal('auth', 'forbidden')}</iq>`);
  }
});
