/** XEP-0401: invitations; XEP-0445: registration with a token; XEP-0379: subscriptions that a token approves. */
import assert from 'node:assert/strict';
import jsqr from 'jsqr';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { takeClocks } from '../unit/clocks.js';
import { hits, type Peer, type Scene, scenario } from './dialogue.js';
import { ask } from './http-client.js';
import { refusal } from './phrases.js';

const admins = { config: { hosts: { localhost: { admins: ['admin@localhost'] }, 'elsewhere.example': {} } } };
const romeo = 'romeo@localhost';

const invitesOf = ({ stage }: Scene) => stage.nodes[0]!.host('localhost')!.provided('invites')!;
const tokenIn = (uri: string): string => /;preauth=([^;]+)/.exec(uri)![1]!;

/** An invite to an account, made on the command line. */
async function made(scene: Scene, wanted: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const { uri } = await invitesOf(scene).make({ registers: true, connects: false, uses: 1, ...wanted });
  return tokenIn(uri);
}

let visitors = 0;
/** From an address of its own: registrations are counted by it. */
async function visits(scene: Scene): Promise<Peer> {
  const peer = await scene.connect({ transport: 'starttls', address: `127.3.0.${++visitors}` });
  await peer.opens();
  await peer.receivesFeatures();
  return peer;
}

const preauth = (token: string): string =>
  `<iq type='set' id='p' to='localhost'><preauth xmlns='${NS.pars}' token='${token}'/></iq>`;
const registration = (name: string): string =>
  `<iq type='set' id='r'><query xmlns='${NS.register}'><username>${name}</username><password>pencil</password></query></iq>`;

async function shows(peer: Peer, token: string): Promise<void> {
  await peer.sends(preauth(token));
  await peer.receives(`<iq type='result' id='p' from='localhost'/>`);
}
const isUnknown = async (peer: Peer, token: string): Promise<void> => {
  await peer.sends(preauth(token));
  await peer.receives(`<iq type='error' id='p'>${refusal('cancel', 'item-not-found')}</iq>`);
};
async function registers(peer: Peer, name: string): Promise<void> {
  await peer.sends(registration(name));
  await peer.receives(`<iq type='result' id='r'/>`);
}
const isRefused = async (peer: Peer, name: string, type: string, condition: string): Promise<void> => {
  await peer.sends(registration(name));
  await peer.receives(`<iq type='error' id='r'>${refusal(type, condition)}</iq>`);
};

/** Logs in as a new user, whose account is deleted at the end. */
async function arrives(scene: Scene, name: string): Promise<Peer> {
  const peer = await scene.actor(`${name}@localhost/new`, { password: 'pencil', presence: true });
  return peer;
}
const removes = async ({ stage }: Scene, ...names: readonly string[]): Promise<void> => {
  for (const name of names) await stage.home(`${name}@localhost`).accounts.remove(`${name}@localhost`);
};

scenario('XEP-0445 §3, §4: offered, and an account is registered with a token', async (scene) => {
  const token = await made(scene);
  const peer = await scene.connect({ transport: 'starttls' });
  await peer.opens();
  const features = await peer.receivesFeatures();
  for (const ns of [NS.ibrToken, NS.invite, NS.registerFeature]) assert.ok(features.getChild('register', ns), ns);
  // Without a token it is closed.
  await isRefused(peer, 'paris', 'cancel', 'service-unavailable');
  await shows(peer, token);
  await peer.sends(`<iq type='get' id='f'><query xmlns='${NS.register}'/></iq>`);
  await peer.receives(`<iq type='result' id='f'><query xmlns='${NS.register}'><username/><password/></query></iq>`);
  await registers(peer, 'paris');
  await (await arrives(scene, 'paris')).receivesNothing();
  // It was for one account.
  await isRefused(peer, 'rosaline', 'cancel', 'not-allowed');
  await isUnknown(await visits(scene), token);
  await removes(scene, 'paris');
});

scenario('XEP-0445 §4: a token is used only by a registration that succeeds, and by one of many', async (scene) => {
  const token = await made(scene);
  const peers = await Promise.all([1, 2, 3].map(() => visits(scene)));
  for (const peer of peers) await shows(peer, token);
  await scene.stage.account(romeo);
  await isRefused(peers[0]!, 'romeo', 'cancel', 'conflict');
  await Promise.all(peers.map((peer, at) => peer.sends(registration(`many${at}`))));
  const answers = await Promise.all(peers.map((peer) => peer.receivesAny()));
  const winners = answers.flatMap(({ attrs }, at) => (attrs.type === 'result' ? [`many${at}`] : []));
  assert.equal(winners.length, 1);
  await removes(scene, ...winners);
});

// Alone, because it leaves the clock of its limits in the future.
scenario('XEP-0445 §4: only showing a token depends on its expiry', { alone: true }, async (scene) => {
  const token = await made(scene, { seconds: 10 });
  const [early, late] = [await visits(scene), await visits(scene)];
  await shows(early, token);
  const clocks = takeClocks();
  try {
    clocks.pass(11_000);
    await isUnknown(late, token);
    await registers(early, 'paris');
  } finally {
    clocks.restore();
  }
  await removes(scene, 'paris');
});

scenario('XEP-0445 §5: a name is reserved for whom it is meant', async (scene) => {
  const [token, other] = [await made(scene, { name: 'juliet' }), await made(scene)];
  await assert.rejects(made(scene, { name: 'juliet' }), /not available/);
  const [peer, stranger] = [await visits(scene), await visits(scene)];
  await shows(stranger, other);
  await isRefused(stranger, 'juliet', 'cancel', 'conflict');
  await isRefused(stranger, 'JULIET', 'cancel', 'conflict');
  await shows(peer, token);
  await isRefused(peer, 'rosaline', 'cancel', 'not-allowed');
  await registers(peer, 'juliet');
  await registers(stranger, 'rosaline');
  await removes(scene, 'juliet', 'rosaline');
});

scenario('XEP-0401 §5.2: the page of an invitation', async (scene) => {
  const seconds = 100;
  const wanted = { registers: true, connects: true, uses: 1, by: romeo, seconds };
  await scene.stage.account(romeo);
  const { uri, url } = await invitesOf(scene).make(wanted);
  const { pathname, origin } = new URL(url!);
  assert.equal(origin, scene.stage.nodes[0]!.host('localhost')!.publicUrl);
  const phone = { 'user-agent': 'Mozilla/5.0 (Linux; Android 16; K)', accept: 'text/html' };
  const { status, headers, text } = await ask(scene, 'http', pathname, { headers: phone });
  assert.equal(status, 200);
  assert.ok(text.includes(`href="${uri}"`));
  assert.match(text, /romeo@localhost invites you to chat/);
  assert.match(text, /<ul>\n<li>Android: /);
  assert.doesNotMatch(text, / on\w+=/);
  assert.equal(headers['cache-control'], 'no-store');
  assert.match(
    String(headers['content-security-policy']),
    /^default-src 'none'; style-src 'sha256-\S+'; script-src 'sha256-\S+'; /,
  );
  assert.equal(headers['referrer-policy'], 'no-referrer');
  for (const wrong of [
    '/invite',
    '/invite/',
    `${pathname}x`,
    `${pathname}/`,
    '/invite/..%2f',
    '/invite/%3Cscript%3E',
  ]) {
    const none = await ask(scene, 'http', wrong, { headers: phone });
    assert.equal(none.status, 404, wrong);
    assert.doesNotMatch(none.text, /<script>/);
  }
  // It can be looked at any number of times before it is used.
  const peer = await visits(scene);
  await shows(peer, tokenIn(uri));
  await registers(peer, 'paris');
  assert.equal((await ask(scene, 'http', pathname, { headers: phone })).status, 404);
  await removes(scene, 'paris');
});

/** Sends the form of a page, each time from another address. */
const signsUp = (
  scene: Scene,
  path: string,
  fields: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
) =>
  ask(scene, 'http', path, {
    method: 'POST',
    body: new URLSearchParams(fields).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'text/html', ...headers },
  });

scenario('XEP-0401 §5.2: an account is made on the page, in the language of the visitor', async (scene) => {
  const { url } = await invitesOf(scene).make({ registers: true, connects: false, uses: 2 });
  const { pathname } = new URL(url!);
  const german = { 'accept-language': 'fr, de-AT;q=0.9, en;q=0.5' };
  const { text, headers } = await ask(scene, 'http', pathname, { headers: german });
  assert.match(text, /<html lang="de">[\s\S]*<form method="post">[\s\S]*Konto anlegen/);
  assert.equal(headers['content-language'], 'de');
  assert.match(String(headers['content-security-policy']), /form-action 'self'/);
  const made = await signsUp(scene, pathname, { name: ' Paris ', password: 'pencil' }, german);
  assert.equal(made.status, 201);
  assert.match(made.text, /Ihre Adresse ist paris@localhost/);
  assert.doesNotMatch(made.text, /pencil/);
  await (await arrives(scene, 'paris')).receivesNothing();
  // Refused forms say why, and use nothing up.
  const markup = `"><script>`;
  for (const [fields, status, why] of [
    [{ name: 'paris', password: 'pencil' }, 409, /role="alert">This name is not available/],
    [{ name: '', password: 'pencil' }, 422, /role="alert"/],
    [{ name: 'rosaline', password: '' }, 422, /role="alert"[\s\S]*value="rosaline"/],
    [{ name: markup, password: 'pencil' }, 422, /value="&quot;&gt;&lt;script&gt;"/],
    [{ name: 'rosaline@elsewhere.example', password: 'pencil' }, 422, /role="alert"/],
    [{ name: 'root', password: 'pencil' }, 409, /role="alert"/],
    [{ name: 'a'.repeat(2000), password: 'pencil' }, 422, /role="alert"/],
  ] as const) {
    const answer = await signsUp(scene, pathname, fields);
    assert.equal(answer.status, status, fields.name);
    assert.match(answer.text, why);
  }
  const tooLong = await signsUp(scene, pathname, { name: 'rosaline', password: 'a'.repeat(9000) });
  assert.equal(tooLong.status, 413);
  const plain = await signsUp(
    scene,
    pathname,
    { name: 'rosaline', password: 'pencil' },
    { 'content-type': 'text/plain' },
  );
  assert.equal(plain.status, 415);
  await removes(scene, 'paris');
});

scenario(
  'XEP-0401 §5.2: of many who send the same form at once, one gets an account',
  { config: { modules: { register: { per_address: 100 } } } },
  async (scene) => {
    const { url } = await invitesOf(scene).make({ registers: true, connects: false, uses: 1 });
    const { pathname } = new URL(url!);
    const tries = ['paris', 'paris', 'rosaline', 'benvolio'].map((name) =>
      signsUp(scene, pathname, { name, password: 'pencil' }),
    );
    const statuses = (await Promise.all(tries)).map(({ status }) => status);
    assert.equal(statuses.filter((status) => status === 201).length, 1, statuses.join(' '));
    assert.deepEqual(
      statuses.filter((status) => ![201, 404, 409].includes(status)),
      [],
    );
    assert.equal((await signsUp(scene, pathname, { name: 'tybalt', password: 'pencil' })).status, 404);
    const names = ['paris', 'rosaline', 'benvolio'];
    const exist = await Promise.all(names.map((name) => scene.server.accounts.exists(`${name}@localhost`)));
    await removes(scene, ...names.filter((_, at) => exist[at]));
    assert.equal(exist.filter(Boolean).length, 1);
  },
);

scenario('an invitation for a name has it in its form; one for contacts has none', async (scene) => {
  await scene.stage.account(romeo);
  const named = await invitesOf(scene).make({ name: 'rosaline', registers: true, connects: false, uses: 1 });
  const { pathname } = new URL(named.url!);
  assert.match((await ask(scene, 'http', pathname)).text, /value="rosaline"[^>]* readonly>/);
  assert.equal((await signsUp(scene, pathname, { name: 'benvolio', password: 'pencil' })).status, 409);
  assert.equal((await signsUp(scene, pathname, { name: 'rosaline', password: 'pencil' })).status, 201);
  const contact = await invitesOf(scene).make({ by: romeo, registers: false, connects: true, uses: 1 });
  const page = new URL(contact.url!).pathname;
  assert.doesNotMatch((await ask(scene, 'http', page)).text, /<form/);
  assert.equal((await signsUp(scene, page, { name: 'benvolio', password: 'pencil' })).status, 403);
  await removes(scene, 'rosaline');
});

scenario('the QR code of the page has the link of the invitation', async (scene) => {
  const { uri, url } = await invitesOf(scene).make({ registers: true, connects: false, uses: 1 });
  const { text } = await ask(scene, 'http', new URL(url!).pathname);
  assert.equal(decoded(text), uri);
});

/** What a QR code in a page says, read by a library that shares no code with the one that draws it. */
function decoded(page: string): string | undefined {
  const [, size = ''] = /<svg [^>]*viewBox="0 0 (\d+) \d+"/.exec(page)!;
  const [, path = ''] = /<path d="([^"]+)"/.exec(page)!;
  const scale = 4;
  const width = Number(size) * scale;
  const pixels = new Uint8ClampedArray(width * width * 4).fill(255);
  let x = 0;
  let y = 0;
  // Each module is a square: a move, absolute or relative, and three lines.
  for (const [, command, right, down] of path.matchAll(/([Mm])(-?\d+)[ ,]?(-?\d+)h1v1[Hh]-?\d+Z/g)) {
    x = command === 'M' ? Number(right) : x + Number(right);
    y = command === 'M' ? Number(down) : y + Number(down);
    for (let row = y * scale; row < (y + 1) * scale; row++)
      for (let column = x * scale; column < (x + 1) * scale; column++)
        pixels.fill(0, (row * width + column) * 4, (row * width + column) * 4 + 3);
  }
  return jsqr.default(pixels, width, width)?.data;
}

scenario('an invitation makes an administrator, while its maker is one', admins, async (scene) => {
  const admin = await scene.actor('admin@localhost/desk');
  await admin.sends(command('create-account'));
  const { sessionid } = (await admin.receivesAny()).getChild('command', NS.commands)!.attrs;
  const submitted = `<x xmlns='${NS.dataForms}' type='submit'><field var='admin'><value>1</value></field></x>`;
  await admin.sends(command('create-account', submitted, ` sessionid='${sessionid}' action='complete'`));
  const { pathname } = new URL(fieldOf(await admin.receivesAny(), 'landing-url')!);
  assert.equal((await signsUp(scene, pathname, { name: 'paris', password: 'pencil' })).status, 201);
  const of = (bare: string) => scene.stage.home(bare).accounts;
  assert.equal((await of('paris@localhost').get('paris@localhost'))?.role, 'admin');
  // Rosaline is one no more when hers is used.
  await scene.stage.account('rosaline@localhost');
  await of('rosaline@localhost').setRole('rosaline@localhost', 'admin');
  const wanted = { by: 'rosaline@localhost', role: 'admin', registers: true, connects: false, uses: 1 } as const;
  const { url } = await invitesOf(scene).make(wanted);
  await of('rosaline@localhost').setRole('rosaline@localhost', 'user');
  assert.equal((await signsUp(scene, new URL(url!).pathname, { name: 'tybalt', password: 'pencil' })).status, 409);
  await removes(scene, 'paris');
});

const command = (node: string, inner = '', more = ''): string =>
  `<iq type='set' id='c' to='localhost'><command xmlns='${NS.commands}' node='urn:xmpp:invite#${node}'${more}>${inner}</command></iq>`;

const fieldOf = (answer: Element, name: string): string | undefined =>
  answer
    .getChild('command', NS.commands)
    ?.getChild('x', NS.dataForms)
    ?.getChildren('field')
    .find(({ attrs }) => attrs.var === name)
    ?.getChildText('value') ?? undefined;

async function invites(peer: Peer): Promise<string> {
  await peer.sends(command('invite'));
  const answer = await peer.receives(
    `<iq type='result' id='c'><command xmlns='${NS.commands}' status='completed'><x xmlns='${NS.dataForms}' type='result'>
      <field var='FORM_TYPE'><value>urn:xmpp:invite#invitation</value></field>
      <field var='uri'/><field var='expire'/></x></command></iq>`,
  );
  return fieldOf(answer, 'uri')!;
}

scenario(
  'XEP-0401 §5.4, §5.5: an administrator invites to an account, and both are contacts',
  admins,
  async (scene) => {
    const admin = await scene.actor('admin@localhost/desk', { presence: true });
    await admin.sends(`<iq type='get' id='g'><query xmlns='${NS.roster}'/></iq>`);
    await admin.receives(`<iq type='result' id='g'/>`);
    await admin.sends(command('create-account'));
    const asked = await admin.receives(
      `<iq type='result' id='c'><command xmlns='${NS.commands}' status='executing' sessionid='*'><actions><complete/></actions>
      <x xmlns='${NS.dataForms}' type='form'><field var='username'/><field var='roster-subscription'/></x></command></iq>`,
    );
    const { sessionid } = asked.getChild('command', NS.commands)!.attrs;
    const submitted = `<x xmlns='${NS.dataForms}' type='submit'><field var='username'><value>paris</value></field>
    <field var='roster-subscription'><value>1</value></field></x>`;
    await admin.sends(command('create-account', submitted, ` sessionid='${sessionid}' action='complete'`));
    const uri = fieldOf(await admin.receivesAny(), 'uri')!;
    assert.match(uri, /^xmpp:paris@localhost\?register;preauth=[\w-]{20,}$/);
    const peer = await visits(scene);
    await shows(peer, tokenIn(uri));
    await registers(peer, 'paris');
    await admin.receives(
      `<iq type='set'><query xmlns='${NS.roster}'><item jid='paris@localhost' subscription='both'/></query></iq>`,
    );
    const paris = await scene.actor('paris@localhost/new', { password: 'pencil' });
    await paris.sends('<presence/>');
    await admin.receives(`<presence from='${paris.jid}'/>`);
    await paris.receivesAnyOrder([`<presence from='${paris.jid}'/>`, `<presence from='${admin.jid}'/>`]);
    await removes(scene, 'paris');
  },
);

scenario('XEP-0401 §5.1: a user invites a contact; XEP-0379: who has an account becomes one', async (scene) => {
  const inviter = await scene.actor(`${romeo}/orchard`, { presence: true });
  const contact = await scene.actor('juliet@elsewhere.example/balcony', { presence: true });
  const uri = await invites(inviter);
  assert.match(uri, /^xmpp:romeo@localhost\?roster;preauth=[\w-]{20,}$/);
  // It is not for registration.
  await isUnknown(await visits(scene), tokenIn(uri));
  await contact.sends(`<presence to='${romeo}' type='subscribed'/>`);
  await contact.sends(
    `<presence to='${romeo}' type='subscribe'><preauth xmlns='${NS.pars}' token='${tokenIn(uri)}'/></presence>`,
  );
  await contact.syncs();
  await inviter.syncs();
  await contact.syncs();
  inviter.forgets();
  contact.forgets();
  for (const [peer, other] of [
    [inviter, 'juliet@elsewhere.example'],
    [contact, romeo],
  ] as const) {
    await peer.sends(`<iq type='get' id='g'><query xmlns='${NS.roster}'/></iq>`);
    await peer.receives(
      `<iq type='result' id='g'><query xmlns='${NS.roster}'><item jid='${other}' subscription='both'/></query></iq>`,
    );
  }
  // It was for one person: another one has to be approved as usual.
  const third = await scene.actor('tybalt@elsewhere.example/street', { presence: true });
  await third.sends(
    `<presence to='${romeo}' type='subscribe'><preauth xmlns='${NS.pars}' token='${tokenIn(uri)}'/></presence>`,
  );
  await inviter.receives(`<presence type='subscribe' from='tybalt@elsewhere.example'/>`);
  await third.receivesNothing();
});

scenario(
  'XEP-0401 §5.1: with ibr=y the invited may also register',
  { config: { modules: { invites: { accounts: true } } } },
  async (scene) => {
    const inviter = await scene.actor(`${romeo}/orchard`, { presence: true });
    const uri = await invites(inviter);
    assert.match(uri, /^xmpp:romeo@localhost\?roster;preauth=[\w-]{20,};ibr=y$/);
    const peer = await visits(scene);
    await shows(peer, tokenIn(uri));
    await registers(peer, 'paris');
    const paris = await arrives(scene, 'paris');
    await paris.sends(`<iq type='get' id='g'><query xmlns='${NS.roster}'/></iq>`);
    await paris.receives(
      `<iq type='result' id='g'><query xmlns='${NS.roster}'><item jid='${romeo}' subscription='both'/></query></iq>`,
    );
    await removes(scene, 'paris');
  },
);

scenario('who may not invite, and tokens that are none', admins, async (scene) => {
  const user = await scene.actor(`${romeo}/orchard`, { presence: true });
  await user.sends(command('create-account'));
  await user.receives(`<iq type='error' id='c'><error/></iq>`);
  const token = await made(scene);
  const peer = await visits(scene);
  for (const wrong of ['', ' ', `${token} `, token.slice(1), token.toUpperCase(), 'a'.repeat(5000)])
    await isUnknown(peer, wrong);
  const id = (await invitesOf(scene).list()).at(-1)![0];
  assert.equal(await invitesOf(scene).revoke(id.slice(0, 12)), true);
  assert.equal(await invitesOf(scene).revoke(id), false);
  await isUnknown(peer, token);
});

scenario(
  'invitations and attempts are bounded',
  { config: { modules: { invites: { per_account: 2, pending: 3 } } }, alone: true },
  async (scene) => {
    const inviter = await scene.actor(`${romeo}/orchard`, { presence: true });
    for (let made = 0; made < 2; made++) await invites(inviter);
    await inviter.sends(command('invite'));
    await inviter.receives(`<iq type='error' id='c'>${refusal('wait', 'resource-constraint')}</iq>`);
    await made(scene);
    await assert.rejects(made(scene), /too many/);
    assert.equal(await hits(scene, 'invites'), 2);
    const peer = await visits(scene);
    for (let tries = 0; tries < 60; tries++) await isUnknown(peer, 'guess');
    await peer.sends(preauth('guess'));
    await peer.receives(`<iq type='error' id='p'>${refusal('wait', 'resource-constraint')}</iq>`);
  },
);
