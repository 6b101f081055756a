/** Stanzas for an offline contact of this server read none of the contact's data. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { Jid } from '../../src/server/address/jid.js';
import { capsHash } from '../../src/server/stanza/caps.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { around } from '../../src/storage/wrappers.js';
import { type Client, startHost } from './module-host.js';

/** Stores that were asked about the absent. */
const read: string[] = [];
const storage = around(new MemoryStorage(), ({ name, operation }, run, [owner]) => {
  const isAbout = typeof owner === 'string' && owner.startsWith('absent');
  if (isAbout && operation !== 'set') read.push(`${name} ${operation}`);
  return run();
});
const { host, account, connect, stop } = await startHost(standardModules, { storage });
after(stop);

const ver = capsHash([{ category: 'client', type: 'pc', name: 'c' }], ['urn:x+notify']);
const announced = `<presence><c xmlns="${NS.caps}" hash="sha-1" node="urn:c" ver="${ver}"/></presence>`;
const publish = (client: Client, id: string) =>
  client.asks(
    `<iq type="set" id="p"><pubsub xmlns="${NS.pubsub}"><publish node="urn:x"><item id="${id}"><x xmlns="urn:x"/></item></publish></pubsub></iq>`,
  );

/** Its capabilities are known. */
async function knows(client: Client): Promise<void> {
  const asked = await client.asks(announced);
  const id = /<iq[^>]* id="([^"]+)"/.exec(asked)?.[1];
  if (id === undefined) return;
  await client.says(
    `<iq type="result" id="${id}" to="example.org"><query xmlns="${NS.discoInfo}"><identity category="client" type="pc" name="c"/><feature var="urn:x+notify"/></query></iq>`,
  );
  await new Promise((resolve) => setImmediate(resolve));
}

const names = ['absent1', 'absent2', 'present'];
const romeo = await account('romeo', Object.fromEntries(names.map((name) => [`${name}@example.org`, 'both'])));
for (const name of names) await account(name, { 'romeo@example.org': 'both' });

test('presence and events reach online contacts; for others nothing is read', async () => {
  const present = connect('present@example.org/r');
  await knows(present);
  read.splice(0);
  const client = connect(`${romeo.bare}/r`);
  await client.says('<presence/>');
  await client.says('<presence><show>away</show></presence>');
  assert.match(await publish(client, 'a'), /type="result"/);
  await client.says('<presence type="unavailable"/>');
  assert.deepEqual(read, []);
  const arrived = present.received.splice(0).join('\n');
  assert.match(arrived, /<show>away/);
  assert.match(arrived, /<message [^>]*to="present@example.org\/r"[^>]*>.*<item id="a"/);
  assert.match(arrived, /type="unavailable"/);
});

test('only interested sessions of an account get an event', async () => {
  const plain = connect('present@example.org/plain');
  await plain.says('<presence/>');
  const silent = connect('present@example.org/silent');
  const second = connect('present@example.org/second');
  await knows(second);
  const client = connect(`${romeo.bare}/s`);
  await client.says('<presence/>');
  for (const one of [plain, silent, second]) one.received.splice(0);
  await publish(client, 'b');
  assert.match(second.received.join(), /to="present@example.org\/second".*<item id="b"/);
  for (const one of [plain, silent]) assert.doesNotMatch(one.received.join(), /<item/);
});

test('a stanza for interested sessions goes to all if none declares its interest', async () => {
  const owner = Jid.parse('present@example.org');
  const stanza = Stanza.parse('<message type="headline"><body>x</body></message>').with({ from: romeo, to: owner });
  const arrived = async (feature: string, except: readonly string[], kind: 'willing' | 'unwilling') => {
    const found: string[] = [];
    const sessions = [...host.sessions(owner.bare)];
    const links = sessions.map((session) => session.link);
    for (const session of sessions) session.link = { send: () => void found.push(session.jid.resource!) };
    const origin = { session: undefined, acknowledges: false, acknowledgeAfter() {} };
    await host.route(stanza, { ...origin, audience: { kind, feature, except } });
    for (const [n, session] of sessions.entries()) session.link = links[n]!;
    return found.sort();
  };
  assert.deepEqual(await arrived('urn:x+notify', [], 'willing'), ['r', 'second']);
  assert.deepEqual(await arrived('urn:x+notify', ['present@example.org/r'], 'willing'), ['second']);
  assert.deepEqual(await arrived('urn:x+notify', [], 'unwilling'), []);
  assert.deepEqual(await arrived('urn:y+notify', [], 'willing'), []);
  assert.deepEqual(await arrived('urn:y+notify', [], 'unwilling'), ['plain', 'r', 'second']);
});
