/** How clients use their archive (XEP-0313): paging, catching up, searching; compared with live messages. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { NS } from '../../src/server/stanza/ns.js';
import type { Device, Page, Query } from './device.js';
import { patience } from './server.js';
import { Stage, without } from './stage.js';
import { steps } from './steps.js';
import { type Way, ways } from './ways.js';

const stage = Stage.forThisFile();

/** Each library once as the reader. */
const pairs: readonly (readonly [Way, Way])[] = [
  [ways.xmppJsTls, ways.slixmppTls],
  [ways.stanzaJs, ways.strophe],
  [ways.slixmppTls, ways.stanzaJs],
  [ways.strophe, ways.xmppJsWebSocket],
];

for (const [one, other] of pairs) {
  const skip = without(one.program) || without(other.program);
  describe(`${one.name}; with ${other.name}`, { skip, concurrency: false }, () => read(one, other));
}

function read(one: Way, other: Way): void {
  const step = steps();
  let a: Device;
  let second: Device;
  let b: Device;
  let juliet: string;
  let romeo: string;
  /** Sent messages in order, with their ids in the archive of `a`. */
  const sent: { readonly body: string; readonly id: string }[] = [];

  const received = async (device: Device, body: string, wanted: object = {}): Promise<string> => {
    const id = (await device.inbox.next('message', { body, ...wanted })).ids[juliet];
    assert.ok(id !== undefined, `there is no id with ${body}`);
    return id;
  };

  step('live messages and carbons have the ids of the archive', async () => {
    const account = stage.account('phone');
    a = await stage.keep(one.device(account, stage.port(one.listener)));
    second = await stage.keep(one.device({ ...account, resource: 'desk' }, stage.port(one.listener)));
    b = await stage.keep(other.device(stage.account('home'), stage.port(other.listener)));
    await Promise.all([a.online(), second.online(), b.online()]);
    juliet = bare(a.jid);
    romeo = bare(b.jid);
    await second.enableCarbons();
    for (let number = 0; number < 12; number++) {
      const body = `live ${number} <&>`;
      if (number % 3 === 2) {
        await a.say(romeo, body);
        await b.inbox.next('message', { body });
        sent.push({ body, id: await received(second, body, { carbon: 'sent' }) });
      } else {
        await b.say(a.jid, body);
        const id = await received(a, body);
        assert.equal(await received(second, body, { carbon: 'received' }), id);
        sent.push({ body, id });
      }
    }
    assert.deepEqual(reported(await a.history({ with: romeo, max: 50 })), sent);
    assert.deepEqual(reported(await second.history({ max: 50 })), sent);
  });

  step('pages forward and backward', async () => {
    for (const max of [1, 5, 12]) {
      assert.deepEqual(await pages(a, { with: romeo, max }), sent);
      assert.deepEqual(await pages(a, { with: romeo, max, before: '' }), sent);
    }
    const middle = await a.history({ with: romeo, after: sent[3]!.id, max: 3 });
    assert.deepEqual(reported(middle), sent.slice(4, 7));
    assert.equal(middle.isLast, false);
    const earlier = await a.history({ with: romeo, before: sent[3]!.id, max: 50 });
    assert.deepEqual(reported(earlier), sent.slice(0, 3));
    assert.equal(earlier.isLast, true);
    await assert.rejects(a.history({ after: 'nothing-has-this-id', max: 5 }), /item-not-found/);
    assert.deepEqual(reported(await a.history({ with: 'nobody@localhost', max: 5 })), []);
  });

  step('a returning client reads what follows its last message, and recognises it when it arrives live', async () => {
    await Promise.all([a.offline(), second.offline()]);
    await b.ping('localhost');
    const last = sent.at(-1)!.id;
    const missed = Array.from({ length: 7 }, (_, number) => `missed ${number}`);
    for (const body of missed) await b.say(juliet, body);
    // Answered after them.
    await b.ping('localhost');
    await a.online();
    const found = await pages(a, { after: last, max: 3 });
    assert.deepEqual(
      found.map(({ body }) => body),
      missed,
    );
    if (one.readsArchive !== true)
      for (const { body, id } of found) assert.equal(await received(a, body, { delayed: true }), id);
    sent.push(...found);
    assert.deepEqual(a.inbox.take('message'), [], 'nothing came twice');
    await a.offline();
    await a.online();
    await a.ping('localhost');
    assert.deepEqual(a.inbox.take('message'), [], 'what was read came again');
    await second.online();
    await second.ping('localhost');
    assert.deepEqual(second.inbox.take('message'), [], 'what another device was sent came again');
    assert.deepEqual(reported(await second.history({ max: 50 })), sent);
  });

  step('searches by time and by words', async () => {
    await untilNextSecond();
    const start = new Date();
    for (const body of ['the Nightingale & the lark', 'no bird at all']) {
      await b.say(a.jid, body);
      sent.push({ body, id: await received(a, body) });
    }
    assert.deepEqual(reported(await a.history({ start, max: 50 })), sent.slice(-2));
    assert.ok((await a.features(juliet)).includes(NS.fullText));
    assert.deepEqual(reported(await a.history({ text: 'nightingale', max: 50 })), sent.slice(-2, -1));
    assert.deepEqual(reported(await a.history({ text: 'lark', with: romeo, max: 50 })), sent.slice(-2, -1));
    assert.deepEqual(reported(await a.history({ text: 'owl', max: 50 })), []);
  });

  step('a retracted message is a tombstone (XEP-0424)', async () => {
    const [author, reader] = b.retract === undefined ? [a, b] : [b, a];
    assert.ok(author.retract !== undefined);
    const to = bare(reader.jid);
    const id = crypto.randomUUID();
    await author.say(to, 'a mistake', id);
    await reader.inbox.next('message', { body: 'a mistake' });
    await author.retract(to, id);
    if (reader.retract !== undefined) await reader.inbox.next('retracted', { from: author.jid, id });
    for (const device of [a, b]) {
      // The tombstone follows the retraction.
      const buried = await until(async () => {
        const { messages } = await device.history({ with: device === a ? romeo : juliet, before: '', max: 2 });
        const [original] = messages;
        return original?.body === '' ? original : undefined;
      });
      if (device.retract !== undefined) assert.equal(buried.isTombstone, true);
    }
    sent.length = 0;
  });

  step('preferences exclude messages (XEP-0441)', async () => {
    const count = async (device: Device, text: string) => (await device.history({ text, max: 50 })).messages.length;
    const { default: usual } = await a.preferences();
    assert.equal(usual, 'always');
    await a.setPreferences({ default: 'always', always: [], never: [romeo] });
    assert.deepEqual(await a.preferences(), { default: 'always', always: [], never: [romeo] });
    await b.say(a.jid, 'unrecorded');
    await a.inbox.next('message', { body: 'unrecorded' });
    await a.setPreferences({ default: 'roster', always: [romeo], never: [] });
    await b.say(a.jid, 'recorded');
    await a.inbox.next('message', { body: 'recorded' });
    assert.deepEqual([await count(a, 'unrecorded'), await count(a, 'recorded')], [0, 1]);
    assert.deepEqual([await count(b, 'unrecorded'), await count(b, 'recorded')], [1, 1]);
    await Promise.all([a.offline(), second.offline(), b.offline()]);
  });
}

type Told = { readonly body: string; readonly id: string };

const reported = ({ messages }: Page): Told[] => messages.map(({ body, id }) => ({ body, id }));

/** All results, page by page, in the order of sending. */
async function pages(device: Device, query: Query): Promise<Told[]> {
  const found: Told[] = [];
  let next = query;
  for (;;) {
    const page = await device.history(next);
    assert.ok(page.messages.length <= query.max, 'the page is too long');
    if (query.before === undefined) found.push(...reported(page));
    else found.unshift(...reported(page));
    if (page.isLast) return found;
    assert.ok(page.messages.length > 0, 'there is more, but nothing came');
    next =
      query.before === undefined
        ? { ...query, after: page.messages.at(-1)!.id }
        : { ...query, before: page.messages[0]!.id };
  }
}

/** Asks again until there is a result: for changes without a notification. */
async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (const end = Date.now() + patience; ; ) {
    const found = await look();
    if (found !== undefined) return found;
    assert.ok(Date.now() < end, 'it does not come to be');
  }
}

/** Times on the wire may be whole seconds. */
const untilNextSecond = (): Promise<void> =>
  new Promise((resolve) => void setTimeout(resolve, 1010 - (Date.now() % 1000)));

const bare = (jid: string): string => jid.split('/')[0]!;
