/**
 * ACME (RFC 8555) in a cluster: one node orders, the authority may ask any node for the proofs, and all nodes use the
 * certificate. test/interop/acme.test.ts has Pebble.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, describe, test } from 'node:test';
import { connect } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { Jid } from '../../src/server/address/jid.js';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { createServer, type Server } from '../../src/server/index.js';
import { filesOf } from '../../src/server/tls/self-signed.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { AcmeAuthority } from '../acme-authority.js';
import { CertificateAuthority } from '../certificate-authority.js';

const host = 'montague.lit';
const folder = mkdtempSync(join(tmpdir(), 'waxwing-cluster-acme-'));

/** Nodes of a cluster with one storage, and their authority. */
class Nodes {
  readonly storage = new MemoryStorage();
  readonly network = new LocalNetwork();
  readonly authority: AcmeAuthority;
  readonly all: Server[] = [];
  /** What all nodes have logged. */
  readonly log: string[] = [];
  readonly #folder: string;
  readonly #challenge: string;

  private constructor(authority: AcmeAuthority, place: string, challenge: string) {
    this.authority = authority;
    this.#folder = place;
    this.#challenge = challenge;
  }

  static async with(challenge = 'http-01'): Promise<Nodes> {
    const place = mkdtempSync(join(folder, 'nodes-'));
    const nodes = new Nodes(await AcmeAuthority.start(join(place, 'authority.crt')), place, challenge);
    clusters.push(nodes);
    return nodes;
  }

  dataOf(name: string): string {
    return join(this.#folder, name);
  }

  async start(name: string): Promise<Server> {
    const server = await createServer({
      text: `
        data = ${JSON.stringify(this.dataOf(name))}
        [hosts."${host}"]
        [listen]
        c2s = ["127.0.0.1:0"]
        c2s_tls = ["127.0.0.1:0"]
        https = ["127.0.0.1:0"]
        http = ["127.0.0.1:0"]
        acme = ["127.0.0.1:0"]
        [s2s]
        enabled = false
        [tls.acme]
        agree_terms = true
        directory = "${this.authority.directory}"
        authorities = [${JSON.stringify(join(this.#folder, 'authority.crt'))}]
        challenge = "${this.#challenge}"
        [storage]
        driver = "memory"
        low_space_bytes = 0
        [admin]
        shutdown_grace_seconds = 0
        [log]
        level = "trace"`,
      // Services would be in the certificate, too.
      standard: [],
      storage: this.storage.handle(),
      cluster: { node: name, address: name, network: this.network },
      logTo: { write: (line) => void this.log.push(line) },
    });
    this.all.push(server);
    await server.start();
    return server;
  }

  /** The authority asks this node for proofs. */
  asks(server: Server): void {
    this.authority.http = portOf(server, 'acme');
    this.authority.tls = portOf(server, 'https');
  }

  /** Two nodes with a certificate that the first one has ordered while it was alone, as the second says. */
  async two(): Promise<[Server, Server]> {
    let asked = (_: Server) => {};
    const joined = new Promise<void>((resolve) => {
      asked = (server) => {
        this.asks(server);
        resolve();
      };
    });
    this.authority.beforeLook = () => joined;
    const first = await this.start('node1');
    const second = await this.start('node2');
    asked(second);
    for (const server of [first, second]) await serves(server, isIssued);
    await until(() => this.all.every(({ node }) => node!.isAtRest));
    this.authority.beforeLook = () => {};
    return [first, second];
  }

  /** The node where the address of the host lives, and another. */
  get homeAndOther(): [Server, Server] {
    const home = this.all.find(({ node }) => node!.of(Jid.parse(host)) === undefined)!;
    return [home, this.all.find((one) => one !== home)!];
  }

  /** Moves the address of the host to another node. */
  async move(from: Server, to: Server): Promise<void> {
    await from.node!.give([from.node!.slotOf(Jid.parse(host))], to.node!.name.id);
    await until(() => this.all.every(({ node }) => node!.isAtRest));
  }

  async stop(): Promise<void> {
    this.authority.beforeLook = () => {};
    this.authority.beforeSigning = () => {};
    for (const server of this.all.splice(0)) await server.stop();
    this.authority.stop();
  }
}

const clusters: Nodes[] = [];
afterEach(async () => {
  for (const nodes of clusters.splice(0)) await nodes.stop();
});
after(() => rmSync(folder, { recursive: true }));

/** 0 if it does not listen for that. */
const portOf = ({ listening }: Server, kind: string): number => listening.find((one) => one.kind === kind)?.port ?? 0;

async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setImmediate(resolve));
}

/** The certificate that a client gets. */
function offered(server: Server): Promise<X509Certificate> {
  const port = portOf(server, 'c2s_tls');
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', servername: host, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()!);
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

const isIssued = ({ issuer }: X509Certificate): boolean => issuer.includes('authority of tests');

async function serves(server: Server, isWanted: (certificate: X509Certificate) => boolean): Promise<X509Certificate> {
  let found = await offered(server);
  await until(async () => isWanted((found = await offered(server))));
  return found;
}

/** A promise, and what fulfils it. */
function gate(): { readonly passed: Promise<void>; pass(): void } {
  let pass = () => {};
  const passed = new Promise<void>((resolve) => {
    pass = resolve;
  });
  return { passed, pass };
}

describe('orders of certificates in a cluster', { timeout: 120_000 }, () => {
  for (const challenge of ['http-01', 'tls-alpn-01'])
    test(`${challenge}: the authority asks any node, and all use the certificate (RFC 8555 §8)`, async () => {
      const nodes = await Nodes.with(challenge);
      // The node that is asked has joined while the order was open.
      const [first, second] = await nodes.two();
      assert.equal(nodes.authority.signed, 1);
      const [home, other] = nodes.homeAndOther;
      const before = await offered(first);
      assert.equal((await offered(second)).serialNumber, before.serialNumber);
      // Asked for at either node, and proved by the other.
      for (const [at, proves] of [
        [home, other],
        [other, home],
      ] as const) {
        nodes.asks(proves);
        await at.acme.renew(host);
        const [one, two] = await Promise.all([offered(home), offered(other)]);
        assert.equal(one.serialNumber, two.serialNumber);
        assert.equal(one.publicKey.equals(before.publicKey), true, 'the key stays');
      }
      assert.equal(nodes.authority.signed, 3);
      await other.acme.renew(host, { newKey: true });
      const [one, two] = await Promise.all([offered(home), offered(other)]);
      assert.equal(one.fingerprint256, two.fingerprint256);
      assert.equal(one.publicKey.equals(before.publicKey), false);
      assert.equal(nodes.authority.accounts, 1);
      // Nothing of an order that is done is left.
      const path = '/.well-known/acme-challenge/token-of-the-order-0-0';
      assert.equal((await fetch(`http://127.0.0.1:${portOf(other, 'http')}${path}`)).status, 404);
      assert.deepEqual(await nodes.storage.document('acme_orders').owners({ limit: 10 }), []);
      assert.ok(nodes.log.length > 0 && !nodes.log.some((line) => line.includes('PRIVATE KEY')));
    });

  test('a node that starts has the certificate at once, without the one that has ordered it', async () => {
    const nodes = await Nodes.with();
    const [first, second] = await nodes.two();
    const known = await offered(first);
    for (const server of [first, second]) await server.stop();
    nodes.all.length = 0;
    const third = await nodes.start('node3');
    assert.equal((await offered(third)).fingerprint256, known.fingerprint256);
    await until(() => third.acme.status[0]?.renewAt != null);
    assert.equal(nodes.authority.signed, 1);
  });

  for (const moment of ['beforeLook', 'beforeSigning'] as const)
    test(`a node that dies between order and certificate, ${moment}: another one orders`, async () => {
      const nodes = await Nodes.with();
      const opened = gate();
      const buried = gate();
      const first = await nodes.start('node1');
      nodes.authority.http = portOf(first, 'acme');
      nodes.authority[moment] = () => {
        opened.pass();
        return buried.passed;
      };
      const failed = assert.rejects(first.acme.renew(host));
      await opened.passed;
      const second = await nodes.start('node2');
      nodes.asks(second);
      nodes.authority[moment] = () => {};
      assert.equal(await first.acme.statuses().then(([status]) => status?.failures), 0);
      first.node!.kill();
      await second.node!.expel(first.node!.name.id);
      const certificate = await serves(second, isIssued);
      assert.equal(nodes.authority.signed, 1);
      // What the dead one still gets is no longer stored.
      buried.pass();
      await failed;
      await second.acme.renew(host);
      assert.notEqual((await offered(second)).serialNumber, certificate.serialNumber);
      assert.equal(nodes.authority.accounts, 1);
      assert.deepEqual(await nodes.storage.document('acme_orders').owners({ limit: 10 }), []);
    });

  test('a renewal that is due is ordered by one node, also while the address of the host moves', async () => {
    const nodes = await Nodes.with();
    await nodes.two();
    const [home, other] = nodes.homeAndOther;
    nodes.asks(home);
    const opened = gate();
    const moved = gate();
    nodes.authority.beforeLook = () => {
      opened.pass();
      return moved.passed;
    };
    const renewed = home.acme.renew(host);
    await opened.passed;
    await nodes.move(home, other);
    // Its new home looks, and sees that an order is open.
    await assert.rejects(other.acme.renew(host), /another node is ordering a certificate/);
    assert.equal(nodes.authority.ordered.length, 2);
    moved.pass();
    await renewed;
    assert.equal((await offered(other)).serialNumber, (await offered(home)).serialNumber);
    assert.equal(nodes.authority.signed, 2);
    // Both look again, and neither orders.
    for (const server of nodes.all) await server.reload();
    await until(async () => (await home.acme.statuses())[0]?.renewAt != null);
    assert.deepEqual(await home.acme.statuses(), await other.acme.statuses());
    assert.equal(nodes.authority.ordered.length, 2);
  });

  test('a refusal is known at all nodes, survives the node, and is not repeated at once', async () => {
    const nodes = await Nodes.with();
    await nodes.two();
    const [home, other] = nodes.homeAndOther;
    nodes.authority.http = 1;
    await assert.rejects(other.acme.renew(host), /could not verify montague\.lit/);
    const [status] = await other.acme.statuses();
    assert.match(status!.error!, /could not verify/);
    assert.equal(status!.failures, 1);
    const known = await offered(home);
    await home.stop();
    await until(() => other.acme.status[0]?.failures === 1);
    assert.equal((await offered(other)).serialNumber, known.serialNumber);
    assert.equal(nodes.authority.ordered.length, 2);
    nodes.asks(other);
    await other.acme.renew(host);
    assert.equal(other.acme.status[0]?.error, null);
  });

  test('a node that stops gives up its order, and another one orders', async () => {
    const nodes = await Nodes.with();
    const opened = gate();
    const stopped = gate();
    nodes.authority.beforeLook = () => {
      opened.pass();
      return stopped.passed;
    };
    const first = await nodes.start('node1');
    await opened.passed;
    const second = await nodes.start('node2');
    nodes.asks(second);
    nodes.authority.beforeLook = () => {};
    await first.stop();
    stopped.pass();
    await serves(second, isIssued);
    assert.deepEqual([nodes.authority.ordered.length, nodes.authority.signed], [2, 1]);
  });

  test('certificates of a single server are those of the cluster when it joins', async () => {
    const nodes = await Nodes.with();
    const own = new CertificateAuthority('authority of tests').issues([host]);
    const data = nodes.dataOf('node1');
    mkdirSync(join(data, 'certs'), { recursive: true });
    const files = filesOf(join(data, 'certs'), host);
    writeFileSync(files.certificate, own.certificate);
    writeFileSync(files.key, own.key);
    await nodes.start('node1');
    const second = await nodes.start('node2');
    const { fingerprint256 } = new X509Certificate(own.certificate);
    await serves(second, (one) => one.fingerprint256 === fingerprint256);
    assert.equal(nodes.authority.ordered.length, 0);
  });

  test('a stored certificate that is damaged, or of another key, is not used; that of a node replaces it', async () => {
    const nodes = await Nodes.with();
    await nodes.two();
    const [home, other] = nodes.homeAndOther;
    const known = await offered(home);
    const store = nodes.storage.document<unknown>('acme_certificates');
    const good = (await store.get(host)) as { certificate: string; key: string };
    const foreign = new CertificateAuthority('another').issues([host]);
    for (const bad of [{ certificate: good.certificate, key: foreign.key }, { certificate: 'x', key: 'y' }, 7]) {
      await store.set(host, bad);
      await home.reload();
      await until(async () => isDeepStrictEqual(await store.get(host), good));
      for (const server of [home, other]) assert.equal((await offered(server)).fingerprint256, known.fingerprint256);
    }
    assert.equal(nodes.authority.ordered.length, 1);
    const about = nodes.log.filter((line) => line.includes('acme_certificates'));
    assert.ok(about.length > 0 && !about.some((line) => line.includes('PRIVATE')));
  });
});
