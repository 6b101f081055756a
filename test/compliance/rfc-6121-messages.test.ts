/** RFC 6121 §5 and §8.5: delivery of messages by type, address, and available sessions. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { overTcp, type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const types = ['(none)', 'normal', 'chat', 'groupchat', 'headline', 'error', 'nonsense'] as const;
type Type = (typeof types)[number];

/** What happens to a message: its recipients; stored until a client is available; refused; or dropped. */
type Fate = readonly string[] | 'kept' | 'refused' | 'dropped';

/** As in §8.5.4; `normal` stands for a missing or unknown type (§5.2.2). */
type Fates = Readonly<Record<'normal' | 'chat' | 'groupchat' | 'headline' | 'error', Fate>>;

/** Juliet's clients by the presence that they have sent, if any. */
const presences: Readonly<Record<string, string | undefined>> = {
  balcony: '<presence/>',
  chamber: '<presence><show>away</show><priority>3</priority></presence>',
  cellar: '<presence><priority>-1</priority></presence>',
  silent: undefined,
};

interface Row {
  readonly who: readonly string[];
  readonly to: string;
  readonly fates: Fates;
}

const nothing = { groupchat: 'refused', headline: 'dropped', error: 'dropped' } as const;
const onlyTo = (...who: string[]): Fates => ({ normal: who, chat: who, groupchat: who, headline: who, error: who });
const toBare = (...who: string[]): Fates => ({ ...nothing, normal: who, chat: who, headline: who });
const absent: Fates = { ...nothing, normal: 'kept', chat: 'kept' };

const tables: Readonly<Record<string, readonly Row[]>> = {
  '§8.5.1: to a missing account': ['nobody@localhost', 'nobody@localhost/balcony'].map((to) => ({
    who: [],
    to,
    fates: { ...nothing, normal: 'refused', chat: 'refused' },
  })),
  '§8.5.2.1: to an account with available sessions': [
    { who: ['balcony'], to: 'juliet@localhost', fates: toBare('balcony') },
    {
      who: ['balcony', 'chamber', 'cellar', 'silent'],
      to: 'juliet@localhost',
      fates: toBare('balcony', 'chamber'),
    },
  ],
  '§8.5.2.2: to an account without available sessions': [
    { who: [], to: 'juliet@localhost', fates: absent },
    { who: ['silent'], to: 'juliet@localhost', fates: absent },
    { who: ['cellar'], to: 'juliet@localhost', fates: absent },
  ],
  '§8.5.3.1: to an available client': ['balcony', 'cellar', 'silent'].map((resource) => ({
    who: ['balcony', 'chamber', 'cellar', 'silent'],
    to: `juliet@localhost/${resource}`,
    fates: onlyTo(resource),
  })),
  '§8.5.3.2: to a client that is not available': [
    {
      who: ['balcony', 'chamber', 'cellar', 'silent'],
      to: 'juliet@localhost/nowhere',
      fates: { ...nothing, normal: 'refused', chat: ['balcony', 'chamber'] },
    },
    // §11: an answer that depends on availability would reveal it
    { who: [], to: 'juliet@localhost/nowhere', fates: { ...absent, normal: 'refused' } },
    { who: ['silent'], to: 'juliet@localhost/nowhere', fates: { ...absent, normal: 'refused' } },
    { who: ['cellar'], to: 'juliet@localhost/nowhere', fates: { ...absent, normal: 'refused' } },
  ],
};

for (const [title, rows] of Object.entries(tables)) {
  scenario(title, overTcp, async ({ actor, stage }) => {
    await stage.account('juliet@localhost');
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    for (const { who, to, fates } of rows) {
      const clients = new Map<string, Peer>();
      for (const resource of who) clients.set(resource, await actor(`juliet@localhost/${resource}`));
      for (const [resource, client] of clients) await client.sends(presences[resource] ?? '');
      await stage.settle();
      for (const client of clients.values()) client.forgets();
      for (const type of types) await meets(romeo, clients, to, type, fates[fateOf(type)]);
      await finds({ actor }, fates, who);
      await stage.settle();
      for (const client of clients.values()) {
        await client.sends(`<presence type='unavailable'/>`);
        await client.syncs();
        client.cut();
      }
    }
  });
}

const typed = (type: Type): string => (type === '(none)' ? '' : `type='${type}'`);
const fateOf = (type: Type): keyof Fates => (type === '(none)' || type === 'nonsense' ? 'normal' : type);

async function meets(romeo: Peer, clients: Map<string, Peer>, to: string, type: Type, fate: Fate): Promise<void> {
  await romeo.sends(`<message id='${type}' to='${to}' ${typed(type)}><body>${type}</body></message>`);
  for (const [resource, client] of clients)
    if (fate.includes(resource))
      await client.receives(`<message id='${type}' from='romeo@localhost/orchard' to='${to}' ${typed(type)}>
        <body>${type}</body></message>`);
  for (const client of clients.values()) await client.receivesNothing();
  if (fate === 'refused')
    await romeo.receives(`<message id='${type}' from='${to}' type='error'>
      <body>${type}</body>${refusal('cancel', 'service-unavailable')}</message>`);
  await romeo.receivesNothing();
}

/** The next client gets the stored messages, and nothing else. */
async function finds({ actor }: Pick<Scene, 'actor'>, fates: Fates, who: readonly string[]): Promise<void> {
  const juliet = await actor('juliet@localhost/garden');
  await juliet.sends('<presence/>');
  const there = ['garden', ...who.filter((resource) => presences[resource] !== undefined)];
  const stored = types.filter((type) => fates[fateOf(type)] === 'kept');
  await juliet.receivesAnyOrder([
    ...there.map((resource) => `<presence from='juliet@localhost/${resource}'/>`),
    ...stored.map((type) => `<message id='${type}' from='romeo@localhost/orchard' ${typed(type)}/>`),
  ]);
  await juliet.receivesNothing();
  juliet.cut();
}

scenario("§8.1.1.1: a message without an address is for the sender's account", async ({ actor }) => {
  const orchard = await actor('romeo@localhost/orchard', { presence: true });
  const garden = await actor('romeo@localhost/garden', { presence: true });
  orchard.forgets();
  for (const to of ['', `to='romeo@localhost'`]) {
    await orchard.sends(`<message ${to} type='chat'><body>note</body></message>`);
    for (const peer of [orchard, garden]) {
      await peer.receives(`<message from='romeo@localhost/orchard' to='romeo@localhost' type='chat'>
        <body>note</body></message>`);
      await peer.receivesNothing();
    }
  }
});

scenario('§8.4: messages for the server itself', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  for (const to of ['localhost', 'localhost/nowhere']) {
    await romeo.sends(`<message id='1' to='${to}'><body>help</body></message>`);
    await romeo.receives(`<message id='1' from='${to}' type='error'>
      ${refusal('cancel', 'service-unavailable')}</message>`);
    await romeo.sends(`<message to='${to}' type='error'>${refusal('cancel', 'gone')}</message>`);
    await romeo.sends(`<message to='${to}' type='headline'><body>news</body></message>`);
    await romeo.receivesNothing();
  }
});

scenario('§5.2: a message is delivered unchanged', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const content = `<subject>I implore you!</subject><subject xml:lang='cs'>Úpěnlivě prosím!</subject>
    <body>Wherefore art &lt;thou&gt; &amp; why?\n\t“Romeo” 🌹</body><body xml:lang='cs'>Pročež?</body>
    <thread parent='p'>t</thread><x xmlns='urn:example' a='&apos;&quot;&lt;'><y>1</y><z:y xmlns:z='urn:z'/></x>`;
  await romeo.sends(`<message to='juliet@localhost' id='a&amp;b' type='chat' xml:lang='en'>${content}</message>`);
  const message = await juliet.receives(
    `<message from='romeo@localhost/orchard' to='juliet@localhost' id='a&amp;b' type='chat' xml:lang='en'>
      ${content}<stanza-id xmlns='${NS.stanzaId}' id='*' by='juliet@localhost'/></message>`,
    { exactly: true },
  );
  assert.equal(message.getChildText('body'), 'Wherefore art <thou> & why?\n\t“Romeo” 🌹');
});

scenario('§8.5: IQs for missing accounts and resources', async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await stage.account('paris@localhost');
  const addresses = [
    'nobody@localhost', // §8.5.1
    'nobody@localhost/balcony',
    'juliet@localhost', // §8.5.2.1.3: the server refuses unknown requests
    'paris@localhost', // §8.5.2.2.3
    'paris@localhost/balcony',
    'juliet@localhost/nowhere', // §8.5.3.2.3
  ];
  for (const to of addresses) {
    for (const type of ['get', 'set']) {
      await romeo.sends(`<iq type='${type}' id='1' to='${to}'><query xmlns='urn:example'/></iq>`);
      await romeo.receives(`<iq type='error' id='1' from='${to}' to='romeo@localhost/orchard'>
        <query xmlns='urn:example'/>${refusal('cancel', 'service-unavailable')}</iq>`);
    }
    await romeo.sends(`<iq type='result' id='1' to='${to}'/>`);
    await romeo.sends(`<iq type='error' id='1' to='${to}'>${refusal('cancel', 'gone')}</iq>`);
  }
  await romeo.receivesNothing();
  await juliet.receivesNothing();
});

scenario('§8.5.3.1.3: an IQ and its answer go to the addressed clients', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony');
  const chamber = await actor('juliet@localhost/chamber', { presence: true });
  await romeo.sends(`<iq type='get' id='1' to='juliet@localhost/balcony'><query xmlns='urn:example'/></iq>`);
  await juliet.receives(`<iq type='get' id='1' from='romeo@localhost/orchard'><query xmlns='urn:example'/></iq>`);
  await juliet.sends(`<iq type='result' id='1' to='romeo@localhost/orchard'><query xmlns='urn:example'/></iq>`);
  await romeo.receives(`<iq type='result' id='1' from='juliet@localhost/balcony'><query xmlns='urn:example'/></iq>`);
  await chamber.receivesNothing();
});
