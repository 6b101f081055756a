/**
 * conf/cluster as an operator runs it: PostgreSQL, three nodes and HAProxy, started by its script. Two clients, by TLS and by
 * WebSocket, chat through HAProxy while each node is drained, stopped and started again. Nothing is lost, doubled or out of
 * order.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from '../durability/client.js';
import { freePort } from '../interop/ports.js';
import { patience } from '../interop/server.js';
import { OverWebSocket, overTls, type Trust } from './balanced.js';

const folder = mkdtempSync(join(tmpdir(), 'waxwing-balancer-'));
const script = 'conf/cluster/run';
const nodes = ['node-1', 'node-2', 'node-3'];
let port = 0;

/** Runs the script. Rejects with its output if it fails. */
async function runs(args: readonly string[], input = ''): Promise<string> {
  const child = spawn(script, args, { env: { ...process.env, FOLDER: folder, PORT: String(port) }, stdio: 'pipe' });
  let output = '';
  child.stdout.on('data', (data) => (output += data));
  child.stderr.on('data', (data) => (output += data));
  child.stdin.end(input);
  // Not `close`: what it has started may keep its output open.
  const [code] = await once(child, 'exit');
  assert.equal(code, 0, `${script} ${args.join(' ')}: ${output}`);
  return output;
}

/** A port with 39 free ones after it. */
async function freePorts(): Promise<number> {
  for (;;) {
    const first = await freePort('127.0.0.1');
    if (first + 40 > 65_535) continue;
    const taken = await Promise.all(Array.from({ length: 40 }, (_, n) => isTaken(first + n)));
    if (!taken.includes(true)) return first;
  }
}

async function isTaken(candidate: number): Promise<boolean> {
  const { createServer } = await import('node:net');
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(true));
    server.listen(candidate, '127.0.0.1', () => server.close(() => resolve(false)));
  });
}

before(async () => {
  port = await freePorts();
  await runs(['start']);
});
after(async () => {
  await runs(['stop']);
  rmSync(folder, { recursive: true, force: true });
});

/** One of two who chat. */
class Talker {
  readonly client: Client;
  /** Numbers of the messages that came, in their order. */
  readonly heard: number[] = [];
  sent = 0;
  acknowledged = 0;

  constructor(address: string, password: string, open: () => ReturnType<typeof overTls>) {
    this.client = new Client({
      address,
      password,
      port: () => port,
      open,
      received: (stanza) => {
        const number = /^n(\d+)$/.exec(stanza.attrs.id ?? '')?.[1];
        if (stanza.name === 'message' && number !== undefined) this.heard.push(Number(number));
      },
    });
  }

  /** Connects if it is not connected. */
  async stays(): Promise<void> {
    if (!this.client.online) await this.client.connect().catch(() => pause(50));
  }

  says(to: Talker): void {
    const id = `n${++this.sent}`;
    this.client.send(`<message to='${to.client.bare}' type='chat' id='${id}'><body>${id}</body></message>`, {
      acknowledged: () => this.acknowledged++,
    });
  }
}

test('two clients chat through the balancer while each node is drained and started again', {
  timeout: 600_000,
}, async (t) => {
  const password = 'pencil and paper';
  const accounts = ['romeo@localhost', 'juliet@localhost'];
  for (const account of accounts)
    await runs(['waxwing', 'node-2', 'user', 'add', account, '--password-stdin'], `${password}\n`);
  const trust: Trust = { host: 'localhost', ca: readFileSync(join(folder, 'host.crt'), 'utf8') };
  const romeo = new Talker(`${accounts[0]}/phone`, password, () => overTls(port + 1, trust));
  const juliet = new Talker(`${accounts[1]}/web`, password, () => new OverWebSocket(port + 2, trust));
  const both = [
    [romeo, juliet],
    [juliet, romeo],
  ] as const;
  let isOver = false;
  const chat = both.map(async ([one, other]) => {
    while (!isOver) {
      await one.stays();
      if (one.client.unacknowledged < 20) one.says(other);
      await pause(10);
    }
  });
  for (const node of nodes) {
    const before = both.map(([{ heard }]) => heard.length);
    await runs(['restart', node]);
    t.diagnostic(
      `${node}: ${both.map(([{ heard }], at) => heard.length - before[at]!).join(' and ')} messages meanwhile`,
    );
  }
  isOver = true;
  await Promise.all(chat);
  const isMissing = (): boolean =>
    both.some(([one, other]) => one.client.unacknowledged > 0 || other.heard.length < one.sent);
  const books = () =>
    both.map(([one, other]) => `${one.client.unacknowledged} of ${one.sent} open, ${other.heard.length} heard`);
  for (const until = Date.now() + patience; isMissing(); await pause(20)) {
    assert.ok(Date.now() < until, `missing: ${books()}`);
    for (const [{ client }, one] of both) {
      await one.stays();
      client.acknowledge();
    }
  }
  for (const [one, other] of both) {
    assert.equal(one.acknowledged, one.sent);
    assert.deepEqual(
      other.heard,
      Array.from({ length: one.sent }, (_, n) => n + 1),
    );
    assert.equal(one.client.refused, 0, 'a session was lost');
    assert.deepEqual(one.client.streamErrors, []);
    t.diagnostic(`${one.client.bare}: ${one.sent} messages, ${one.client.resumed} resumptions`);
  }
  for (const [{ client }] of both) await client.leave();
});
