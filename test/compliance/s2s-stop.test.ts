/**
 * A server that stops while streams with other servers are being opened (RFC 6120 §4.9.3.21): each ends with the server,
 * whatever it waits for, no other is opened instead, and neither a connection nor a timer is left.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NS } from '../../src/server/stanza/ns.js';
import { makeSelfSigned, type Pem } from '../../src/server/tls/self-signed.js';
import { closed, openNow } from '../left-open.js';
import { Impostor, lure, Servers, type Trap } from './servers.js';

const [montague, capulet, verona] = ['montague.example', 'capulet.example', 'verona.example'];
const capulets: Pem = makeSelfSigned([capulet, `conference.${capulet}`]);
const sm = `<sm xmlns='${NS.sm}'/>`;
const external = `<mechanisms xmlns='${NS.sasl}'><mechanism>EXTERNAL</mechanism></mechanisms>`;
const valid = `<db:result from='${capulet}' to='${montague}' type='valid'/>`;

interface Scene {
  readonly servers: Servers;
  /** Where the servers of Capulet are looked for. */
  readonly trap: Trap;
  /** A user of Montague writes to one of a domain. */
  writes(domain?: string): Promise<void>;
  /** What connects to Montague, over TCP. */
  connects(kind?: 's2s' | 's2s_tls'): Impostor;
  /** A stream with TLS that asks Montague to verify a dialback key of Capulet. */
  dialsBack(): Promise<Impostor>;
}

/** Resolves once an attempt waits for something that does not come, with the connections that have to end. */
type Attempt = (scene: Scene) => Promise<readonly Impostor[]>;

async function stops(attempt: Attempt, s2s: Readonly<Record<string, unknown>>): Promise<void> {
  const trap = await lure(`from='${capulet}' to='${montague}'`);
  // The waiting connections of a trap keep the process alive, the trap does not count.
  const before = openNow();
  const servers = await Servers.open({
    [montague]: {
      s2s: { require_valid_certificate: false, ...s2s },
      trusts: [capulets],
      nodes: 1,
      config: { admin: { shutdown_grace_seconds: 0 } },
    },
  });
  const impostors: Impostor[] = [];
  try {
    servers.leads(capulet, trap.port);
    const stage = servers.stage(montague);
    const romeo = await stage.actor(`romeo@${montague}/orchard`, { presence: true });
    const connects = (kind: 's2s' | 's2s_tls' = 's2s') => {
      const one = Impostor.connect(stage.port(kind), `from='${capulet}' to='${montague}'`);
      impostors.push(one);
      return one;
    };
    const left = await attempt({
      servers,
      trap,
      writes: (domain = capulet) => romeo.sends(`<message to='juliet@${domain}' type='chat'><body>?</body></message>`),
      connects,
      async dialsBack() {
        const one = connects();
        await one.opensWithTls();
        one.says(`<db:result from='${capulet}' to='${montague}'>some-key</db:result>`);
        return one;
      },
    });
    impostors.push(...left);
    const made = trap.made();
    await stage.server.stop();
    await Promise.all(left.map((one) => one.isLeft()));
    assert.equal(trap.made(), made, 'connections to the other server');
  } finally {
    for (const one of impostors) one.cut();
    await servers.close();
  }
  await closed(before);
}

/** Montague has written to Capulet, is authenticated by dialback, and enables stream management. */
async function enablesAt({ trap, writes }: Scene): Promise<Impostor> {
  await writes();
  const one = await trap.next();
  await one.answers(capulets, 'some-id', sm);
  await one.hearsElement('result');
  one.says(valid);
  await one.hearsElement('enable');
  return one;
}

/** And has sent the message, in a session that it may resume. */
async function sessionOf(scene: Scene): Promise<Impostor> {
  const one = await enablesAt(scene);
  one.says(`<enabled xmlns='${NS.sm}' id='some-session' resume='true'/>`);
  await one.hearsElement('message');
  return one;
}

const attempts: Readonly<Record<string, Attempt | readonly [Attempt, Readonly<Record<string, unknown>>]>> = {
  'DNS does not answer': async ({ servers, writes }) => {
    servers.dns.zone = { silent: [`_xmpp-server._tcp.${verona}`, `_xmpps-server._tcp.${verona}`] };
    await writes(verona);
    await asked(servers, `SRV _xmpp-server._tcp.${verona}`);
    return [];
  },
  'one of many waits for its turn': [
    async ({ servers, trap, writes }) => {
      for (const domain of [verona, 'mantua.example', 'padua.example']) servers.leads(domain, trap.port);
      for (const domain of [capulet, verona, 'mantua.example', 'padua.example']) await writes(domain);
      return [await trap.next()];
    },
    { connecting_streams: 1 },
  ],
  'no answer to the ClientHello of direct TLS': async ({ servers, trap, writes }) => {
    servers.dns.zone = {};
    servers.leads(capulet, trap.port, true);
    await writes();
    const one = await trap.next();
    await one.hearsBytes();
    return [one];
  },
  'no answer to the header': async ({ trap, writes }) => {
    await writes();
    const one = await trap.next();
    await one.hears();
    return [one];
  },
  'no answer to the header, while there is another address': async ({ servers, trap, writes }) => {
    const name = `_xmpp-server._tcp.${capulet}`;
    const record = (priority: number) => `${priority} 0 ${trap.port} here.example`;
    servers.dns.zone = { ...servers.dns.zone, srv: { [name]: [record(0), record(1)] } };
    await writes();
    const one = await trap.next();
    await one.hears();
    return [one];
  },
  'no features': async ({ trap, writes }) => {
    await writes();
    const one = await trap.next();
    await one.hears();
    one.sendsHeader(`${one.attributes} id='some-id'`);
    return [one];
  },
  'no answer to <starttls/>': async ({ trap, writes }) => {
    await writes();
    const one = await trap.next();
    await one.isAskedForTls('some-id');
    return [one];
  },
  'no answer to the ClientHello': async ({ trap, writes }) => {
    await writes();
    const one = await trap.next();
    await one.isAskedForTls('some-id');
    one.says(`<proceed xmlns='${NS.tls}'/>`);
    await one.hearsBytes();
    return [one];
  },
  'no answer to the header after TLS': async ({ trap, writes }) => {
    await writes();
    const one = await trap.next();
    await one.startsTls(capulets, 'some-id');
    return [one];
  },
  'no answer to SASL EXTERNAL': async ({ trap, writes }) => {
    await writes();
    const one = await trap.next();
    await one.answers(capulets, 'some-id', external);
    await one.hearsElement('auth');
    return [one];
  },
  'no answer to the header after SASL EXTERNAL': async ({ trap, writes }) => {
    await writes();
    const one = await trap.next();
    await one.answers(capulets, 'some-id', external);
    await one.hearsElement('auth');
    one.expectsHeader();
    one.says(`<success xmlns='${NS.sasl}'/>`);
    assert.equal((await one.hears()).kind, 'open');
    return [one];
  },
  'no answer to dialback': async ({ trap, writes }) => {
    await writes();
    const one = await trap.next();
    await one.answers(capulets, 'some-id');
    await one.hearsElement('result');
    return [one];
  },
  'no answer to <enable/>': async (scene) => [await enablesAt(scene)],
  'no acknowledgement': async (scene) => [await sessionOf(scene)],
  'a session that cannot be resumed, because DNS does not answer any more': async (scene) => {
    const { servers } = scene;
    const one = await sessionOf(scene);
    const so = servers.dns.asked.length;
    servers.dns.zone = { silent: [`_xmpp-server._tcp.${capulet}`, `_xmpps-server._tcp.${capulet}`] };
    one.cut();
    await asked(servers, `SRV _xmpp-server._tcp.${capulet}`, so);
    return [];
  },
  'a dialback key is verified, and DNS does not answer': async ({ servers, dialsBack }) => {
    servers.dns.zone = { silent: [`_xmpp-server._tcp.${capulet}`, `_xmpps-server._tcp.${capulet}`] };
    const one = await dialsBack();
    await asked(servers, `SRV _xmpp-server._tcp.${capulet}`);
    return [one];
  },
  'a dialback key is verified, and the header is not answered': async ({ trap, dialsBack }) => {
    const one = await dialsBack();
    const other = await trap.next();
    await other.hears();
    return [one, other];
  },
  'a dialback key is verified, and the request is not answered': async ({ trap, dialsBack }) => {
    const one = await dialsBack();
    const other = await trap.next();
    await other.answers(capulets, 'some-id');
    await other.hearsElement('verify');
    return [one, other];
  },
  'waxwing s2s test: DNS does not answer': async ({ servers }) => {
    servers.dns.zone = { silent: [`_xmpp-server._tcp.${verona}`, `_xmpps-server._tcp.${verona}`] };
    tests(servers, verona);
    await asked(servers, `SRV _xmpp-server._tcp.${verona}`);
    return [];
  },
  'waxwing s2s test: no answer to the ClientHello of direct TLS': async ({ servers, trap }) => {
    servers.dns.zone = {};
    servers.leads(capulet, trap.port, true);
    tests(servers, capulet);
    const one = await trap.next();
    await one.hearsBytes();
    return [one];
  },
  'waxwing s2s test: no answer to the header': async ({ servers, trap }) => {
    tests(servers, capulet);
    const one = await trap.next();
    await one.hears();
    return [one];
  },
  'another server says nothing, or has sent a header': async ({ connects }) => {
    const ones = [connects('s2s'), connects('s2s_tls'), connects('s2s')];
    // The others were accepted before.
    await ones.at(-1)!.opens();
    return ones;
  },
  'another server does not begin with TLS': async ({ connects }) => {
    const one = connects();
    await one.opens();
    one.says(`<starttls xmlns='${NS.tls}'/>`);
    await one.hearsElement('proceed');
    return [one];
  },
  'another server does not authenticate': async ({ connects }) => {
    const one = connects();
    await one.opensWithTls(capulets);
    return [one];
  },
  'another server does not open the stream after SASL EXTERNAL': async ({ connects }) => {
    const one = connects();
    await one.opensWithTls(capulets);
    const identity = Buffer.from(capulet).toString('base64');
    one.says(`<auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>${identity}</auth>`);
    await one.hearsElement('success');
    return [one];
  },
};

/** Resolves once DNS was asked, after `first` other questions. */
async function asked({ dns }: Servers, question: string, first = 0): Promise<void> {
  while (!dns.asked.slice(first).includes(question)) await new Promise((resolve) => setImmediate(resolve));
}

/** Begins a test of the way to a domain. What it finds does not matter. */
function tests(servers: Servers, domain: string): void {
  const { federation } = servers.stage(montague).server;
  assert.ok(typeof federation === 'object');
  void federation.test({ from: montague, to: domain }, 300_000, () => {});
}

for (const [title, attempt] of Object.entries(attempts)) {
  const [play, s2s = {}] = typeof attempt === 'function' ? [attempt] : attempt;
  test(title, { timeout: 300_000 }, () => stops(play, s2s));
}
