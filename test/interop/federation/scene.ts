/** Waxwing and another server, a DNS server that both ask, and the people of their domains. */
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { domainToASCII } from 'node:url';
import { DnsServer } from '../../dns-server.js';
import { Relay } from '../relay.js';
import { Authority } from './authority.js';
import { Client } from './client.js';
import { domainOf, type Peer, type PeerOptions, type Place, roomsOf, uploadsOf, type Way, ways } from './peer.js';
import { waxwing } from './waxwing.js';

const password = 'pencil';
/** Accounts of each domain. */
const most = { external: 60, other: 8 };

export interface Person {
  readonly way?: Way;
  readonly resource?: string;
  readonly features?: readonly string[];
  readonly isAvailable?: boolean;
  /** An account that was used before; default: a new one. */
  readonly bare?: string;
}

export class Scene {
  readonly dns: DnsServer;
  readonly us: Peer;
  readonly them: Peer;
  readonly authority: Authority;
  readonly #relays: Relay[] = [];
  readonly #clients: Client[] = [];
  readonly #used = new Map<string, number>();

  private constructor(dns: DnsServer, authority: Authority, us: Peer, them: Peer) {
    this.authority = authority;
    this.dns = dns;
    this.us = us;
    this.them = them;
  }

  static async open(name: string, peer: (options: PeerOptions) => Promise<Peer>): Promise<Scene> {
    const dns = await DnsServer.open({});
    const authority = new Authority();
    const options = (server: string): PeerOptions => ({ dns: dns.address, authority, accounts: accountsOf(server) });
    const us = await waxwing(options('waxwing'));
    let them: Peer | undefined;
    try {
      them = await peer(options(name));
      const scene = new Scene(dns, authority, us, them);
      for (const server of [us, them]) scene.#publish(server);
      await them.start();
      return scene;
    } catch (error) {
      await us.close();
      await them?.close();
      dns.close();
      throw error;
    }
  }

  /** Writes the domains of a server into DNS. */
  #publish(server: Peer): void {
    for (const way of ways) {
      const place = way === 'six' ? server.six : way === 'direct' ? server.directTls : server.s2s;
      this.leads(domainOf(server.name, way), place, way === 'direct');
    }
  }

  /** DNS names a place for a domain, its rooms and its upload service. */
  leads(domain: string, { host, port }: Place, isDirectTls = false): void {
    const { addresses = {}, srv = {} } = this.dns.zone;
    const dnsName = domainToASCII(domain);
    const service = isDirectTls ? '_xmpps-server' : '_xmpp-server';
    // A DNS name, for servers that look names up by this DNS; others take an address.
    const isOurs = domain.endsWith(`${this.us.name}.example`);
    const target = isOurs && !this.them.looksNamesUp ? host : `host.${dnsName}`;
    const records = [dnsName, roomsOf(dnsName), uploadsOf(dnsName)].map((name) => [
      `${service}._tcp.${name}`,
      [`0 0 ${port} ${target}`],
    ]);
    this.dns.zone = {
      addresses: { ...addresses, [target]: [host] },
      srv: { ...srv, ...Object.fromEntries(records) },
    };
  }

  /** DNS knows nothing of a domain any more. */
  forgets(domain: string): void {
    const dnsName = domainToASCII(domain);
    const { addresses = {}, srv = {} } = this.dns.zone;
    const others = <T>(all: Readonly<Record<string, T>>): Record<string, T> =>
      Object.fromEntries(Object.entries(all).filter(([name]) => !name.endsWith(`.${dnsName}`) && name !== dnsName));
    this.dns.zone = { addresses: others(addresses), srv: others(srv) };
  }

  /** From now on a domain is reached by a relay. */
  async relay(domain: string, { host, port }: Place): Promise<Relay> {
    const relay = await Relay.open(port, host);
    this.#relays.push(relay);
    this.leads(domain, { host: '127.0.0.1', port: relay.port });
    return relay;
  }

  /** An address that nobody has used. */
  account(server: Peer, way: Way = 'external'): string {
    const domain = domainOf(server.name, way);
    const number = this.#used.get(domain) ?? 0;
    assert.ok(number < (way === 'external' ? most.external : most.other), `more accounts of ${domain} are needed`);
    this.#used.set(domain, number + 1);
    return `${nameOf(way, number)}@${domain}`;
  }

  /** Somebody who has logged in to a server. */
  async someone(server: Peer, person: Person = {}): Promise<Client> {
    const { way, resource = 'phone', features, isAvailable } = person;
    const bare = person.bare ?? this.account(server, way);
    const client = await Client.online({
      ...server.c2s,
      bare,
      resource,
      password,
      ...(features !== undefined && { features }),
      ...(isAvailable !== undefined && { isAvailable }),
    });
    this.#clients.push(client);
    return client;
  }

  /** Two people who see each other's presence. */
  async friends(one: Peer, other: Peer, person: Person = {}): Promise<[Client, Client]> {
    const pair: [Client, Client] = [await this.someone(one, person), await this.someone(other, person)];
    await befriend(...pair);
    return pair;
  }

  /** Ends all connections of clients. */
  cut(): void {
    for (const client of this.#clients.splice(0)) client.cut();
  }

  async close(): Promise<void> {
    this.cut();
    for (const relay of this.#relays) await relay.close();
    await this.us.close();
    await this.them.close();
    this.dns.close();
  }
}

/** Subscriptions both ways (RFC 6121 §3.1), until presence has arrived. */
export async function befriend(one: Client, other: Client): Promise<void> {
  for (const [who, whom] of [
    [one, other],
    [other, one],
  ] as const) {
    who.sends(`<presence to='${whom.bare}' type='subscribe'/>`);
    await whom.gets(`<presence from='${who.bare}' type='subscribe'/>`);
    whom.sends(`<presence to='${who.bare}' type='subscribed'/>`);
    await who.gets(`<presence from='${whom.bare}' type='subscribed'/>`);
    await who.gets(`<presence from='${whom.jid}'/>`);
  }
}

/** Local parts: where domains have letters outside ASCII, names have them too. */
const nameOf = (way: Way, number: number): string => (way === 'idn' ? `jörg.ж${number}` : `user${number}`);

function accountsOf(server: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    ways.flatMap((way) =>
      Array.from({ length: way === 'external' ? most.external : most.other }, (_, number) => [
        `${nameOf(way, number)}@${domainOf(server, way)}`,
        password,
      ]),
    ),
  );
}

/** What happens between two servers. `one` and `other` are Waxwing and the other server, and then the other way round. */
export interface Play {
  readonly title: string;
  play(scene: Scene, one: Peer, other: Peer): Promise<void>;
  /** Whether it makes sense between these. Default: always. */
  readonly suits?: (scene: Scene, one: Peer, other: Peer) => boolean;
}

/** Runs all plays between Waxwing and a server, both ways. */
export function federation(name: string, peer: (options: PeerOptions) => Promise<Peer>, plays: readonly Play[]): void {
  if ((process.env.WAXWING_INTEROP_WITHOUT ?? '').split(' ').includes(name)) {
    test(name, { skip: `${name} is not installed` }, () => {});
    return;
  }
  let scene: Scene | undefined;
  const done = { well: 0, badly: 0 };
  before(async () => {
    scene = await Scene.open(name, peer);
  });
  afterEach(() => scene?.cut());
  after(async () => {
    await scene?.us.stop();
    await scene?.them.stop();
    const complaints = scene?.us.complaints() ?? [];
    await scene?.close();
    assert.deepEqual(complaints, [], 'Waxwing complained');
  });
  for (const { title, play, suits = () => true } of plays)
    for (const way of ['us', 'them'] as const)
      test(`${title}: ${way === 'us' ? `Waxwing to ${name}` : `${name} to Waxwing`}`, {
        timeout: 300_000,
      }, async (t) => {
        const it = scene!;
        const [one, other] = way === 'us' ? [it.us, it.them] : [it.them, it.us];
        if (done.well === 0 && done.badly > 1) return t.skip('the servers cannot talk to each other');
        if (!suits(it, one, other)) return t.skip('this version does not have it');
        // An earlier test may have failed before it started the server that it had ended.
        await Promise.all([it.us.start(), it.them.start()]);
        try {
          await play(it, one, other);
          done.well++;
        } catch (error) {
          done.badly++;
          for (const line of it.them.log.slice(-40)) t.diagnostic(`${name}: ${line}`);
          for (const line of it.us.log.slice(-40)) t.diagnostic(`Waxwing: ${line}`);
          throw error;
        }
      });
}
