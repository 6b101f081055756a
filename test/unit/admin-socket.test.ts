import assert from 'node:assert/strict';
import { existsSync, linkSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer as createNetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { call, isAnswering } from '../../src/server/admin/client.js';
import { CommandError } from '../../src/server/admin/command.js';
import { type AdminSocket, openAdminSocket } from '../../src/server/admin/socket.js';
import { createServer, type Server } from '../../src/server/index.js';

const folder = mkdtempSync(join(tmpdir(), 'waxwing-admin-'));
const path = join(folder, 'admin.sock');
const text = `data = "${folder}"\n[storage]\ndriver = "memory"\n[auth]\nscram_iterations = 4096\n`;

let server: Server;
let socket: AdminSocket;
const logged: string[] = [];

const open = (at: string) =>
  openAdminSocket(
    at,
    {
      server,
      launch: { file: undefined, data: folder, folder },
      config: server.config,
      modules: server.modules,
      accounts: async () => server.accounts,
      opened: async () => server,
      shutdown: async (progress) => progress('going'),
    },
    server.logs.area('admin'),
  );

before(async () => {
  server = await createServer({ text, logTo: { write: (line) => void logged.push(line) } });
  socket = await open(path);
});
after(async () => {
  socket.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});

interface Reply {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly text: string;
}

function send(method: string, url: string, body = '', headers: Record<string, string> = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    request({ socketPath: path, method, path: url, headers, agent: false }, (response) => {
      let text = '';
      response
        .setEncoding('utf8')
        .on('data', (chunk: string) => {
          text += chunk;
        })
        .on('end', () => resolve({ status: response.statusCode, type: response.headers['content-type'], text }));
    })
      .once('error', reject)
      .end(body);
  });
}

const failure = (code: string) => (error: unknown) => error instanceof CommandError && error.failure === code;
const quiet = () => {};

describe('the admin socket', () => {
  test('only its owner can use it', () => {
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  test('answers any HTTP client in JSON', async () => {
    const added = await send('POST', '/v1/user/add', '{"jid": "Alice@localhost", "password": "wonderland"}');
    assert.deepEqual([added.status, added.type], [200, 'application/json']);
    assert.deepEqual(JSON.parse(added.text), { result: { jid: 'alice@localhost', admin: false } });
    const again = await send('POST', '/v1/user/add', '{"jid": "alice@localhost", "password": "wonderland"}');
    assert.deepEqual([again.status, JSON.parse(again.text).error.code], [409, 'conflict']);
    assert.doesNotMatch(logged.join(''), /wonderland/);
    assert.match(logged.join(''), /"command":"user add","jid":"Alice@localhost"/);
  });

  const refused: readonly (readonly [method: string, url: string, body: string, status: number, code: string])[] = [
    ['GET', '/v1/status', '', 405, 'usage'],
    ['POST', '/v1/start', '', 404, 'unknown-command'],
    ['POST', '/v1/status/', '', 404, 'unknown-command'],
    ['POST', '/v1/../v1/status', '', 404, 'unknown-command'],
    ['POST', '/v1/status', '[1]', 400, 'usage'],
    ['POST', '/v1/status', '{', 400, 'usage'],
    ['POST', '/v1/status', '{"more": 1}', 400, 'usage'],
    ['POST', '/v1/status', '{"__proto__": 1}', 400, 'usage'],
    ['POST', '/v1/user/show', '{"jid": "nobody@localhost"}', 404, 'not-found'],
    ['POST', '/v1/user/passwd', '{"jid": "alice@localhost", "password": "x"}', 400, 'usage'],
    ['POST', '/v1/user/passwd', '{"jid": "alice@localhost"}', 400, 'usage'],
    ['POST', '/v1/session/kick', '{"jid": "alice@localhost"}', 404, 'not-found'],
  ];
  for (const [method, url, body, status, code] of refused) {
    test(`refuses ${method} ${url} ${body}`, async () => {
      const reply = await send(method, url, body);
      assert.deepEqual([reply.status, JSON.parse(reply.text).error.code], [status, code], reply.text);
    });
  }

  test('refuses an endless body', async () => {
    const reply = await send('POST', '/v1/status', `{"a": "${'x'.repeat(70_000)}"}`).catch(() => undefined);
    assert.ok(reply === undefined || reply.status === 400);
  });

  test('reports progress if lines are accepted', async () => {
    const reported: string[] = [];
    assert.deepEqual(await call(path, 'stop', {}, (text) => reported.push(text)), { stopped: true, pid: process.pid });
    assert.deepEqual(reported, ['going']);
    const plain = await send('POST', '/v1/stop');
    assert.deepEqual(JSON.parse(plain.text), { result: { stopped: true, pid: process.pid } });
  });

  test('errors are returned unchanged', async () => {
    await assert.rejects(call(path, 'user show', { jid: 'nobody@localhost' }, quiet), failure('not-found'));
    await assert.rejects(call(path, 'user fly', {}, quiet), /without the command user fly/);
    await assert.rejects(call(join(folder, 'none.sock'), 'status', {}, quiet), failure('not-running'));
  });

  test('log levels change', async () => {
    assert.deepEqual(await call(path, 'logs level', { area: 'storage', level: 'trace' }, quiet), {
      level: 'info',
      areas: { storage: 'trace' },
    });
    assert.equal(server.logs.area('storage').level, 'trace');
    await call(path, 'logs level', { level: 'error' }, quiet);
    assert.equal(server.logs.area('storage').level, 'trace');
    assert.equal(server.logs.area('streams').level, 'error');
  });

  test('the configuration is shown with words for values that JSON lacks', async () => {
    const { config } = (await call(path, 'config show', {}, quiet)) as { config: Record<string, never> };
    assert.equal(config.data, folder);
    assert.doesNotMatch(JSON.stringify(config), /null/);
  });

  test('a second server is refused, and the first continues', async () => {
    await assert.rejects(open(path), failure('conflict'));
    assert.equal(await isAnswering(path), true);
  });

  test('the socket of a killed server is replaced; another file is not', async () => {
    const stale = join(folder, 'stale.sock');
    const left = createNetServer().listen(stale);
    await new Promise((resolve) => left.once('listening', resolve));
    // closing would remove it: as if the process had been killed, another name for it stays
    const dead = join(folder, 'dead.sock');
    linkSync(stale, dead);
    await new Promise((resolve) => left.close(resolve));
    assert.equal(await isAnswering(dead), false);
    const opened = await open(dead);
    assert.equal(await isAnswering(dead), true);
    opened.close();
    assert.equal(existsSync(dead), false);

    const file = join(folder, 'notes');
    writeFileSync(file, 'mine');
    await assert.rejects(open(file), /not a socket/);
    assert.equal(existsSync(file), true);
  });
});
