/** External components (XEP-0114): distribution of senders, queued stanzas, and their configuration. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { pino } from 'pino';
import { Jid } from '../../src/server/address/jid.js';
import { type ComponentSettings, readSecrets } from '../../src/server/config/components.js';
import { ConfigError, loadConfig } from '../../src/server/config/load.js';
import { serverOrigin } from '../../src/server/routing/router.js';
import type { StanzaError, StreamError } from '../../src/server/stanza/errors.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { placeOf } from '../../src/server/stream/component/balance.js';
import { Component, type Line } from '../../src/server/stream/component/component.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const secret = 'a pound of apothecary';

describe('senders and connections', () => {
  const senders = Array.from({ length: 10_000 }, (_, n) => `user${n}@verona`);
  const places = Array.from({ length: 5 }, (_, number) => ({ number }));
  const shareOut = (some: typeof places) => new Map(senders.map((sender) => [sender, placeOf(some, sender)]));

  test('senders are distributed about evenly', () => {
    const all = [...shareOut(places).values()];
    for (const place of places) {
      const share = all.filter((one) => one === place).length / senders.length;
      assert.ok(Math.abs(share - 0.2) < 0.02, `${share} of the senders have connection ${place.number}`);
    }
  });

  test('only senders of an added or removed connection move', () => {
    const [gone, ...rest] = places;
    const before = shareOut(places);
    for (const [sender, place] of shareOut(rest))
      if (before.get(sender) !== gone) assert.equal(before.get(sender), place);
  });

  test('none without connections', () => assert.equal(placeOf([], 'romeo@verona'), undefined));
});

describe('the queue of a component', () => {
  const config = loadConfig({ text: `[components.mantua]\nsecret = "${secret}"\nconnections = 2`, modules: [] });

  class Wire implements Line {
    hasRoom = false;
    readonly remoteAddress = '127.0.0.1';
    readonly since = 0;
    readonly sent: string[] = [];
    closed: StreamError | undefined;

    constructor(readonly component: Component) {}

    send({ from, id }: Stanza): void {
      this.sent.push(`${from!.local} ${id}`);
    }

    close(error: StreamError): void {
      this.closed = error;
      this.component.leave(this);
    }

    takes(): void {
      this.hasRoom = true;
      this.component.drained(this);
    }
  }

  const make = () => {
    const refused: string[] = [];
    const component = new Component(
      Jid.parse('mantua'),
      {
        config: () => config,
        log: pino({ enabled: false }),
        limitHit: () => {},
        connected: () => {},
        gone: () => {},
        refuse: ({ from, id }: Stanza, { condition }: StanzaError) =>
          void refused.push(`${from!.local} ${id} ${condition}`),
      },
      secret,
    );
    const says = (from: string, id: number, name: 'message' | 'presence' = 'message') =>
      component.receive(
        Stanza.build(name, { from: Jid.parse(`${from}@verona`), to: Jid.parse('friar@mantua'), id: String(id) }),
        serverOrigin,
      );
    return { component, refused, says, wire: () => new Wire(component) };
  };

  test('moves to another connection in order when one is lost', async () => {
    const { component, refused, says, wire } = make();
    const [one, other] = [wire(), wire()];
    component.enter(one);
    component.enter(other);
    const senders = Array.from({ length: 8 }, (_, n) => `user${n}`);
    for (let id = 0; id < 3; id++) for (const sender of senders) says(sender, id);
    await turn();
    component.leave(one);
    for (const sender of senders) says(sender, 3);
    await turn();
    other.takes();
    assert.deepEqual(one.sent, []);
    for (const sender of senders)
      assert.deepEqual(
        other.sent.filter((text) => text.startsWith(`${sender} `)),
        [0, 1, 2, 3].map((id) => `${sender} ${id}`),
      );
    assert.deepEqual(refused, []);
    assert.equal(component.waitingBytes, 0);
  });

  test('stays with its connection when another is added', async () => {
    const { component, says, wire } = make();
    const [one, other] = [wire(), wire()];
    component.enter(one);
    const senders = Array.from({ length: 8 }, (_, n) => `user${n}`);
    for (const sender of senders) says(sender, 0);
    await turn();
    component.enter(other);
    other.hasRoom = true;
    for (const sender of senders) says(sender, 1);
    await turn();
    assert.deepEqual(other.sent, [], 'nothing overtakes what waits');
    one.takes();
    assert.equal(one.sent.length, 2 * senders.length);
    for (const sender of senders) says(sender, 2);
    await turn();
    assert.ok(other.sent.length > 0, 'with nothing waiting, senders move');
  });

  test('is refused when the last connection is lost, except presence', async () => {
    const { component, refused, says, wire } = make();
    const one = wire();
    component.enter(one);
    says('romeo', 0);
    says('romeo', 1, 'presence');
    await turn();
    says('romeo', 2); // not handed out yet
    component.leave(one);
    assert.deepEqual(refused, ['romeo 0 remote-server-timeout', 'romeo 2 remote-server-timeout']);
    says('romeo', 3, 'presence');
    assert.throws(() => says('romeo', 4), { condition: 'remote-server-timeout' });
    assert.equal(component.waitingBytes, 0);
  });

  test('the oldest connection is closed if there are too many', () => {
    const { component, wire } = make();
    const wires = [wire(), wire(), wire()];
    for (const one of wires) component.enter(one);
    assert.deepEqual(
      wires.map(({ closed }) => closed?.condition),
      ['conflict', undefined, undefined],
    );
    assert.deepEqual(component.lines, wires.slice(1));
  });
});

describe('the configuration', () => {
  const findings = (text: string) => {
    try {
      loadConfig({ text, modules: [] });
      return [];
    } catch (error) {
      assert.ok(error instanceof ConfigError);
      return error.findings.map(({ path, problem }) => `${path} ${problem}`);
    }
  };

  test('needs a domain of its own and a long secret for each component', () => {
    for (const [text, found] of [
      [`[components.mantua]\nsecret = "${secret}"`, []],
      ['[components.mantua]\nsecret_file = "mantua.secret"', []],
      ['[components.mantua]', ['components.mantua has no secret']],
      ['[components.mantua]\nsecret = "short"', ['components.mantua.secret has fewer than 16 characters']],
      [
        `[components.mantua]\nsecret = "${secret}"\nsecret_file = "mantua.secret"`,
        ['components.mantua has both secret and secret_file'],
      ],
      [`[components.localhost]\nsecret = "${secret}"`, ['components.localhost localhost is a host of the server']],
      [
        `[components.mantua]\nsecret = "${secret}"\n[listen]\ncomponent = ["127.0.0.1:5222"]`,
        ['listen.component[0] "127.0.0.1:5222" is already used by listen.c2s'],
      ],
      ['[listen]\ncomponent = ["127.0.0.1:5222"]', []],
    ] as const)
      assert.deepEqual(findings(text), found, text);
  });

  test('grants privileges that make sense (XEP-0356 §7.4)', () => {
    const of = (table: string) => `[components.mantua]\nsecret = "${secret}"\n[components.mantua.privileges.${table}`;
    const path = 'components.mantua.privileges.localhost';
    for (const [text, found] of [
      [of('localhost]\nroster = "both"\npresence = "roster"\niq = { "urn:x" = "get" }'), []],
      [of('localhost]\niq = { "urn:x" = "none" }'), []],
      [of('verona]\nroster = "both"'), ['components.mantua.privileges.verona verona is not a host of the server']],
      [of('localhost]'), [`${path} grants nothing`]],
      [
        of('localhost]\nroster = "set"\npresence = "roster"'),
        [`${path}.presence "roster" needs the right to read contact lists`],
      ],
      [
        of('localhost]\niq = { "urn:xmpp:mam:2" = "set" }'),
        [
          `${path}.iq."urn:xmpp:mam:2" the results of urn:xmpp:mam:2 are messages, which the clients of the account would receive`,
        ],
      ],
      [
        of('localhost]\niq = { "urn:xmpp:privilege:2" = "set" }'),
        [`${path}.iq."urn:xmpp:privilege:2" cannot be granted`],
      ],
      [of('localhost]\niq = { "a b" = "set" }'), [`${path}.iq."a b" "a b" is not a namespace`]],
    ] as const)
      assert.deepEqual(findings(text), found, text);
    assert.match(findings(of('localhost]\nroster = "all"'))[0]!, /roster "all"/);
  });

  test('delegates each namespace of a host to one component (XEP-0355 §4.1, §8)', () => {
    const of = (component: string, table: string) =>
      `[components.${component}]\nsecret = "${secret}"\n[components.${component}.delegations.${table}\n`;
    const path = 'components.mantua.delegations.localhost';
    const special = 'urn:xmpp:delegation:2:bare:disco#info:*';
    for (const [text, found] of [
      [of('mantua', `localhost]\n"urn:x" = []\n"urn:y" = ["node", "jid"]\n"urn:z" = "node"\n"${special}" = []`), []],
      [
        of('mantua', 'localhost]\n"urn:x" = []') + of('padua', 'localhost]\n"urn:x" = ["node"]'),
        ['components.padua.delegations.localhost."urn:x" is also delegated to mantua'],
      ],
      [
        of('mantua', 'verona]\n"urn:x" = []'),
        ['components.mantua.delegations.verona verona is not a host of the server'],
      ],
      [of('mantua', 'localhost]'), [`${path} delegates nothing`]],
      [
        of('mantua', 'localhost]\n"urn:xmpp:delegation:2" = []'),
        [`${path}."urn:xmpp:delegation:2" cannot be delegated`],
      ],
      [of('mantua', 'localhost]\n"urn:xmpp:privilege:2" = []'), [`${path}."urn:xmpp:privilege:2" cannot be delegated`]],
      [
        of('mantua', 'localhost]\n"http://jabber.org/protocol/disco#info" = []'),
        [`${path}."http://jabber.org/protocol/disco#info" cannot be delegated`],
      ],
      [
        of('mantua', `localhost]\n"${special}" = ["node"]`),
        [`${path}."${special}" has attributes, which do not apply here`],
      ],
      [of('mantua', 'localhost]\n"urn:x" = ["a b"]'), [`${path}."urn:x"[0] "a b" is not the name of an attribute`]],
    ] as const)
      assert.deepEqual(findings(text), found, text);
  });

  test('secrets have to be readable', () => {
    const folder = mkdtempSync(join(tmpdir(), 'waxwing-'));
    after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'mantua.secret');
    const settings = { secret: '', secret_file: file } as ComponentSettings;
    const read = () => readSecrets({ mantua: settings, padua: { ...settings, secret } });
    assert.throws(read, {
      name: 'ConfigError',
      message: /components\.mantua\.secret_file.* cannot be read \(ENOENT\)/,
    });
    writeFileSync(file, 'short\n');
    assert.throws(read, { name: 'ConfigError', message: /has fewer than 16 characters/ });
    writeFileSync(file, `${secret}\n`);
    assert.deepEqual(
      [...read()],
      [
        ['mantua', secret],
        ['padua', secret],
      ],
    );
  });
});
