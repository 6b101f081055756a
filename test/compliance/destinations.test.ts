/**
 * Destinations across a network (routing/outbox.ts): no sender waits for them, undeliverable stanzas are refused later,
 * and the stanzas of a sender stay in order. Mantua, a remote domain, is an outbox that the test drains.
 */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import { admit, defineModule, gate, iq } from '../../src/server/module/index.js';
import type { LocalHost } from '../../src/server/routing/host.js';
import { Outbox } from '../../src/server/routing/outbox.js';
import { serverOrigin } from '../../src/server/routing/router.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { el } from '../../src/server/xml/element.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const ping = (id: string) => `<iq type='get' id='${id}' to='localhost'><ping xmlns='${NS.ping}'/></iq>`;
const pong = (id: string) => `<iq type='result' id='${id}'/>`;
const to = (id: string, rest = `type='chat'`) =>
  `<message to='friar@mantua' id='${id}' ${rest}><body>${id}</body></message>`;
const error = (id: string, type: string, condition: string) =>
  `<message type='error' from='friar@mantua' id='${id}'>${refusal(type, condition)}</message>`;

interface Mantua {
  readonly outbox: Outbox;
  /** Of the budget of all outboxes. */
  readonly used: () => number;
  readonly hits: () => number;
  /** Set by the scenario. */
  host: LocalHost | undefined;
}

function mantua(stanzas = 1000, bytes = 1_000_000, most = 2_000_000): Mantua {
  const budget = { most: () => most, used: 0 };
  let hits = 0;
  const made: Mantua = {
    host: undefined,
    used: () => budget.used,
    hits: () => hits,
    outbox: new Outbox({
      bounds: () => ({ stanzas, bytes }),
      budget,
      limitHit: () => void hits++,
      refuse: (stanza, why) => made.host!.refuse(stanza, why, serverOrigin),
      filled: () => {},
    }),
  };
  return made;
}

function play(
  title: string,
  there: Mantua,
  dialogue: (scene: Scene) => Promise<void>,
  modules: ReturnType<typeof defineModule>[] = [],
): void {
  scenario(title, { remote: there.outbox, modules }, async (scene) => {
    there.host = scene.server.host('localhost') as LocalHost;
    await dialogue(scene);
    assert.equal(there.outbox.size, 0);
    assert.equal(there.outbox.bytes, 0);
    assert.equal(there.used(), 0);
  });
}

/** Sends everything that waits. Returns the ids. */
function sendAll({ outbox }: Mantua): string[] {
  const ids: string[] = [];
  for (let parcel = outbox.take(); parcel !== undefined; parcel = outbox.take()) {
    ids.push(parcel.stanza.id ?? '');
    parcel.sent();
  }
  return ids;
}

async function enables(peer: Peer): Promise<void> {
  await peer.sends(`<enable xmlns='${NS.sm}'/>`);
  await peer.receives(`<enabled xmlns='${NS.sm}'/>`);
}

const ids = (count: number) => Array.from({ length: count }, (_, n) => String(n));

const silent = mantua();
play('a client continues while another server accepts nothing', silent, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(
    ids(100)
      .map((id) => to(id))
      .join('') + ping('p'),
  );
  await romeo.receives(pong('p'));
  assert.equal(silent.outbox.size, 100);
  assert.deepEqual(sendAll(silent), ids(100));
  await romeo.receivesNothing();
});

const waiting = mantua();
play(
  'XEP-0198: the acknowledgement waits until the stanza is sent, the stream does not',
  waiting,
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    await enables(romeo);
    await romeo.sends(`${to('1')}<r xmlns='${NS.sm}'/>${ping('p')}`);
    await romeo.receives(pong('p'));
    await romeo.receives(`<r xmlns='${NS.sm}'/>`);
    await romeo.receivesNothing();
    const parcel = waiting.outbox.take()!;
    await romeo.receivesNothing();
    parcel.sent();
    parcel.sent();
    parcel.refuse(new StanzaError('remote-server-timeout'));
    await romeo.receives(`<a xmlns='${NS.sm}' h='*'/>`);
    await romeo.receivesNothing();
  },
);

const gone = mantua();
play("an accepted stanza is refused later, as if by the recipient's server", gone, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(to('1'));
  await romeo.sends(`<iq type='get' id='2' to='mantua'><ping xmlns='${NS.ping}'/></iq>`);
  // These are never answered (RFC 6120 §8.3.1).
  await romeo.sends(`<iq type='result' id='3' to='mantua'/>`);
  await romeo.sends(to('4', `type='error'`));
  await romeo.receivesNothing();
  assert.equal(gone.outbox.size, 4);
  gone.outbox.refuseAll(new StanzaError('remote-server-timeout'));
  await romeo.receives(error('1', 'wait', 'remote-server-timeout'));
  await romeo.receives(`<iq type='error' id='2' from='mantua'>${refusal('wait', 'remote-server-timeout')}</iq>`);
  await romeo.receivesNothing();
});

const asked = mantua();
play('a request of the server ends with the refusal', asked, async ({ server }) => {
  const question = Stanza.build('iq', { type: 'get', to: Jid.parse('mantua') }, el('ping', { xmlns: NS.ping }));
  const answer = server.host('localhost')!.ask(question);
  asked.outbox.refuseAll(new StanzaError('remote-server-not-found'));
  await assert.rejects(answer, { condition: 'remote-server-not-found' });
});

const curious = defineModule({
  name: 'curious',
  summary: 'Asks others before it answers.',
  implements: {},
  start: ({ host }) => [
    iq.get(
      'server',
      'urn:curious',
      'ask',
      async ({ from }) => {
        await host.ask(
          Stanza.build('iq', { type: 'get', from: from.toBare(), to: Jid.parse('mantua') }, el('x', { xmlns: 'y' })),
        );
      },
      { asksOthers: true },
    ),
  ],
});

/** Mantua answers the requests that it received. */
function answerAll({ outbox, host }: Mantua): void {
  for (let parcel = outbox.take(); parcel !== undefined; parcel = outbox.take()) {
    parcel.sent();
    void host!.route(parcel.stanza.result());
  }
}

const ask = (id: string) => `<iq type='get' id='${id}' to='localhost'><ask xmlns='urn:curious'/></iq>`;

const enemies = new Set(['mantua', 'elsewhere.example']);
const closed = defineModule({
  name: 'closed',
  summary: 'Blocks some domains.',
  implements: {},
  start: ({ host }) => (host.domain === 'localhost' ? [gate(({ domain }) => enemies.has(domain))] : []),
});

const blocked = mantua();
play(
  'a request of the server to or from a blocked address is refused at once',
  blocked,
  async ({ actor, server }) => {
    const askFrom = (from: string, to: string) => {
      const question = Stanza.build('iq', { type: 'get', to: Jid.parse(to) }, el('ping', { xmlns: NS.ping }));
      return server.host(from)!.ask(question);
    };
    const forbidden = { condition: 'forbidden', message: /blocked by the server/ };
    await assert.rejects(askFrom('localhost', 'mantua'), forbidden);
    await assert.rejects(askFrom('localhost', 'friar@mantua/cell'), forbidden);
    await assert.rejects(askFrom('localhost', 'elsewhere.example'), forbidden);
    await assert.rejects(askFrom('elsewhere.example', 'localhost'), forbidden);
    const romeo = await actor('romeo@localhost/orchard');
    await romeo.sends(ask('b'));
    await romeo.receives(`<iq type='error' id='b'>${refusal('auth', 'forbidden')}</iq>`);
    // More than may be pending: none is left.
    for (let n = 0; n <= 10_000; n++) await assert.rejects(askFrom('localhost', 'mantua'), forbidden);
    enemies.delete('mantua');
    const answer = askFrom('localhost', 'mantua');
    assert.equal(blocked.outbox.size, 1);
    answerAll(blocked);
    assert.equal((await answer).type, 'result');
  },
  [closed, curious],
);

const small = mantua(40);
play('the queue of one sender is limited, and others still have room', small, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony');
  await romeo.sends(
    ids(12)
      .map((id) => to(id))
      .join(''),
  );
  for (const id of ['8', '9', '10', '11']) await romeo.receives(error(id, 'wait', 'resource-constraint'));
  assert.equal(small.hits(), 4);
  await juliet.sends(to('j'));
  await juliet.receivesNothing();
  assert.deepEqual(sendAll(small), [...ids(8), 'j']);
  await romeo.sends(to('again'));
  await romeo.receivesNothing();
  assert.deepEqual(sendAll(small), ['again']);
});

for (const [what, there] of [
  ['of one destination', mantua(1000, 20_000)],
  ['of all together', mantua(1000, 1_000_000, 20_000)],
] as const)
  play(`bytes are bounded: ${what}`, there, async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const long = (id: string) => `<message to='friar@mantua' id='${id}'><body>${'x'.repeat(9000)}</body></message>`;
    await romeo.sends(long('1') + long('2') + long('3') + to('4'));
    await romeo.receives(`<message type='error' id='3'><body/>${refusal('wait', 'resource-constraint')}</message>`);
    await romeo.receivesNothing();
    // A stanza that was taken counts until it is sent.
    const first = there.outbox.take()!;
    await romeo.sends(long('5'));
    await romeo.receives(`<message type='error' id='5'><body/>${refusal('wait', 'resource-constraint')}</message>`);
    first.sent();
    await romeo.sends(long('6'));
    await romeo.receivesNothing();
    assert.deepEqual(sendAll(there), ['2', '4', '6']);
  });

/** Lets go of the message that is slow, once it is there. */
let letGo = () => {};
let isThere = () => {};
const there = new Promise<void>((resolve) => {
  isThere = resolve;
});
const slow = defineModule({
  name: 'slow',
  summary: 'Is slow to admit some messages.',
  implements: {},
  start: () => [
    admit(({ stanza }) => {
      if (stanza.id !== 'slow') return;
      return new Promise<void>((resolve) => {
        letGo = resolve;
        isThere();
      });
    }),
  ],
});

const ordered = mantua();
play(
  'the stanzas of a sender stay in order, even if some take longer',
  ordered,
  async ({ actor, server }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const juliet = await actor('juliet@localhost/balcony');
    await romeo.sends(
      `${to('slow')}<iq type='get' id='q' to='mantua'><x xmlns='y'/></iq><presence to='friar@mantua' id='here'/>${to('last')}`,
    );
    await there;
    await juliet.sends(to('j') + ping('p'));
    await juliet.receives(pong('p'));
    letGo();
    await romeo.receivesNothing();
    const host = server.host('localhost')!;
    for (const id of ids(5))
      void host.route(Stanza.build('message', { id, from: host.jid, to: Jid.parse('friar@mantua') }));
    assert.deepEqual(sendAll(ordered), ['j', 'slow', 'q', 'here', 'last', ...ids(5)]);
    await romeo.sends(`<presence to='friar@mantua' type='unavailable'/>`);
    await romeo.receivesNothing();
    sendAll(ordered);
  },
  [slow],
);

const consulted = mantua();
play(
  'a client continues while an answer to it waits for another server',
  consulted,
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    await enables(romeo);
    await romeo.sends(`${ask('1')}${ask('2')}${ping('p')}<r xmlns='${NS.sm}'/>`);
    await romeo.receives(pong('p'));
    await romeo.receives(`<r xmlns='${NS.sm}'/>`);
    await romeo.receivesNothing();
    answerAll(consulted);
    await romeo.receivesAnyOrder([pong('1'), pong('2'), `<a xmlns='${NS.sm}' h='*'/>`]);
    await romeo.sends(ask('3') + ping('q'));
    await romeo.receives(pong('q'));
    await romeo.receivesNothing();
    consulted.outbox.refuseAll(new StanzaError('remote-server-timeout'));
    await romeo.receives(`<iq type='error' id='3'>${refusal('wait', 'remote-server-timeout')}</iq>`);
  },
  [curious],
);

const besieged = mantua();
play(
  'a client with many such requests waits for them, and others continue',
  besieged,
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const juliet = await actor('juliet@localhost/balcony');
    await romeo.sends(ids(11).map(ask).join('') + ask('last') + ping('p'));
    await juliet.sends(ask('j') + ping('q'));
    await juliet.receives(pong('q'));
    while (besieged.outbox.size < 12) await new Promise((resolve) => setImmediate(resolve));
    answerAll(besieged);
    const got = new Set<string>();
    for (let n = 0; n < 11; n++) got.add((await romeo.receivesAny()).attrs.id!);
    assert.deepEqual(got, new Set(ids(11)));
    await juliet.receives(pong('j'));
    while (besieged.outbox.size < 1) await new Promise((resolve) => setImmediate(resolve));
    answerAll(besieged);
    await romeo.receivesAnyOrder([pong('last'), pong('p')]);
  },
  [curious],
);

const many = defineModule({
  name: 'many',
  summary: 'Answers with much.',
  implements: {},
  start: ({ host }) => [
    iq.get('server', 'urn:many', 'many', async function* ({ from }) {
      for (const id of ids(50)) yield Stanza.build('message', { id, from: host.jid, to: from });
      return undefined;
    }),
  ],
});

const paced = mantua(40);
play(
  'a long answer waits for room instead of being refused',
  paced,
  async ({ actor, server }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const friar = Jid.parse('friar@mantua/cell');
    const host = server.host('localhost')!;
    const request = Stanza.build(
      'iq',
      { type: 'get', id: 'much', from: friar, to: host.jid },
      el('many', { xmlns: 'urn:many' }),
    );
    const answered = host.route(request);
    const got: string[] = [];
    while (got.at(-1) !== 'much') {
      await romeo.receivesNothing();
      assert.ok(paced.outbox.size > 0 && paced.outbox.size <= 6, String(paced.outbox.size));
      got.push(...sendAll(paced));
    }
    await answered;
    assert.deepEqual(got, [...ids(50), 'much']);
    assert.equal(paced.hits(), 0);
  },
  [many],
);
