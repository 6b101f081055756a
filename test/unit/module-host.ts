/** A host with some modules on memory storage, and sessions without connections: what modules are tested on. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { Accounts } from '../../src/server/accounts/index.js';
import { Jid } from '../../src/server/address/jid.js';
import { loadConfig } from '../../src/server/config/load.js';
import { chooseModules, startModules } from '../../src/server/loader.js';
import type { ModuleDefinition } from '../../src/server/module/index.js';
import { exportOf } from '../../src/server/portable/export.js';
import { SessionDirectory } from '../../src/server/routing/directory.js';
import { LocalHost } from '../../src/server/routing/host.js';
import type { Link } from '../../src/server/routing/link.js';
import { Router, serverOrigin } from '../../src/server/routing/router.js';
import { Session } from '../../src/server/routing/session.js';
import { StreamError } from '../../src/server/stanza/errors.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import type { BlobStorage } from '../../src/storage/blobs.js';
import type { Storage } from '../../src/storage/contract.js';
import { openFiles } from '../../src/storage/files/index.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { strictTree } from '../strict.js';

export interface Client {
  readonly session: Session;
  /** Stanzas sent to it, the oldest first, as XML. */
  readonly received: string[];
  /** Sends a stanza, and resolves when it has been handled. */
  says(xml: string): Promise<void>;
  /** Sends a stanza; resolves with the received ones, and removes them from `received`. */
  asks(xml: string): Promise<string>;
  /** Becomes available, for those who look at the session and those who hear of it. */
  appears(presence?: string): Promise<void>;
  vanishes(presence?: string): Promise<void>;
}

export async function startHost(
  modules: readonly ModuleDefinition[],
  {
    config = {},
    storage = new MemoryStorage(),
    blobs = openFiles(join(tmpdir(), 'waxwing-unit-files')),
  }: { config?: Record<string, unknown>; storage?: Storage; blobs?: BlobStorage } = {},
) {
  const settings = loadConfig({
    text: '[hosts."example.org"]',
    modules,
    overrides: { storage: { driver: 'memory' }, ...config },
  });
  const router = new Router();
  const directory = new SessionDirectory();
  const accounts = await Accounts.open({
    storage,
    hashes: ['SHA-256'],
    onEvent: async (event) => {
      if (event.type === 'tokensRevoked' || event.type === 'accountEnabled' || event.type === 'roleChanged') return;
      if (event.type === 'accountDeleted') {
        await host.emit('accountDeleting', { jid: event.jid });
        for (const session of directory.of(event.jid.bare)) host.end(session, new StreamError('not-authorized'));
      }
      await host.emit(event.type, { jid: event.jid });
    },
  });
  const streams = new Map<Session, string[]>();
  const limits: string[] = [];
  const unreadable: Error[] = [];
  const checkReadable = () => {
    const [error] = unreadable.splice(0);
    if (error !== undefined) throw error;
  };
  const log = pino({ level: 'silent' });
  const host: LocalHost = new LocalHost({
    domain: 'example.org',
    router,
    directory,
    accounts,
    config: () => settings,
    exportOf: (one, owner) => exportOf(one, owner, { keys: false }),
    checkPassword: async (_, { bare }, password) => {
      const account = await accounts.verifyPassword(bare, password);
      return account === undefined ? { refused: 'wrong' } : { epoch: account.epoch };
    },
    log,
    software: { name: 'Waxwing', version: '1.2.3' },
    publicUrl: () => 'https://example.org:5443',
    limitHit: (limit) => limits.push(limit),
    canRestart: false,
    halt: async () => {},
    anonymousAt: (bare) => (directory.of(bare)[0]?.isAnonymous ? '203.0.113.0/24' : undefined),
    end: (session, reason) => {
      streams.get(session)?.push(`<stream:error><${reason.condition}/></stream:error>`);
      directory.remove(session);
    },
  });
  router.add(host.domain, host);
  host.start(await startModules(host, chooseModules(modules, settings), { storage, blobs, config: settings, log }));

  const readable = new Set<string>();
  const connect = (full: string, mechanism = 'SCRAM-SHA-256'): Client => {
    const received: string[] = [];
    const send: Link['send'] = (stanza, receipt) => {
      const xml = stanza.toXml();
      try {
        // What goes to many differs in its addressee.
        const form = xml.replace(/^(<\w+(?: [\w:]+="[^"]*")*?) to="[\w@./-]+"/, '$1 to="*"');
        if (!readable.has(form)) strictTree(xml);
        if (readable.size < 1000) readable.add(form);
      } catch (error) {
        unreadable.push(new Error(`no client can read ${xml}`, { cause: error }));
      }
      received.push(xml);
      receipt?.delivered();
    };
    const session = new Session(Jid.parse(full), { send }, mechanism);
    streams.set(session, received);
    directory.add(session);
    const origin = { ...serverOrigin, session };
    const says = async (xml: string) => {
      await host.fromSession(Stanza.parse(xml).with({ from: session.jid }), session, origin);
      // Long answers are sent in turns. These clients read everything, so none of them waits for long.
      while ([...streams.keys()].some((one) => one.isPouring)) await new Promise((resolve) => setImmediate(resolve));
      checkReadable();
    };
    return {
      session,
      received,
      says,
      asks: async (xml) => {
        await says(xml);
        return received.splice(0).join('\n');
      },
      appears: async (presence = '<presence/>') => {
        session.appears(Stanza.parse(presence).with({ from: session.jid }));
        await host.emit('available', { session });
      },
      vanishes: async (presence = '<presence type="unavailable"/>') => {
        session.appears(undefined);
        directory.remove(session);
        await host.emit('unavailable', { session, stanza: Stanza.parse(presence).with({ from: session.jid }) });
      },
    };
  };

  /** An account, made at once, with contacts by their subscription. */
  const account = async (name: string, contacts: Record<string, 'to' | 'from' | 'both'> = {}) => {
    const jid = Jid.parse(`${name}@example.org`);
    await accounts.create(jid, {});
    await storage.map('roster').set(
      jid.bare,
      Object.entries(contacts).map(([contact, subscription]) => [contact, { subscription, groups: [] }]),
    );
    return jid;
  };

  const stop = async () => {
    await host.stop();
    checkReadable();
  };

  return { host, storage, accounts, directory, router, limits, connect, account, stop };
}
