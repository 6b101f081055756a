/** RFC 6120 §4.6.1: a server that does not read is disconnected, and what is queued for it goes over another stream. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { hits, type Peer } from './dialogue.js';
import { Impostor, lure, play } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
const trusted = makeSelfSigned([capulet, `conference.${capulet}`]);
const fast = { stanzas_per_second: 'unlimited', bytes_per_second: 'unlimited' };

/** Montague waits for a second, and queues much. */
const impatient = {
  [montague]: {
    s2s: { require_valid_certificate: false, queue_bytes_per_domain: 33_554_432 },
    limits: { ping_timeout_seconds: 1, rate: fast, rate_account: fast },
    trusts: [trusted],
  },
};

const chat = (id: number) =>
  `<message to='juliet@${capulet}' type='chat' id='${id}'><body>${'x'.repeat(40_000)}</body></message>`;

/** Sends until another stream is opened. Returns the number of messages, and that stream. */
async function floods(romeo: Peer, next: Promise<Impostor>): Promise<readonly [count: number, server: Impostor]> {
  let server: Impostor | undefined;
  void next.then((came) => {
    server = came;
  });
  let count = 0;
  // The system takes some megabytes.
  for (; server === undefined; await romeo.syncs())
    if (count < 600) await romeo.sends(Array.from({ length: 10 }, () => chat(++count)).join(''));
  return [count, server];
}

async function accepts(server: Impostor, features = ''): Promise<void> {
  await server.answers(trusted, 'some-id', features);
  await server.hearsElement('result');
  server.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
}

/** The rest of the messages, in order. Returns the first. */
async function hearsTheRest(server: Impostor, count: number): Promise<number> {
  const first = Number((await server.hearsElement('message')).attrs.id);
  for (let id = first + 1; id <= count; id++) assert.equal((await server.hearsElement('message')).attrs.id, String(id));
  return first;
}

play('a stream that we opened, without stream management', impatient, async (servers) => {
  const stage = servers.stage(montague);
  const romeo = await stage.actor(`romeo@${montague}/orchard`, { presence: true });
  const trap = await lure(`from='${capulet}' to='${montague}'`);
  servers.leads(capulet, trap.port);
  await romeo.sends(chat(0));
  const server = await trap.next();
  await accepts(server);
  assert.equal((await server.hearsElement('message')).attrs.id, '0');
  const [count, other] = await floods(romeo, trap.next());
  assert.equal(await hits(stage, 'write_queue_bytes'), 1);
  await accepts(other);
  // What was written and not read is lost.
  assert.ok((await hearsTheRest(other, count)) > 1);
  await romeo.receivesNothing();
});

play('XEP-0288: a bidirectional stream that the other server opened', impatient, async (servers) => {
  const stage = servers.stage(montague);
  const romeo = await stage.actor(`romeo@${montague}/orchard`, { presence: true });
  const trap = await lure(`from='${capulet}' to='${montague}'`);
  servers.leads(capulet, trap.port);
  const friend = Impostor.connect(stage.port('s2s'), `from='${capulet}' to='${montague}'`);
  await friend.opensWithTls(trusted);
  friend.says(`<bidi xmlns='${NS.bidi}'/><auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>=</auth>`);
  await friend.hearsElement('success');
  await friend.opens();
  friend.says(`<message from='juliet@${capulet}/b' to='romeo@${montague}' type='chat' id='1'><body>1</body></message>`);
  await romeo.receives(`<message type='chat' id='1'><body>1</body></message>`);
  await romeo.sends(chat(0));
  assert.equal((await friend.hearsElement('message')).attrs.id, '0');
  const [count, server] = await floods(romeo, trap.next());
  assert.equal(await hits(stage, 'write_queue_bytes'), 1);
  await accepts(server);
  assert.ok((await hearsTheRest(server, count)) > 1);
  await romeo.receivesNothing();
});
