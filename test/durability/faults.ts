/**
 * A full, failing or read-only disk; a database that is locked by another process or damaged. Writers get errors, the
 * server keeps running, acknowledged data is stored, and after the fault everything works again without help. Some
 * tests need root; those that cannot run are skipped with a reason.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, copyFileSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { patience, type ServerProcess, within } from '../interop/server.js';
import { Client } from './client.js';
import { Disk, smallDisk } from './disk.js';
import { serve } from './rounds.js';
import { password } from './world.js';

const room = 'hall@conference.localhost';

type Kind = 'chat' | 'room' | 'private' | 'contact' | 'pep';
const kinds: readonly Kind[] = ['chat', 'room', 'private', 'contact', 'pep'];

/** Data that the server was asked to store, and its answer. */
interface Said {
  readonly id: string;
  readonly kind: Kind;
  readonly number: number;
  /** Undefined if it was acknowledged, or answered with a result. */
  readonly refusal: { readonly condition: string; readonly type: string } | undefined;
}

/** Sends messages, each of which is accepted or refused. */
class Speaker {
  readonly client: Client;
  readonly #port: () => number;
  readonly #sent: Said[] = [];
  readonly #open = new Map<string, (error: Element | undefined) => void>();
  readonly #found = new Map<string, string[]>();
  #count = 0;

  constructor(port: () => number) {
    this.#port = port;
    const greeting = ['<presence/>', `<presence to='${room}/anna'><x xmlns='${NS.muc}'/></presence>`];
    this.client = new Client({
      address: 'anna@localhost/one',
      password,
      port,
      greeting,
      received: (stanza) => this.#received(stanza),
    });
  }

  #received(stanza: Element): void {
    const result = stanza.getChild('result', NS.mam);
    const { id = '', type } = stanza.attrs;
    if (result !== undefined) {
      const message = result.getChild('forwarded', NS.forward)?.getChild('message');
      this.#found.get(result.attrs.queryid!)?.push(message?.attrs.id ?? '');
    } else if (type === 'error') this.#open.get(id)?.(stanza.getChild('error') ?? stanza);
  }

  /** One of a kind; resolves with what became of it. */
  #say(kind: Kind, padding: string): Promise<Said> {
    const number = ++this.#count;
    const id = `${kind}-${number}`;
    return new Promise((resolve) => {
      const ended = (error: Element | undefined): void => {
        if (!this.#open.delete(id)) return;
        const [condition] = error?.getChildElements().filter((child) => child.getNS() === NS.stanzas) ?? [];
        const refusal =
          error === undefined ? undefined : { condition: condition?.name ?? '', type: error.attrs.type ?? '' };
        const sent = { id, kind, number, refusal };
        this.#sent.push(sent);
        resolve(sent);
      };
      this.#open.set(id, ended);
      const value = `version-${number} ${padding}`;
      if (kind === 'chat' || kind === 'room') {
        const to = kind === 'room' ? `to='${room}' type='groupchat'` : `to='bert@localhost' type='chat'`;
        // A refused message is refused before it is acknowledged.
        this.client.send(`<message ${to} id='${id}'><body>${value}</body></message>`, {
          acknowledged: () => ended(undefined),
        });
      } else
        this.client.ask('set', writes[kind](value), (answer) =>
          ended(answer.attrs.type === 'result' ? undefined : answer.getChild('error')),
        );
    });
  }

  /** Some of every kind. Resolves when all are taken or refused. */
  burst(bytes = 10): Promise<Said[]> {
    const padding = 'x'.repeat(bytes);
    return within(patience, 'the answers to a burst', () =>
      Promise.all(Array.from({ length: 5 }, () => kinds.map((kind) => this.#say(kind, padding))).flat()),
    );
  }

  /** Whether the server answers, on the same stream. */
  async ping(): Promise<void> {
    await this.client.request('get', `<ping xmlns='${NS.ping}'/>`, 'localhost');
  }

  /** Accepted messages are stored, and with `strictly` nothing else. */
  async compare(strictly: boolean): Promise<void> {
    const other = new Client({
      address: 'bert@localhost/one',
      password,
      port: this.#port,
      greeting: [],
      received: (stanza) => this.#received(stanza),
    });
    await other.connect();
    const archives = {
      own: await this.#archive(this.client, undefined),
      other: await this.#archive(other, undefined),
      room: await this.#archive(this.client, room),
    };
    await other.leave();
    for (const { id, kind, refusal } of this.#sent) {
      if (kind !== 'chat' && kind !== 'room') continue;
      for (const name of kind === 'room' ? (['room'] as const) : (['own', 'other'] as const)) {
        const copies = archives[name].filter((one) => one === id).length;
        if (refusal === undefined)
          assert.equal(copies, 1, `${id} was taken, and is ${copies} times in archive ${name}`);
        // A message between two is in two archives, and there may be room for one alone.
        else if (strictly && kind === 'room') assert.equal(copies, 0, `${id} was refused, and is in archive ${name}`);
      }
    }
    for (const kind of ['private', 'contact', 'pep'] as const) {
      const taken = this.#sent.findLast((sent) => sent.kind === kind && sent.refusal === undefined)?.number ?? 0;
      const last = this.#sent.findLast((sent) => sent.kind === kind)?.number ?? 0;
      const answer = String(await this.client.request('get', reads[kind]));
      const found = Number(/version-(\d+)/.exec(answer)?.[1] ?? 0);
      if (strictly) assert.equal(found, taken, `${kind} is number ${found}; the last that was taken is ${taken}`);
      else assert.ok(found >= taken && found <= last, `${kind} is number ${found}: neither ${taken} nor behind it`);
    }
  }

  async #archive(reader: Client, of: string | undefined): Promise<string[]> {
    const ids: string[] = [];
    for (let after = ''; ; ) {
      const query = `q${++this.#count}`;
      this.#found.set(query, ids);
      const set = `<set xmlns='${NS.rsm}'><max>100</max>${after && `<after>${after}</after>`}</set>`;
      const answer = await reader.request('set', `<query xmlns='${NS.mam}' queryid='${query}'>${set}</query>`, of);
      const fin = answer.getChild('fin', NS.mam);
      after = fin?.getChild('set', NS.rsm)?.getChildText('last') ?? '';
      if (fin?.attrs.complete === 'true' || after === '') return ids;
    }
  }
}

const writes: Readonly<Record<Exclude<Kind, 'chat' | 'room'>, (value: string) => string>> = {
  private: (value) => `<query xmlns='${NS.private}'><kept xmlns='test:kept'>${value}</kept></query>`,
  contact: (value) => `<query xmlns='${NS.roster}'><item jid='dora@localhost' name='${value.slice(0, 100)}'/></query>`,
  pep: (value) =>
    `<pubsub xmlns='${NS.pubsub}'><publish node='kept'><item id='current'><kept xmlns='test:kept'>${value}</kept></item></publish></pubsub>`,
};
const reads: Readonly<Record<keyof typeof writes, string>> = {
  private: `<query xmlns='${NS.private}'><kept xmlns='test:kept'/></query>`,
  contact: `<query xmlns='${NS.roster}'/>`,
  pep: `<pubsub xmlns='${NS.pubsub}'><items node='kept'/></pubsub>`,
};

interface Fault {
  begin(server: ServerProcess): void | Promise<void>;
  end(server: ServerProcess): void | Promise<void>;
  /** Refused messages are not stored, except if they reached the disk but could not be synced. */
  readonly strictly?: boolean;
  /** The size of the messages, which fill a disk. */
  readonly bytes?: number;
  /** The server has to be started again. */
  readonly fatal?: boolean;
}

/** Everything that a fault does to a server and its clients. */
async function suffer(t: TestContext, server: ServerProcess, fault: Fault): Promise<void> {
  const port = () => server.port('c2s');
  const speaker = new Speaker(port);
  t.after(() => speaker.client.cut());
  await speaker.client.connect();
  const refused = (sent: readonly Said[]) => sent.flatMap(({ refusal }) => refusal ?? []);
  assert.deepEqual(refused(await speaker.burst()), [], 'refused before there was a fault');
  server.takeLog();

  await fault.begin(server);
  const refusals: NonNullable<Said['refusal']>[] = [];
  for (let n = 0; n < 2000 && refusals.length < 25; n++) refusals.push(...refused(await speaker.burst(fault.bytes)));
  assert.ok(refusals.length > 0, 'the fault hurt nobody');
  for (const { condition, type } of refusals) {
    assert.match(condition, /^(resource-constraint|internal-server-error)$/);
    assert.equal(type, 'wait');
  }
  await speaker.ping();
  // A new client can log in.
  const other = new Client({ address: 'cleo@localhost/one', password, port });
  await other.connect();
  await other.leave();
  await fault.end(server);

  if (fault.fatal) await restart(server, speaker.client);
  await within(patience, 'the recovery', async () => {
    while (refused(await speaker.burst()).length > 0) await pause(50);
  });
  await speaker.compare(fault.strictly ?? true);
  assert.deepEqual(speaker.client.streamErrors, []);
  assert.deepEqual(server.takeLog().filter(isUnexpected), [], 'the server complained of something else');
  await server.stop();
  // The stop may be the first to notice that the storage works again.
  assert.deepEqual(server.takeLog().filter(isUnexpected), [], 'the server complained of something else');
  await server.start();
  speaker.client.forget();
  await speaker.client.connect();
  await speaker.compare(fault.strictly ?? true);
  assert.deepEqual(server.takeLog(), []);
  const conditions = new Set(refusals.map(({ condition }) => condition));
  t.diagnostic(`refused ${refusals.length} times with ${[...conditions].join(', ')}`);
}

async function restart(server: ServerProcess, client: Client): Promise<void> {
  await server.kill();
  await server.start();
  await client.connect();
}

/** Logged errors other than storage failures. */
function isUnexpected(line: string): boolean {
  const { err, msg } = JSON.parse(line) as { err?: { type?: string; code?: string }; msg?: string };
  return err?.type !== 'StorageError' && !/write-ahead log|goes on failing|the storage works again/.test(msg ?? '');
}

const databaseOf = ({ data }: ServerProcess): string => join(data, 'waxwing.sqlite');

async function started(t: TestContext, data?: string): Promise<ServerProcess> {
  const server = await serve(data === undefined ? {} : { data });
  t.after(() => server.close());
  return server;
}

// ---------------------------------------------------------------------------------------------------------------------

test('a full disk', { timeout: 300_000 }, async (t) => {
  const disk = smallDisk('24m');
  if (typeof disk === 'string') return t.skip(disk);
  const ballast = join(disk.place, 'ballast');
  const server = await started(t, join(disk.place, 'data'));
  await suffer(t, server, {
    begin: () => fill(ballast, disk.place),
    end: () => rmSync(ballast),
    bytes: 4000,
  });
});

test('a full disk, on which the server is killed and started', { timeout: 300_000 }, async (t) => {
  const disk = smallDisk('24m');
  if (typeof disk === 'string') return t.skip(disk);
  const ballast = join(disk.place, 'ballast');
  const server = await started(t, join(disk.place, 'data'));
  await suffer(t, server, {
    begin: () => fill(ballast, disk.place),
    end: async () => {
      await server.kill();
      // It starts, or reports what is missing.
      await server.start().catch(() => assert.match(server.takeLog().join('\n'), /StorageError.*full/));
      rmSync(ballast);
    },
    bytes: 4000,
    fatal: true,
  });
});

/** Leaves a little. */
function fill(ballast: string, place: string): void {
  const free = Number(execFileSync('stat', ['-f', '-c', '%f', place])) * 4096;
  writeFileSync(ballast, Buffer.alloc(Math.max(0, free - 2 ** 20), 1));
}

test('files that cannot grow', { timeout: 300_000 }, async (t) => {
  const server = await started(t);
  const limit = (bytes: string) => execFileSync('prlimit', ['--pid', String(server.pid), `--fsize=${bytes}:unlimited`]);
  try {
    limit('unlimited');
  } catch {
    return t.skip('needs prlimit');
  }
  await suffer(t, server, {
    begin: () => void limit(String(statSync(`${databaseOf(server)}-wal`).size + 2 ** 18)),
    end: () => void limit('unlimited'),
    bytes: 4000,
  });
});

test('a server that is stopped while its disk is full', { timeout: 300_000 }, async (t) => {
  const disk = smallDisk('24m');
  if (typeof disk === 'string') return t.skip(disk);
  const ballast = join(disk.place, 'ballast');
  const server = await started(t, join(disk.place, 'data'));
  const speaker = new Speaker(() => server.port('c2s'));
  t.after(() => speaker.client.cut());
  await speaker.client.connect();
  await speaker.burst();
  fill(ballast, disk.place);
  for (let refused = 0; refused === 0; )
    refused = (await speaker.burst(4000)).filter(({ refusal }) => refusal !== undefined).length;
  process.kill(server.pid, 'SIGTERM');
  await within(patience, 'the end of the stream', async () => {
    while (speaker.client.online) await pause(20);
  });
  assert.deepEqual(speaker.client.end, { condition: 'system-shutdown', closed: true, reset: false });
  assert.equal(await server.gone(), 0);
  assert.deepEqual(server.takeLog().filter(isUnexpected), []);
  rmSync(ballast);
  await server.start();
  await speaker.client.connect();
  await speaker.compare(true);
});

test('another process locks the database', { timeout: 300_000 }, async (t) => {
  const server = await started(t);
  const script = fileURLToPath(new URL('../unit/storage-child.js', import.meta.url));
  let locker: ChildProcess;
  await suffer(t, server, {
    begin: async () => {
      locker = spawn(process.execPath, [script, 'lock', databaseOf(server)], { stdio: ['pipe', 'pipe', 'inherit'] });
      t.after(() => locker.kill('SIGKILL'));
      await once(locker.stdout!, 'data');
    },
    end: async () => {
      locker.kill('SIGKILL');
      await once(locker, 'exit');
    },
  });
});

test('read-only files', { timeout: 300_000 }, async (t) => {
  const disk = Disk.make(64);
  if (typeof disk === 'string') return t.skip(disk);
  const server = await started(t, join(disk.place, 'data'));
  const change = (how: '+i' | '-i') => {
    execFileSync('chattr', [how, databaseOf(server), `${databaseOf(server)}-wal`], { stdio: 'pipe' });
  };
  try {
    change('+i');
    change('-i');
  } catch {
    return t.skip('needs chattr, and the right to use it');
  }
  await suffer(t, server, { begin: () => change('+i'), end: () => change('-i') });
});

/** Disks that are unusable until they are mounted again. */
const breakages: readonly (readonly [string, (disk: Disk) => void])[] = [
  ['a file system that becomes read-only', (disk) => disk.abort()],
  ['a failing disk', (disk) => disk.shutdown()],
];
for (const [title, fail] of breakages)
  test(title, { timeout: 300_000 }, async (t) => {
    const disk = Disk.make(64);
    if (typeof disk === 'string') return t.skip(disk);
    const server = await started(t, join(disk.place, 'data'));
    await suffer(t, server, {
      begin: () => fail(disk),
      end: async () => {
        await server.kill();
        disk.unmount();
        disk.mount();
      },
      fatal: true,
      strictly: false,
    });
  });

test('a damaged database', { timeout: 300_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'waxwing-damaged-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const server = await started(t, folder);
  const file = databaseOf(server);
  const speaker = new Speaker(() => server.port('c2s'));
  t.after(() => speaker.client.cut());
  await speaker.client.connect();
  await speaker.burst(4000);
  await server.stop();
  copyFileSync(file, `${file}.whole`);
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, Buffer.alloc(4096, 0xa5), 0, 4096, 0);
  closeSync(descriptor);
  for (let n = 0; n < 2; n++) {
    await assert.rejects(server.start(), /the server did not start/);
    assert.match(server.takeLog().join('\n'), /StorageError.*waxwing\.sqlite: .*(SQLITE_NOTADB|SQLITE_CORRUPT)/);
  }
  copyFileSync(`${file}.whole`, file);
  server.takeLog();
  await server.start();
  await speaker.client.connect();
  await speaker.burst();
  await speaker.compare(true);
  assert.deepEqual(server.takeLog(), []);
});
