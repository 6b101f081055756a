/**
 * Stored data stays in the order of reception, with increasing ids and timestamps (XEP-0313 §3.1, §4.1; XEP-0203;
 * XEP-0059), when the wall clock is set an hour forward or back, while the server runs or between two runs.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { Client } from '../durability/client.js';
import { ServerProcess } from '../interop/server.js';

const hour = 3_600_000;
const secret = 'pencil';
const room = 'orchard@conference.localhost';
const each = 4;
const usual = {
  accounts: { 'romeo@localhost': secret, 'juliet@localhost': secret },
  config: { c2s: { allow_plain_tcp_on_loopback: true, allow_sasl_plain_without_tls: true } },
};

/** Sent and received bodies, in the order of both. */
class Play {
  readonly said: string[] = [];
  readonly server: ServerProcess;
  romeo!: Client;

  readonly #join = `<presence to='${room}/romeo'><x xmlns='${NS.muc}'/></presence>`;

  constructor(server: ServerProcess) {
    this.server = server;
  }

  client(address: string, received?: (stanza: Element) => void, greeting: readonly string[] = []): Client {
    const port = () => this.server.port('c2s');
    return new Client({ address, password: secret, port, greeting, ...(received && { received }) });
  }

  async enters(): Promise<void> {
    this.romeo = this.client('romeo@localhost/garden', undefined, ['<presence/>', this.#join]);
    await this.romeo.connect();
    // The room is made as its creator wants it, and lasts.
    const form =
      `<x xmlns='jabber:x:data' type='submit'>` +
      `<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>` +
      `<field var='muc#roomconfig_persistentroom'><value>1</value></field></x>`;
    await this.romeo.request('set', `<query xmlns='${NS.mucOwner}'>${form}</query>`, room);
  }

  /** After a restart: occupants of rooms have to enter again. */
  async comesBack(): Promise<void> {
    await this.romeo.connect();
    this.romeo.send(this.#join);
  }

  /** Some messages to an account that is away and to a room, and items; resolves once they are durable. */
  async says(): Promise<void> {
    const acknowledged: Promise<void>[] = [];
    const send = (xml: string) =>
      acknowledged.push(new Promise((resolve) => this.romeo.send(xml, { acknowledged: resolve })));
    for (let n = 0; n < each; n++) {
      const body = `m${String(this.said.length).padStart(3, '0')}`;
      this.said.push(body);
      send(`<message to='juliet@localhost' type='chat'><body>${body}</body></message>`);
      send(`<message to='${room}' type='groupchat'><body>${body}</body></message>`);
      const item = `<item id='${body}'><note xmlns='urn:example:note'>${body}</note></item>`;
      const options =
        `<publish-options><x xmlns='jabber:x:data' type='submit'>` +
        `<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>` +
        `<field var='pubsub#max_items'><value>100</value></field></x></publish-options>`;
      send(
        `<iq type='set' id='p${body}'><pubsub xmlns='${NS.pubsub}'><publish node='urn:example:note'>${item}</publish>` +
          `${options}</pubsub></iq>`,
      );
    }
    await Promise.all(acknowledged);
  }
}

interface Archived {
  readonly id: string;
  readonly stamp: string;
  readonly body: string;
}

const archived = (stanza: Element): Archived | undefined => {
  const result = stanza.getChild('result', NS.mam);
  const forwarded = result?.getChild('forwarded', NS.forward);
  const body = forwarded?.getChild('message')?.getChildText('body') ?? undefined;
  if (result === undefined || body === undefined) return undefined;
  return { id: result.attrs.id!, stamp: forwarded!.getChild('delay', NS.delay)!.attrs.stamp!, body };
};

const rsm = (inner: string) => `<set xmlns='http://jabber.org/protocol/rsm'>${inner}</set>`;

function assertRising(values: readonly string[], what: string): void {
  for (const [index, value] of values.entries())
    if (index > 0) assert.ok(value > values[index - 1]!, `${what}: ${value} after ${values[index - 1]}`);
}

async function assertArchive(asker: Client, taken: Element[], said: readonly string[], to?: string): Promise<void> {
  const page = async (set: string): Promise<Archived[]> => {
    taken.length = 0;
    await asker.request('set', `<query xmlns='${NS.mam}'>${rsm(set)}</query>`, to);
    return taken.flatMap((stanza) => archived(stanza) ?? []);
  };
  const all = await page('<max>100</max>');
  assert.deepEqual(
    all.map(({ body }) => body),
    said,
  );
  assertRising(
    all.map(({ id }) => id),
    'ids',
  );
  assertRising(
    all.map(({ stamp }) => stamp),
    'stamps',
  );
  for (const stamp of all.map(({ stamp }) => Date.parse(stamp))) assert.ok(!Number.isNaN(stamp));
  for (let n = 0; n + 1 < all.length; n++) {
    const [next] = await page(`<max>1</max><after>${all[n]!.id}</after>`);
    assert.equal(next?.body, all[n + 1]!.body, `after ${all[n]!.body}`);
  }
}

async function assertOrder(play: Play): Promise<void> {
  const { said } = play;
  const taken: Element[] = [];
  const isSent = (text: string | null | undefined) => /^m\d{3}$/.test(text ?? '');

  // XEP-0160: what waited comes in order, with rising stamps (XEP-0203 §4).
  const juliet = play.client('juliet@localhost/balcony', (stanza) => taken.push(stanza), ['<presence/>']);
  await juliet.connect();
  await juliet.request('get', `<ping xmlns='urn:xmpp:ping'/>`);
  await juliet.request('get', `<ping xmlns='urn:xmpp:ping'/>`);
  const waited = taken.filter((stanza) => isSent(stanza.getChildText('body')));
  assert.deepEqual(
    waited.map((stanza) => stanza.getChildText('body')),
    said,
  );
  assertRising(
    waited.map((stanza) => stanza.getChild('delay', NS.delay)!.attrs.stamp!),
    'stamps of what waited',
  );
  await assertArchive(juliet, taken, said);

  // XEP-0430: the conversation with the latest message is last.
  taken.length = 0;
  await juliet.request('get', `<inbox xmlns='${NS.inbox}' messages='true'/>`);
  const inbox = taken.flatMap((stanza) => archived(stanza)?.body ?? []);
  assert.deepEqual(inbox, [said.at(-1)]);

  // XEP-0045 §7.2.13: the history of a room, and its archive.
  taken.length = 0;
  juliet.send(`<presence to='${room}/juliet'><x xmlns='${NS.muc}'/></presence>`);
  await juliet.request('get', `<ping xmlns='urn:xmpp:ping'/>`, room);
  const history = taken.filter((stanza) => stanza.attrs.type === 'groupchat' && isSent(stanza.getChildText('body')));
  const arrived = history.map((stanza) => stanza.getChildText('body')!);
  assert.ok(arrived.length >= Math.min(said.length, 20));
  assert.deepEqual(arrived, said.slice(-arrived.length));
  assertRising(
    history.map((stanza) => stanza.getChild('delay', NS.delay)!.attrs.stamp!),
    'stamps of the history',
  );
  await assertArchive(juliet, taken, said, room);
  await juliet.leave();

  // XEP-0060 §6.5.7: the most recent items are those that were published last.
  const items = await play.romeo.request(
    'get',
    `<pubsub xmlns='${NS.pubsub}'><items node='urn:example:note' max_items='3'/></pubsub>`,
  );
  const ids = items
    .getChild('pubsub', NS.pubsub)!
    .getChild('items')!
    .getChildren('item')
    .map(({ attrs }) => attrs.id!);
  assert.deepEqual([...ids].sort(), said.slice(-3));
}

// How far the clock is ahead of the real one in each run. The last two are behind an earlier one.
const runs = [0, hour, -hour, -hour] as const;

for (const way of ['stop', 'kill'] as const) {
  test(`the clock is set forward and back between runs (${way})`, { timeout: 300_000 }, async () => {
    const server = await ServerProcess.start(usual);
    try {
      const play = new Play(server);
      await play.enters();
      await play.says();
      for (const clock of runs.slice(1)) {
        await server[way]();
        await server.start({ clock });
        await play.comesBack();
        await play.says();
      }
      await assertOrder(play);
    } finally {
      await server.close();
    }
  });
}

for (const [title, steps] of [
  ['forward and back', [hour, -hour]],
  ['back and forward', [-hour, hour, -2 * hour]],
] as const) {
  test(`the clock is set ${title} an hour while the server runs`, { timeout: 300_000 }, async () => {
    const server = await ServerProcess.start(usual);
    try {
      const play = new Play(server);
      await play.enters();
      await play.says();
      for (const step of steps) {
        await server.step(step);
        await play.says();
        // XEP-0198 §5: a step of the clock ends no session that can be resumed.
        play.romeo.cut();
        await server.step(step);
        await play.romeo.connect();
        assert.equal(play.romeo.refused, 0);
        await server.step(-step);
        await play.says();
      }
      assert.equal(play.romeo.resumed, steps.length);
      await assertOrder(play);
    } finally {
      await server.close();
    }
  });
}

test('a session is resumed after restarts with the clock set forward and back', { timeout: 300_000 }, async () => {
  const server = await ServerProcess.start(usual);
  try {
    const play = new Play(server);
    await play.enters();
    for (const [before, clock] of [hour, -hour].entries()) {
      await server.stop();
      await server.start({ clock });
      await play.romeo.connect();
      assert.deepEqual([play.romeo.resumed, play.romeo.refused], [before + 1, 0]);
    }
  } finally {
    await server.close();
  }
});
