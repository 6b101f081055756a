/**
 * XEP-0198 §5 after a crash (docs/decisions/0004-resumption-after-a-crash.md): a server process is killed. Idle clients
 * resume without loss; others bind a new session.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { patience, ServerProcess, within } from '../interop/server.js';
import { Client } from './client.js';
import { password } from './world.js';

const room = 'hall@conference.localhost';
const names = ['juliet', 'romeo', 'nurse'] as const;

let server: ServerProcess;
const actors: Actor[] = [];
const start = () =>
  ServerProcess.start({
    accounts: Object.fromEntries(names.map((name) => [`${name}@localhost`, password])),
    config: {
      c2s: { allow_plain_tcp_on_loopback: true, allow_sasl_plain_without_tls: true },
      stream_management: { snapshot_after_seconds: 0 },
      modules: {
        disabled: ['proxy65'],
        muc: { lock_new_rooms: false, defaults: { persistent: true } },
        strangers: { local_users: 'known' },
      },
    },
  });

/** A client and its received stanzas, except answers. */
class Actor {
  readonly client: Client;
  readonly arrived: Element[] = [];
  acknowledges = true;

  constructor(address: string, greeting = ['<presence/>']) {
    this.client = new Client({
      address,
      password,
      port: () => server.port('c2s'),
      greeting,
      diligence: () => this.acknowledges,
      received: (stanza) => void this.arrived.push(stanza),
    });
    actors.push(this);
  }

  get address(): string {
    return `${this.client.bare}/${this.client.resource}`;
  }

  /** Resolves when the server has acknowledged everything. */
  says(xml: string): Promise<void> {
    return within(
      patience,
      'an acknowledgement',
      () => new Promise((acknowledged) => this.client.send(xml, { acknowledged })),
    );
  }

  chats(to: string, body: string): Promise<void> {
    return this.says(`<message to='${to}' type='chat' id='${body}'><body>${body}</body></message>`);
  }

  /** Removes matching stanzas from the received ones, waiting until there are enough. */
  async hears(count: number, isWanted: (stanza: Element) => boolean): Promise<Element[]> {
    await within(patience, `${this.address} hearing what it should`, async () => {
      while (this.arrived.filter(isWanted).length < count) await pause(10);
    });
    const found = this.arrived.filter(isWanted);
    for (const stanza of found) this.arrived.splice(this.arrived.indexOf(stanza), 1);
    return found;
  }

  /** The bodies of exactly so many messages. */
  async bodies(count: number): Promise<(string | null)[]> {
    const found = await this.hears(count, hasBody);
    return found.map((message) => message.getChildText('body'));
  }

  /** Everything that is already on its way to it. */
  async syncs(): Promise<void> {
    await this.client.request('get', `<ping xmlns='${NS.ping}'/>`, 'localhost');
  }

  /** How the attempt to go on ended. */
  async returns(): Promise<'resumed' | 'refused'> {
    const { resumed, refused } = this.client;
    await this.client.connect();
    assert.equal(this.client.resumed + this.client.refused, resumed + refused + 1);
    return this.client.resumed > resumed ? 'resumed' : 'refused';
  }
}

/**
 * Resolves once so many sessions have a snapshot. What clients would still acknowledge is acknowledged before: it would make
 * a snapshot stale.
 */
async function stored(count: number): Promise<void> {
  for (const { client, acknowledges } of actors) if (client.online && acknowledges) await client.settles();
  const line = `\nwaxwing_session_snapshots ${count}\n`;
  await within(patience, `${count} sessions being kept`, async () => {
    while (!(await metrics()).includes(line)) await pause(50);
  });
}

async function metrics(): Promise<string> {
  const request = get({ host: '127.0.0.1', port: server.port('http'), path: '/metrics', agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += String(chunk);
  return text;
}

async function crashes(): Promise<void> {
  await server.kill();
  await within(patience, 'the end of connections', async () => {
    while (actors.some(({ client }) => client.online)) await pause(10);
  });
  await server.start();
}

const hasBody = (stanza: Element): boolean => stanza.getChild('body') !== undefined;
const gone = (from: string) => (stanza: Element) =>
  stanza.name === 'presence' && stanza.attrs.type === 'unavailable' && stanza.attrs.from === from;

test('idle clients resume, others start a new session', { timeout: 300_000 }, async (t) => {
  server = await start();
  t.after(() => server.close());
  const juliet = new Actor('juliet@localhost/balcony', [
    '<presence/>',
    `<presence to='${room}/Juliet'><x xmlns='${NS.muc}'/></presence>`,
  ]);
  const romeo = new Actor('romeo@localhost/orchard');
  const nurse = new Actor('nurse@localhost/kitchen');
  for (const one of [juliet, romeo, nurse]) await one.client.connect();
  for (const friend of [romeo, nurse]) {
    await friend.says(`<presence type='subscribe' to='juliet@localhost'/>`);
    await juliet.says(`<presence type='subscribed' to='${friend.client.bare}'/>`);
    await juliet.says(`<presence type='subscribe' to='${friend.client.bare}'/>`);
    await friend.says(`<presence type='subscribed' to='juliet@localhost'/>`);
  }
  for (const one of [juliet, romeo, nurse]) await one.syncs();
  const joined = await juliet.hears(1, ({ attrs: { from } }) => from === `${room}/Juliet`);
  assert.equal(joined.length, 1);
  // Juliet has received one message that she has not acknowledged, and one was not sent to her yet.
  juliet.acknowledges = false;
  await romeo.chats('juliet@localhost', 'unacknowledged');
  await juliet.hears(1, hasBody);
  juliet.client.cut();
  await romeo.chats('juliet@localhost', 'unsent');
  await stored(3);

  await t.test('§5: counts, messages and presence', async () => {
    await romeo.says(`<presence to='nobody@localhost'/>`);
    juliet.arrived.length = 0;
    await crashes();
    assert.equal(await romeo.returns(), 'refused');
    await romeo.chats('juliet@localhost', 'meanwhile');
    juliet.acknowledges = true;
    assert.equal(await juliet.returns(), 'resumed');
    assert.equal(juliet.client.unacknowledged, 0);
    await juliet.syncs();
    assert.deepEqual(await juliet.bodies(2), ['unsent', 'meanwhile']);
    assert.equal(await nurse.returns(), 'resumed');
    await nurse.chats(juliet.address, 'from the nurse');
    await juliet.chats(nurse.address, 'from Juliet');
    assert.deepEqual(await juliet.bodies(1), ['from the nurse']);
    assert.deepEqual(await nurse.bodies(1), ['from Juliet']);
  });

  await t.test('XEP-0045 §11.2: the user is notified that she left the room', async () => {
    const [farewell, ...more] = await juliet.hears(1, gone(`${room}/Juliet`));
    assert.deepEqual(more, []);
    const x = farewell?.getChild('x', NS.mucUser);
    assert.deepEqual(
      x?.getChildren('status').map(({ attrs }) => attrs.code),
      ['110', '332'],
    );
    const { affiliation, role } = x?.getChild('item')?.attrs ?? {};
    assert.deepEqual([affiliation, role], ['owner', 'none']);
  });

  await t.test('RFC 6121 §4.5: contacts are notified of the lost session, and of its successor', async () => {
    const arrived = await juliet.hears(2, ({ name, attrs }) => name === 'presence' && attrs.from === romeo.address);
    assert.deepEqual(
      arrived.map(({ attrs }) => attrs.type),
      ['unavailable', undefined],
    );
    assert.deepEqual(juliet.arrived.filter(gone(nurse.address)), [], 'the nurse was not lost');
  });

  await t.test('repeatedly, as long as the session is idle', async () => {
    await stored(3);
    await crashes();
    await stored(3);
    await crashes();
    for (const one of [juliet, romeo, nurse]) {
      one.arrived.length = 0;
      assert.equal(await one.returns(), 'resumed');
      await one.syncs();
      assert.deepEqual(one.arrived, []);
    }
  });

  await t.test('events that make a snapshot stale shortly before', async () => {
    await stored(3);
    // Romeo by sending, Juliet by receiving, the nurse not at all.
    await romeo.chats('juliet@localhost', 'just before');
    await crashes();
    assert.deepEqual(await juliet.bodies(1), ['just before']);
    assert.equal(await juliet.returns(), 'refused');
    assert.equal(await romeo.returns(), 'refused');
    assert.equal(await nurse.returns(), 'resumed');
    await romeo.chats('juliet@localhost', 'after');
    await juliet.syncs();
    // What came just before may come again.
    const after = await juliet.hears(1, (stanza) => stanza.getChildText('body') === 'after');
    assert.equal(after.length, 1);
    assert.equal(romeo.arrived.filter(({ attrs }) => attrs.type === 'error').length, 0);
  });

  await t.test(
    'a client that received more than its snapshot has starts a new session, and nothing is lost',
    async () => {
      await stored(3);
      juliet.client.cut();
      await romeo.chats('juliet@localhost', 'while she is away');
      await stored(3);
      juliet.arrived.length = 0;
      // The snapshot has the message as undelivered. She receives it, but does not acknowledge it.
      juliet.acknowledges = false;
      assert.equal(await juliet.returns(), 'resumed');
      await juliet.hears(1, hasBody);
      await romeo.chats('juliet@localhost', 'one more');
      await juliet.hears(1, hasBody);
      await crashes();
      juliet.acknowledges = true;
      assert.equal(await juliet.returns(), 'refused');
      await juliet.syncs();
      assert.deepEqual(await juliet.bodies(2), ['while she is away', 'one more']);
    },
  );
  assert.deepEqual(
    [juliet, romeo, nurse].flatMap(({ client }) => client.streamErrors),
    [],
  );
});
