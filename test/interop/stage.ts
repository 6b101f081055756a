/** The server that the clients of one test file talk to, and its accounts. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before } from 'node:test';
import type { ListenerKind } from '../../src/server/listeners.js';
import type { Account, Device } from './device.js';
import { installed } from './libraries.js';
import { Relay } from './relay.js';
import { patience, ServerProcess, within } from './server.js';

/** Created by run.sh; every client trusts it. */
export const certificate = join(installed, 'localhost.crt');

export const password = 'pencil & <sharpener>';
/** For those that encode it rightly. */
export const hardPassword = 'Blümchen & <Söhne> 🌼';

/** Programs that run.sh could not install. */
const absent = (process.env.WAXWING_INTEROP_WITHOUT ?? '').split(' ');

/** A program that some tests need. */
type Needed = 'javascript' | 'slixmpp' | 'profanity' | 'slidge' | 'biboumi' | 'go-sendxmpp';

/** For the option `skip` of tests. */
export const without = (program: Needed): string | false =>
  absent.includes(program) ? `${program} is not installed` : false;

const accounts = Array.from({ length: 60 }, (_, number) => `user${number}@localhost`);
const hardAccounts = Array.from({ length: 10 }, (_, number) => `harduser${number}@localhost`);

export class Stage {
  #server: ServerProcess | undefined;
  readonly #relays: Relay[] = [];
  readonly #devices: Device[] = [];
  readonly #ways = new Map<ListenerKind, Relay>();
  readonly #free = [...accounts];
  readonly #freeHard = [...hardAccounts];

  /** One for the whole file; ends with it. */
  static forThisFile(config: Readonly<Record<string, unknown>> = {}): Stage {
    const stage = new Stage();
    before(async () => {
      await readFile(certificate); // run.sh makes it
      stage.#server = await ServerProcess.start({
        accounts: Object.fromEntries([
          ...accounts.map((address) => [address, password]),
          ...hardAccounts.map((address) => [address, hardPassword]),
        ]),
        config: {
          hosts: { localhost: { certificate: [certificate], key: [certificate.replace(/crt$/, 'key')] } },
          c2s: { allow_plain_tcp_on_loopback: true },
          ...config,
        },
      });
      for (const kind of ['c2s', 'c2s_tls', 'https', 'http'] as const) stage.#ways.set(kind, await stage.relay(kind));
    });
    after(async () => {
      const ends = stage.#devices.map((device) => within(patience, 'the end of a device', () => device.destroy()));
      await Promise.allSettled(ends);
      for (const relay of stage.#relays) await relay.close();
      await stage.#server?.stop();
      const log = stage.#server?.takeLog() ?? [];
      await stage.#server?.close();
      assert.deepEqual(log, [], 'the server complained');
    });
    return stage;
  }

  get server(): ServerProcess {
    assert.ok(this.#server, 'the server has not started');
    return this.#server;
  }

  /** An unused account. */
  account(resource: string, secret: typeof password | typeof hardPassword = password): Account {
    const bare = (secret === password ? this.#free : this.#freeHard).shift();
    assert.ok(bare !== undefined, 'more accounts are needed');
    return { bare, resource, password: secret };
  }

  /** The port of a way to the server that is never cut. */
  port(kind: ListenerKind): number {
    const port = this.#ways.get(kind)?.port;
    assert.ok(port !== undefined, `nothing listens for ${kind}`);
    return port;
  }

  /** A way to a port of the server that can be cut. */
  async relay(kind: ListenerKind): Promise<Relay> {
    const relay = await Relay.open(this.server.port(kind));
    this.#relays.push(relay);
    return relay;
  }

  /** Ends the device with the file, unless a test has done so. */
  async keep(device: Device | Promise<Device>): Promise<Device> {
    const stored = await device;
    this.#devices.push(stored);
    return stored;
  }
}
