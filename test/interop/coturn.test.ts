/** XEP-0215 with coturn: it accepts the credentials from Waxwing. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { sharedSecretCredentials } from '../../src/modules/xep-0215-external-services.js';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stage } from '../compliance/dialogue.js';
import { freePort } from './ports.js';

const secret = 'a secret of tests';
/** Ports for relays, after that for clients. */
const relays = 40;

const isThere = (program: string) =>
  (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
const missing = ['turnserver', 'turnutils_uclient'].filter((program) => !isThere(program));
const skip = missing.length > 0 && `${missing.join(' and ')} of coturn is not installed`;

interface Turn {
  readonly port: number;
  stop(): Promise<void>;
}

/** coturn with the shared secret; resolves once it listens for TCP, which it does last. */
async function startCoturn(): Promise<Turn> {
  const folder = await mkdtemp(join(tmpdir(), 'waxwing-coturn-'));
  const port = await freePort();
  const lines = [
    'listening-ip=127.0.0.1',
    'relay-ip=127.0.0.1',
    `listening-port=${port}`,
    `min-port=${port + 1}`,
    `max-port=${port + relays}`,
    'realm=localhost',
    'use-auth-secret',
    `static-auth-secret=${secret}`,
    'allow-loopback-peers',
    'no-cli',
    'no-tls',
    'no-dtls',
    'fingerprint',
    'relay-threads=1',
    `userdb=${join(folder, 'turndb')}`,
    `pidfile=${join(folder, 'pid')}`,
    'log-file=stdout',
    'simple-log',
    'verbose',
  ];
  await writeFile(join(folder, 'turnserver.conf'), `${lines.join('\n')}\n`);
  const child = spawn('turnserver', ['-c', join(folder, 'turnserver.conf')], { stdio: ['ignore', 'pipe', 'ignore'] });
  const exited = once(child, 'exit');
  const reported: string[] = [];
  await new Promise<void>((resolve, reject) => {
    exited.then(() => reject(new Error(`coturn did not start:\n${reported.slice(-20).join('\n')}`)), reject);
    createInterface(child.stdout).on('line', (line) => {
      if (reported.length < 1000) reported.push(line);
      if (/TCP listener opened/.test(line)) resolve();
    });
  });
  return {
    port,
    stop: async () => {
      child.kill('SIGTERM');
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Sends datagrams from one relay to another and back; how many came, in the words of coturn's own client. */
function relay(port: number, username: string, password: string, ...more: string[]): Promise<string> {
  const parameters = ['-y', '-c', '-n', '20', '-m', '2', '-p', String(port), '-u', username, '-w', password, ...more];
  return new Promise((resolve) => {
    execFile('turnutils_uclient', [...parameters, '127.0.0.1'], { timeout: 180_000 }, (_, stdout, stderr) =>
      resolve(`${stdout}${stderr}`),
    );
  });
}

const noneLost = /lost packets 0 /;

describe('coturn', { skip, concurrency: false }, () => {
  let turn: Turn;
  let stage: Stage;
  let username = '';
  let password = '';

  before(async () => {
    turn = await startCoturn();
    const uris = [`turn:127.0.0.1:${turn.port}?transport=udp`, `turn:127.0.0.1:${turn.port}?transport=tcp`];
    stage = await Stage.open({ config: { modules: { external_services: { uris, secret } } } });
    const romeo = await stage.actor('romeo@localhost/orchard');
    await romeo.sends(
      `<iq type='get' id='1' to='localhost'><services xmlns='${NS.externalServices}' type='turn'/></iq>`,
    );
    const result = await romeo.receives(`<iq type='result' id='1'/>`);
    const [service] = result.getChild('services', NS.externalServices)!.getChildElements();
    ({ username = '', password = '' } = service!.attrs);
  });
  after(async () => {
    await stage?.close();
    await turn?.stop();
  });

  test('relays over UDP for the credentials of XEP-0215', async () => {
    assert.match(await relay(turn.port, username, password), noneLost);
  });

  test('relays over TCP', async () => {
    assert.match(await relay(turn.port, username, password, '-t'), noneLost);
  });

  test('refuses wrong passwords, other times and expired credentials', async () => {
    assert.doesNotMatch(await relay(turn.port, username, `${password.slice(1)}A`), noneLost);
    const [ends, word] = username.split(':');
    assert.doesNotMatch(await relay(turn.port, `${Number(ends) + 1}:${word}`, password), noneLost);
    const over = sharedSecretCredentials(secret, Jid.parse('romeo@localhost'), Math.floor(Date.now() / 1000) - 10);
    assert.doesNotMatch(await relay(turn.port, over.username, over.password), noneLost);
  });
});
