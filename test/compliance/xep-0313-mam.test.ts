/** XEP-0313: Message Archive Management, with XEP-0431 (full text), XEP-0413 (order) and the archive in XEP-0386. */

import { binding, defineModule } from '../../src/server/module/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { el } from '../../src/server/xml/element.js';
import { base64, type Peer, password, plain, type ScenarioOptions, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { Scram } from './scram.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';

const field = (name: string, ...values: string[]): string =>
  `<field var='${name}'>${values.map((value) => `<value>${value}</value>`).join('')}</field>`;
const form = (...fields: string[]): string =>
  `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>${NS.mam}</value></field>${fields.join('')}</x>`;
const set = (inner: string): string => `<set xmlns='${NS.rsm}'>${inner}</set>`;
const query = (inner = '', to = '', id = 'q'): string =>
  `<iq type='set' id='${id}'${to === '' ? '' : ` to='${to}'`}><query xmlns='${NS.mam}' queryid='f27'>${inner}</query></iq>`;
const result = (body: string, id = '*'): string =>
  `<message from='${juliet}'><result xmlns='${NS.mam}' queryid='f27' id='${id}'><forwarded xmlns='${NS.forward}'>` +
  `<delay xmlns='${NS.delay}' stamp='*'/><message xmlns='jabber:client'><body>${body}</body></message></forwarded></result></message>`;
const fin = (inner: string, attributes = "complete='true'"): string =>
  `<iq type='result' id='q'><fin xmlns='${NS.mam}' ${attributes}>${set(inner)}</fin></iq>`;

/** Romeo sends these to Juliet, whose archive has them as {a0}, {a1} … */
async function says(from: Peer, to: Peer, bodies: readonly string[], first = 0): Promise<void> {
  for (const [n, body] of bodies.entries()) {
    await from.sends(`<message to='${juliet}' type='chat' id='${body}'><body>${body}</body></message>`);
    await to.receives(
      `<message type='chat'><body>${body}</body><stanza-id xmlns='${NS.stanzaId}' by='${juliet}' id='{a${first + n}}'/></message>`,
    );
  }
}

/** Asks, and gets exactly these, then the end. */
async function finds(who: Peer, inner: string, bodies: readonly string[], end: string): Promise<void> {
  await who.sends(query(inner));
  for (const body of bodies) await who.receives(result(body));
  await who.receives(end);
}

type Play = (players: { orchard: Peer; balcony: Peer }) => Promise<void>;
const play = (title: string, act: Play, options: ScenarioOptions = {}): void =>
  scenario(title, options, async ({ actor }) => {
    const orchard = await actor(`${romeo}/orchard`, { presence: true });
    const balcony = await actor(`${juliet}/balcony`, { presence: true });
    await act({ orchard, balcony });
    await balcony.receivesNothing();
  });

/** For an archive that is searched, or whose messages are counted. */
const search = (title: string, act: Play): void => play(title, act, { isSearching: true });

// --- §3 archives ----------------------------------------------------------------------------------------------------

play(
  '§3.5 users who can read the archive see the id; the sender of the message does not',
  async ({ orchard, balcony }) => {
    await says(orchard, balcony, ['Call me but love']);
    await orchard.receivesNothing();
    await balcony.sends(query());
    await balcony.receives(
      `<message to='${juliet}/balcony' from='${juliet}'><result xmlns='${NS.mam}' queryid='f27' id='{a0}'>
      <forwarded xmlns='${NS.forward}'><delay xmlns='${NS.delay}' stamp='*'/>
        <message xmlns='jabber:client' from='${romeo}/orchard' to='${juliet}' type='chat' id='Call me but love'>
          <body>Call me but love</body></message></forwarded></result></message>`,
      { exactly: true },
    );
    await balcony.receives(fin(`<first index='0'>{a0}</first><last>{a0}</last><count>1</count>`), { exactly: false });
  },
);

scenario('§3.5, XEP-0359 §3: a forged id is not archived', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor(`${juliet}/balcony`);
  await orchard.sends(
    `<message to='${juliet}' type='chat'><body>x</body><stanza-id xmlns='${NS.stanzaId}' by='${juliet}' id='forged'/>
      <stanza-id xmlns='${NS.stanzaId}' by='Juliet@LOCALHOST/x' id='forged'/></message>`,
  );
  await orchard.syncs();
  await balcony.sends(query());
  await balcony.receives(
    `<message to='${juliet}/balcony' from='${juliet}'><result xmlns='${NS.mam}' queryid='f27' id='*'>
      <forwarded xmlns='${NS.forward}'><delay xmlns='${NS.delay}' stamp='*'/>
        <message xmlns='jabber:client' from='${romeo}/orchard' to='${juliet}' type='chat'><body>x</body></message>
      </forwarded></result></message>`,
    { exactly: true },
  );
  await balcony.receives(fin('<first>*</first><last>*</last>'));
});

scenario('§3.5, XEP-0280: the copy of a sent message has its archive id', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const garden = await actor(`${romeo}/garden`, { presence: true });
  await garden.sends(`<iq type='set' id='c'><enable xmlns='${NS.carbons}'/></iq>`);
  await garden.receives("<iq type='result' id='c'/>");
  await actor(`${juliet}/balcony`);
  await orchard.sends(`<message to='${juliet}' type='chat'><body>x</body></message>`);
  await garden.receives(
    `<message type='chat' from='${romeo}'><sent xmlns='${NS.carbons}'><forwarded xmlns='${NS.forward}'><message xmlns='jabber:client'>
      <body>x</body><stanza-id xmlns='${NS.stanzaId}' by='${romeo}' id='{mine}'/></message></forwarded></sent></message>`,
  );
  await garden.sends(query(form(field('ids', '{mine}'))));
  await garden.receives(`<message from='${romeo}'><result xmlns='${NS.mam}' id='{mine}'/></message>`);
  await garden.receives(fin('<first>{mine}</first><last>{mine}</last>'));
});

// --- §4 queries -----------------------------------------------------------------------------------------------------

play('§4 an empty archive', async ({ balcony }) => {
  await balcony.sends(query());
  await balcony.receives(fin('<count>0</count>').replace('<iq', `<iq to='${juliet}/balcony'`), { exactly: true });
  await balcony.sends(query(set('<before/>')));
  await balcony.receives(fin('<count>0</count>'));
  await balcony.sends(query(set('<max>0</max>')));
  await balcony.receives(fin('<count>0</count>'));
  await balcony.sends(query(form(field('with', romeo))));
  await balcony.receives(fin('<count>0</count>'));
});

play('§4.1.1 with a contact, at any of their resources or at one', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['one', 'two']);
  await balcony.sends("<message to='nurse@localhost' type='chat'><body>three</body></message>");
  await balcony.receives(`<message type='error'>${refusal('cancel', 'service-unavailable')}</message>`);
  await balcony.sends(`<message to='${romeo}/orchard' type='chat'><body>four</body></message>`);
  await balcony.syncs();
  const whole = '<first>*</first><last>*</last>';
  await finds(balcony, form(field('with', romeo)), ['one', 'two', 'four'], fin(whole));
  await finds(balcony, form(field('with', 'ROMEO@localhost')), ['one', 'two', 'four'], fin(whole));
  await finds(balcony, form(field('with', `${romeo}/orchard`)), ['one', 'two', 'four'], fin(whole));
  await finds(balcony, form(field('with', `${romeo}/garden`)), [], fin('<count>0</count>'));
  await finds(balcony, form(field('with', 'nurse@localhost')), ['three'], fin(whole));
  await finds(balcony, form(field('with', 'localhost')), [], fin('<count>0</count>'));
});

play('§4.1.1 with oneself: messages to oneself, once each', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['one']);
  await balcony.sends(`<message to='${juliet}' type='chat'><body>note</body></message>`);
  await balcony.receives(`<message type='chat' from='${juliet}/balcony'><body>note</body></message>`);
  await finds(balcony, form(field('with', juliet)), ['note'], fin('<first>*</first><last>*</last>'));
  await finds(balcony, '', ['one', 'note'], fin('<count>2</count>'));
});

play('§4.1.2 after a time, and before one', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['one', 'two']);
  await balcony.sends(query());
  const stamps: string[] = [];
  for (const body of ['one', 'two']) {
    const delay = (await balcony.receives(result(body)))
      .getChild('result', NS.mam)!
      .getChild('forwarded', NS.forward)!
      .getChild('delay', NS.delay)!;
    stamps.push(delay.attrs.stamp!);
  }
  await balcony.receives(fin('<count>2</count>'));
  const [first, last] = stamps as [string, string];
  await finds(balcony, form(field('start', first), field('end', last)), ['one', 'two'], fin('<count>2</count>'));
  await finds(balcony, form(field('end', '2020-01-01T00:00:00Z')), [], fin('<count>0</count>'));
  await finds(balcony, form(field('start', '2020-01-01T00:00:00+01:00')), ['one', 'two'], fin('<count>2</count>'));
  await finds(balcony, form(field('start', '9999-01-01T00:00:00Z')), [], fin('<count>0</count>'));
  await finds(balcony, form(field('start', last), field('end', '2020-01-01T00:00:00Z')), [], fin('<count>0</count>'));
});

play('§4.1.3 before and after messages, and by id', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['0', '1', '2', '3', '4']);
  await finds(balcony, form(field('after-id', '{a1}')), ['2', '3', '4'], fin('<first>{a2}</first><last>{a4}</last>'));
  await finds(balcony, form(field('before-id', '{a2}')), ['0', '1'], fin('<first>{a0}</first><last>{a1}</last>'));
  const between = form(field('after-id', '{a0}'), field('before-id', '{a4}'));
  await finds(balcony, between, ['1', '2', '3'], fin('<first>{a1}</first><last>{a3}</last>'));
  await finds(balcony, between + set('<max>2</max>'), ['1', '2'], fin('<first>{a1}</first><last>{a2}</last>', ''));
  await finds(balcony, between + set('<max>2</max><after>{a2}</after>'), ['3'], fin('<first>{a3}</first>'));
  await finds(
    balcony,
    between + set('<max>2</max><before/>'),
    ['2', '3'],
    fin('<first>{a2}</first><last>{a3}</last>', ''),
  );
  await finds(balcony, form(field('ids', '{a3}', '{a1}')), ['1', '3'], fin('<first>{a1}</first><last>{a3}</last>'));
});

play('§4.1.3 a message that is not in the archive', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['0']);
  for (const inner of [
    form(field('after-id', 'nope')),
    form(field('before-id', 'nope')),
    form(field('ids', '{a0}', 'nope')),
    set('<after>nope</after>'),
    set('<before>nope</before>'),
    set('<max>0</max><after>nope</after>'),
    form(field('after-id', '{a0}')) + set('<after>nope</after>'),
  ]) {
    await balcony.sends(query(inner));
    await balcony.receives(`<iq type='error' id='q'>${refusal('cancel', 'item-not-found')}</iq>`);
  }
});

play(
  "§4.1.4 messages of rooms are not in the account's archive, whether requested or not",
  async ({ orchard, balcony }) => {
    await says(orchard, balcony, ['one']);
    for (const value of ['true', 'false', '1', '0'])
      await finds(balcony, form(field('include-groupchat', value)), ['one'], fin('<count>1</count>'));
  },
);

search('§4.1.5 the fields are listed', async ({ balcony }) => {
  await balcony.sends(`<iq type='get' id='form1'><query xmlns='${NS.mam}'/></iq>`);
  await balcony.receives(
    `<iq type='result' id='form1'><query xmlns='${NS.mam}'><x xmlns='jabber:x:data' type='form'>
      <field type='hidden' var='FORM_TYPE'><value>${NS.mam}</value></field>
      <field type='jid-single' var='with'/><field type='text-single' var='start'/><field type='text-single' var='end'/>
      <field type='text-single' var='before-id'/><field type='text-single' var='after-id'/>
      <field type='list-multi' var='ids'><validate xmlns='${NS.dataFormsValidate}' datatype='xs:string'><open/></validate></field>
      <field type='boolean' var='include-groupchat'/>
      <field type='text-single' var='{urn:xmpp:fulltext:0}fulltext'/><field type='text-single' var='withtext'/>
      </x></query></iq>`,
  );
});

play('§4.1.5 unknown fields, and invalid forms', async ({ balcony }) => {
  const cases: [inner: string, error: string][] = [
    [form(field('colour', 'red')), refusal('cancel', 'feature-not-implemented')],
    [form(field('with', 'a@@b')), refusal('modify', 'not-acceptable')],
    [form(field('start', 'yesterday')), refusal('modify', 'not-acceptable')],
    [form(field('with', romeo), field('with', romeo)), refusal('modify', 'bad-request')],
    [form().replace('submit', 'form'), refusal('modify', 'bad-request')],
    [form().replace('submit', 'cancel'), refusal('modify', 'bad-request')],
    [form().replace(NS.mam, 'urn:xmpp:mam:1'), refusal('modify', 'bad-request')],
    [set('<max>lots</max>'), refusal('modify', 'bad-request')],
    [set('<max>-5</max>'), refusal('modify', 'bad-request')],
    [set('<index>2</index>'), refusal('cancel', 'feature-not-implemented')],
  ];
  for (const [inner, error] of cases) {
    await balcony.sends(query(inner));
    await balcony.receives(`<iq type='error' id='q'>${error}</iq>`);
  }
  await balcony.sends(`<iq type='set' id='q'><query xmlns='${NS.mam}' node='urn:xmpp:microblog:0'/></iq>`);
  await balcony.receives(`<iq type='error' id='q'>${refusal('cancel', 'item-not-found')}</iq>`);
});

play('§4.2 without a query id the results have none', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['one']);
  await balcony.sends(`<iq type='set' id='q' to='${juliet}'><query xmlns='${NS.mam}'/></iq>`);
  await balcony.receives(
    `<message from='${juliet}' to='${juliet}/balcony'><result xmlns='${NS.mam}' id='{a0}'><forwarded xmlns='${NS.forward}'><delay xmlns='${NS.delay}' stamp='*'/>
      <message xmlns='jabber:client' from='*' to='*' type='chat' id='one'><body>one</body></message></forwarded></result></message>`,
    { exactly: true },
  );
  await balcony.receives(fin('<count>1</count>'));
});

// --- §4.3 pages -----------------------------------------------------------------------------------------------------

search('§4.3 page by page, forwards and backwards', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['0', '1', '2', '3', '4']);
  const two = '<max>2</max>';
  await finds(balcony, set(two), ['0', '1'], fin('<first>{a0}</first><last>{a1}</last>', ''));
  await finds(balcony, set(`${two}<after>{a1}</after>`), ['2', '3'], fin('<first>{a2}</first><last>{a3}</last>', ''));
  await finds(balcony, set(`${two}<after>{a3}</after>`), ['4'], fin('<first>{a4}</first><last>{a4}</last>'));
  await finds(balcony, set(`${two}<after>{a4}</after>`), [], fin(''));
  await finds(balcony, set(`${two}<before/>`), ['3', '4'], fin('<first>{a3}</first><last>{a4}</last>', ''));
  await finds(balcony, set(`${two}<before>{a3}</before>`), ['1', '2'], fin('<first>{a1}</first>', ''));
  await finds(balcony, set(`${two}<before>{a1}</before>`), ['0'], fin('<first>{a0}</first><last>{a0}</last>'));
  await finds(balcony, set(`${two}<before>{a0}</before>`), [], fin(''));
  await finds(balcony, set('<max>5</max><before/>'), ['0', '1', '2', '3', '4'], fin('<count>5</count>'));
  await finds(balcony, set('<max>0</max>'), [], fin('<count>5</count>', ''));
});

play('§4.3 an incomplete page says so', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['0', '1']);
  await balcony.sends(query(set('<max>1</max>')));
  await balcony.receives(result('0', '{a0}'));
  await balcony.receives(
    `<iq type='result' id='q' to='${juliet}/balcony'><fin xmlns='${NS.mam}'>${set('<first>{a0}</first><last>{a0}</last>')}</fin></iq>`,
    { exactly: true },
  );
});

scenario(
  '§4.3.1 a page never exceeds the limit, however much is requested',
  { config: { modules: { mam: { page: 2, page_limit: 3 } } } },
  async ({ actor }) => {
    const orchard = await actor(`${romeo}/orchard`);
    const balcony = await actor(`${juliet}/balcony`, { presence: true });
    await says(orchard, balcony, ['0', '1', '2', '3', '4']);
    await finds(balcony, '', ['0', '1'], fin('<first>{a0}</first><last>{a1}</last>', ''));
    await finds(balcony, set('<max>4000000000</max>'), ['0', '1', '2'], fin('<last>{a2}</last>', ''));
    await finds(balcony, set('<max>9999999999</max><before/>'), ['2', '3', '4'], fin('<last>{a4}</last>', ''));
    await balcony.sends(query(form(field('ids', '{a0}', '{a1}', '{a2}', '{a3}'))));
    await balcony.receives(`<iq type='error' id='q'>${refusal('modify', 'not-acceptable')}</iq>`);
  },
);

play('§4.3.4 a flipped page is the same page', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['0', '1', '2', '3']);
  const flip = '<flip-page/>';
  await finds(balcony, set('<max>2</max>') + flip, ['1', '0'], fin('<first>{a0}</first><last>{a1}</last>', ''));
  await finds(
    balcony,
    set('<max>2</max><before/>') + flip,
    ['3', '2'],
    fin('<first>{a2}</first><last>{a3}</last>', ''),
  );
});

play('XEP-0413 §4.4 descending order', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['0', '1', '2', '3']);
  const order = `<order xmlns='${NS.orderBy}' by='creation' desc='true'/>`;
  await finds(balcony, order + set('<max>3</max>'), ['3', '2', '1'], fin('<first>{a3}</first><last>{a1}</last>', ''));
  await finds(balcony, order + set('<max>3</max><after>{a1}</after>'), ['0'], fin('<first>{a0}</first>'));
  await finds(balcony, order + set('<max>3</max><before>{a2}</before>'), ['3'], fin('<first>{a3}</first>'));
  await balcony.sends(query(`<order xmlns='${NS.orderBy}' by='modification'/>`));
  await balcony.receives(`<iq type='error' id='q'>${refusal('cancel', 'feature-not-implemented')}</iq>`);
});

// --- XEP-0431 -------------------------------------------------------------------------------------------------------

search('XEP-0431 full text', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['It was the nightingale', 'and not the lark', 'Käse']);
  await orchard.sends(
    `<message to='${juliet}' type='chat'><body>the lark in secret</body><encryption xmlns='${NS.encryption}' namespace='x'/></message>`,
  );
  await orchard.syncs();
  balcony.forgets();
  const name = '{urn:xmpp:fulltext:0}fulltext';
  await finds(balcony, form(field(name, 'LARK')), ['and not the lark'], fin('<last>*</last>'));
  await finds(balcony, form(field(name, 'the')), ['It was the nightingale', 'and not the lark'], fin('<last>*</last>'));
  await finds(balcony, form(field(name, 'lark nightingale')), [], fin('<count>0</count>'));
  await finds(balcony, form(field(name, 'kase')), ['Käse'], fin('<last>*</last>'));
  await finds(
    balcony,
    form(field('withtext', 'lark'), field('with', romeo)),
    ['and not the lark'],
    fin('<last>*</last>'),
  );
  await finds(balcony, form(field('withtext', 'lark'), field('with', juliet)), [], fin('<count>0</count>'));
  await finds(balcony, form(field(name, '" OR * NEAR')), [], fin('<count>0</count>'));
  // A page of the result (XEP-0059), and its size alone.
  const one = (more: string) => form(field(name, 'the')) + set(`<max>1</max>${more}`);
  await finds(balcony, one(''), ['It was the nightingale'], fin('<first>{a0}</first><last>{a0}</last>', ''));
  await finds(balcony, one('<after>{a0}</after>'), ['and not the lark'], fin('<first>{a1}</first>'));
  await finds(balcony, one('<before/>'), ['and not the lark'], fin('<first>{a1}</first>', ''));
  await finds(balcony, form(field(name, 'the')) + set('<max>0</max>'), [], fin('<count>2</count>', ''));
});

scenario('XEP-0431 can be disabled', { config: { modules: { mam: { search: false } } } }, async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  await balcony.sends(query(form(field('withtext', 'lark'))));
  await balcony.receives(`<iq type='error' id='q'>${refusal('cancel', 'feature-not-implemented')}</iq>`);
  await balcony.sends(`<iq type='get' id='d' to='${juliet}'><query xmlns='${NS.discoInfo}'/></iq>`);
  const info = await balcony.receives(
    `<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><feature var='${NS.mam}'/></query></iq>`,
  );
  if (info.toString().includes(NS.fullText)) throw new Error('full text is announced');
});

// --- §5 metadata ----------------------------------------------------------------------------------------------------

play('§5 the first and the last message', async ({ orchard, balcony }) => {
  const get = `<iq type='get' id='m'><metadata xmlns='${NS.mam}'/></iq>`;
  await balcony.sends(get);
  await balcony.receives(`<iq type='result' id='m' to='${juliet}/balcony'><metadata xmlns='${NS.mam}'/></iq>`, {
    exactly: true,
  });
  await says(orchard, balcony, ['0', '1', '2']);
  await balcony.sends(get);
  await balcony.receives(
    `<iq type='result' id='m'><metadata xmlns='${NS.mam}'><start id='{a0}' timestamp='*'/><end id='{a2}' timestamp='*'/></metadata></iq>`,
  );
});

// --- §6 rules -------------------------------------------------------------------------------------------------------

play('§6.1.1 which messages are archived', async ({ orchard, balcony }) => {
  const hint = (name: string) => `<${name} xmlns='${NS.hints}'/>`;
  const written: [type: string, content: string][] = [
    ['chat', '<body>chat</body>'],
    ['normal', '<body>normal</body>'],
    ['headline', '<body>headline</body>'],
    ['chat', `<body>hidden</body>${hint('no-store')}`],
    ['chat', `<body>off the record</body>${hint('no-permanent-store')}`],
    ['chat', `<composing xmlns='${NS.chatStates}'/>`],
    ['chat', `<received xmlns='${NS.receipts}' id='1'/>`],
    ['chat', `<displayed xmlns='${NS.markers}' id='1'/>`],
    ['chat', `<reactions xmlns='${NS.reactions}' id='1'><reaction>x</reaction></reactions>`],
    ['chat', `<thread>t</thread>${hint('store')}`],
  ];
  for (const [type, content] of written)
    await orchard.sends(`<message to='${juliet}' type='${type}'>${content}</message>`);
  await orchard.syncs();
  await balcony.syncs();
  balcony.forgets();
  await balcony.sends(query());
  for (const content of [
    '<body>chat</body>',
    '<body>normal</body>',
    `<received xmlns='${NS.receipts}'/>`,
    `<displayed xmlns='${NS.markers}'/>`,
    `<reactions xmlns='${NS.reactions}'/>`,
    '<thread>t</thread>',
  ])
    await balcony.receives(
      `<message><result xmlns='${NS.mam}'><forwarded xmlns='${NS.forward}'><message xmlns='jabber:client'>${content}</message></forwarded></result></message>`,
    );
  await balcony.receives(fin('<count>6</count>'));
});

play('§6.1.1 once, however many clients received it', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['one']);
  await balcony.sends(`<message to='${romeo}' type='chat'><body>two</body></message>`);
  await orchard.receives(`<message type='chat'><body>two</body></message>`);
  await finds(balcony, '', ['one', 'two'], fin('<count>2</count>'));
});

scenario('§6.1 a blocked message is not archived by its recipient', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  await balcony.sends(`<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='${romeo}'/></block></iq>`);
  await balcony.receives("<iq type='result' id='b'/>");
  await orchard.sends(`<message to='${juliet}' type='chat'><body>x</body></message>`);
  await orchard.receives(`<message type='error'>${refusal('cancel', 'service-unavailable')}</message>`);
  await finds(balcony, '', [], fin('<count>0</count>'));
});

scenario('§6.1.1 messages read from the archive are not delivered as offline messages', async ({ actor, stage }) => {
  const orchard = await actor(`${romeo}/orchard`);
  await stage.account(`${juliet}`);
  for (const body of ['one', 'two'])
    await orchard.sends(`<message to='${juliet}' type='chat'><body>${body}</body></message>`);
  await orchard.syncs();
  const balcony = await actor(`${juliet}/balcony`);
  await finds(balcony, set('<max>1</max>'), ['one'], fin('<last>*</last>', ''));
  await balcony.sends('<presence/>');
  await balcony.receives(`<presence from='${juliet}/balcony'/>`);
  await balcony.receives(
    `<message type='chat'><body>two</body><stanza-id xmlns='${NS.stanzaId}' by='${juliet}' id='{two}'/><delay xmlns='${NS.delay}'/></message>`,
  );
  await balcony.receivesNothing();
  await balcony.sends(query(form(field('ids', '{two}'))));
  await balcony.receives(result('two', '{two}'));
  await balcony.receives(fin('<last>{two}</last>'));
});

scenario(
  '§6.1.1 unread archived messages are delivered as offline messages, also after a restart',
  async ({ actor, stage }) => {
    const orchard = await actor(`${romeo}/orchard`);
    await stage.account(`${juliet}`);
    await orchard.sends(`<message to='${juliet}' type='chat'><body>one</body></message>`);
    await orchard.syncs();
    await stage.restart();
    const balcony = await actor(`${juliet}/balcony`);
    await balcony.sends(query('', romeo));
    await balcony.receives(`<iq type='error' id='q'>${refusal('auth', 'forbidden')}</iq>`);
    await balcony.sends('<presence/>');
    await balcony.receives(`<presence from='${juliet}/balcony'/>`);
    await balcony.receives(
      `<message type='chat'><body>one</body><stanza-id xmlns='${NS.stanzaId}' by='${juliet}' id='{one}'/></message>`,
    );
    await balcony.sends(query());
    await balcony.receives(result('one', '{one}'));
    await balcony.receives(fin('<count>1</count>'));
  },
);

// --- XEP-0386 -------------------------------------------------------------------------------------------------------

/** Juliet logs in by SASL2 and binds inline; the next element is the result. */
async function bindsInline(connect: Scene['connect'], features: string): Promise<Peer> {
  const peer = await connect({ transport: 'starttls' });
  await peer.opens();
  await peer.receivesFeatures();
  const scram = new Scram({ hash: 'SHA-256', user: 'juliet', password });
  await peer.sends(
    `<authenticate xmlns='${NS.sasl2}' mechanism='SCRAM-SHA-256'><initial-response>${base64(scram.first())}</initial-response>
      <bind xmlns='${NS.bind2}'><tag>Test</tag>${features}</bind></authenticate>`,
  );
  const challenge = await peer.receives(`<challenge xmlns='${NS.sasl2}'>*</challenge>`);
  await peer.sends(`<response xmlns='${NS.sasl2}'>${base64(scram.final(plain(challenge)))}</response>`);
  return peer;
}

/** Talks to a session that its client does not know of yet. */
const eager = defineModule({
  name: 'eager',
  summary: 'For tests.',
  implements: {},
  start: ({ host }) => [
    binding(async (session) => {
      session.send(Stanza.build('message', { to: session.jid, from: host.jid }, el('body', null, 'early')));
      await Promise.resolve();
      return el('early', { xmlns: 'urn:example:early' });
    }),
    binding(() => {
      throw new Error('a module may fail');
    }),
  ],
});

for (const [title, features, enabled] of [
  ['', '', ''],
  [' with stream management', `<enable xmlns='${NS.sm}' resume='true'/>`, `<enabled xmlns='${NS.sm}'/>`],
] as const)
  scenario(
    `XEP-0386 §3.2: stanzas sent during binding follow the result${title}`,
    { modules: [eager], errors: true },
    async ({ stage, connect }) => {
      await stage.account(juliet);
      const balcony = await bindsInline(connect, features);
      await balcony.receives(
        `<success xmlns='${NS.sasl2}'><bound xmlns='${NS.bind2}'>${enabled}<metadata xmlns='${NS.mam}'/><early xmlns='urn:example:early'/></bound></success>`,
      );
      await balcony.receives(`<features xmlns='${NS.stream}'/>`);
      await balcony.receives('<message from="localhost"><body>early</body></message>');
      if (enabled !== '') await balcony.receives(`<r xmlns='${NS.sm}'/>`);
    },
  );

scenario(
  "XEP-0386 §3.2: a client that binds this way gets the archive's metadata, and no archived offline messages",
  async ({ actor, stage, connect }) => {
    const orchard = await actor(`${romeo}/orchard`);
    await stage.account(juliet);
    const bind = () => bindsInline(connect, `<enable xmlns='${NS.carbons}'/>`);
    const success = (inner: string) =>
      `<success xmlns='${NS.sasl2}'><bound xmlns='${NS.bind2}'><metadata xmlns='${NS.mam}'>${inner}</metadata></bound></success>`;
    const empty = await bind();
    await empty.receives(success(''));
    await empty.closes();
    for (const body of ['one', 'two'])
      await orchard.sends(`<message to='${juliet}' type='chat'><body>${body}</body></message>`);
    await orchard.sends(
      `<message to='${juliet}' type='chat'><body>three</body><no-permanent-store xmlns='${NS.hints}'/></message>`,
    );
    await orchard.syncs();
    const balcony = await bind();
    await balcony.receives(success("<start id='{one}' timestamp='*'/><end id='{two}' timestamp='*'/>"));
    await balcony.receives(`<features xmlns='${NS.stream}'/>`);
    await balcony.sends('<presence/>');
    await balcony.receives(`<presence/>`);
    await balcony.receives(`<message type='chat'><body>three</body></message>`);
    await balcony.sends(query(form(field('after-id', '{one}'))));
    await balcony.receives(result('two', '{two}'));
    await balcony.receives(fin('<last>{two}</last>'));
  },
);

// --- §7 support, §8 security ----------------------------------------------------------------------------------------

search('§7 support is announced to the account, and only what applies to it', async ({ balcony }) => {
  await balcony.sends(`<iq type='get' id='d' to='${juliet}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await balcony.receives(
    `<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><feature var='${NS.mam}'/><feature var='${NS.mamExtended}'/>
      <feature var='${NS.mamGroupchatField}'/><feature var='${NS.fullText}'/><feature var='${NS.stanzaId}'/>
      <feature var='${NS.orderBy}'/><feature var='${NS.orderBy}@${NS.mam}'/></query></iq>`,
  );
  await balcony.sends(
    "<iq type='get' id='d' to='localhost'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
  );
  const server = await balcony.receivesAny();
  if (server.toString().includes(`"${NS.mam}"`)) throw new Error('the server has no archive');
});

play('§8.1 archives of others all look the same', async ({ orchard, balcony }) => {
  await says(orchard, balcony, ['one']);
  const forbidden = (id: string) => `<iq type='error' id='${id}'>${refusal('auth', 'forbidden')}</iq>`;
  for (const to of [juliet, 'nobody@localhost']) {
    await orchard.sends(query('', to));
    await orchard.receives(forbidden('q'));
    await orchard.sends(query(set('<before/>'), to));
    await orchard.receives(forbidden('q'));
    await orchard.sends(`<iq type='get' id='f' to='${to}'><query xmlns='${NS.mam}'/></iq>`);
    await orchard.receives(forbidden('f'));
    await orchard.sends(`<iq type='get' id='m' to='${to}'><metadata xmlns='${NS.mam}'/></iq>`);
    await orchard.receives(forbidden('m'));
  }
  await orchard.sends(query('', 'localhost'));
  await orchard.receives(`<iq type='error' id='q'>${refusal('cancel', 'service-unavailable')}</iq>`);
  await orchard.receivesNothing();
});

scenario('a new account with an old name has an empty archive', async ({ actor, stage }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const before = await actor('rosaline@localhost/x');
  await orchard.sends("<message to='rosaline@localhost' type='chat'><body>one</body></message>");
  await orchard.syncs();
  await before.closes();
  await stage.server.accounts.remove('rosaline@localhost');
  const after = await actor('rosaline@localhost/x');
  await finds(after, '', [], fin('<count>0</count>'));
});
