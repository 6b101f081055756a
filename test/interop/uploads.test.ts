/** XEP-0363 with slixmpp, Profanity and go-sendxmpp: files are uploaded to the service that the client has found, and downloaded. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { installed, sources } from './libraries.js';
import { Profanity } from './profanity.js';
import { certificate, Stage, without } from './stage.js';
import { ways } from './ways.js';

const stage = Stage.forThisFile();

test('slixmpp uploads and downloads files', { skip: without('slixmpp') }, async () => {
  const files = [
    ['très (cool) & 100%.jpg', null, 300_000],
    ['avatar.png', 'profile', 1000],
    ['blog.png', 'permanent', 5_000_000],
  ];
  const options = { account: stage.account('upload'), port: stage.port('c2s_tls'), certificate, files };
  const program = [join(sources, 'slixmpp_upload.py'), JSON.stringify(options)];
  const { stdout } = await promisify(execFile)(join(installed, 'venv/bin/python'), program, { timeout: 180_000 });
  const said = JSON.parse(stdout) as {
    readonly service: string;
    readonly files: readonly Record<'url' | 'type' | 'sent' | 'received' | 'status', string | number>[];
    readonly limit: number;
    readonly refused: string;
  };
  assert.equal(said.service, 'upload.localhost');
  assert.equal(said.limit, 104_857_600);
  assert.equal(said.refused, 'FileTooBig');
  assert.equal(said.files.length, files.length);
  for (const { sent, received, status } of said.files) {
    assert.equal(status, 200);
    assert.equal(received, sent);
  }
  assert.deepEqual(
    said.files.map(({ type }) => type),
    ['image/jpeg', 'image/png', 'image/png'],
  );
});

const noProfanity = without('profanity') || without('javascript');
test('Profanity sends a file', { skip: noProfanity }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'waxwing-upload-'));
  const romeo = await stage.keep(ways.xmppJsTls.device(stage.account('home'), stage.port('c2s_tls')));
  await romeo.online();
  const profanity = await Profanity.start();
  try {
    const content = randomBytes(200_000);
    const path = join(folder, 'picture.png');
    await writeFile(path, content);
    await profanity.logsIn(stage.account('desk'), stage.port('c2s'), 'force', 'always');
    // Once it shows these it has handled the answers to its own requests, which it has sent before: it knows the service.
    await profanity.types('/disco items localhost');
    await profanity.sees(/upload\.localhost/);
    await profanity.types('/disco info upload.localhost');
    await profanity.sees(/urn:xmpp:http:upload:0/);
    await profanity.types(`/msg ${romeo.jid.split('/')[0]} hello`);
    assert.equal((await romeo.inbox.next('message', {})).body, 'hello');
    await profanity.types(`/sendfile ${path}`);
    const { body = '' } = await romeo.inbox.next('message', {});
    assert.match(body, /\/upload\/[0-9a-f]{32}\/picture\.png$/);
    const answer = await fetch(body);
    assert.equal(answer.headers.get('content-type'), 'image/png');
    assert.ok(Buffer.from(await answer.arrayBuffer()).equals(content));
  } finally {
    await profanity.quits();
    await rm(folder, { recursive: true });
  }
});

const noSendxmpp = without('go-sendxmpp') || without('javascript');
test('go-sendxmpp sends a file', { skip: noSendxmpp }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'waxwing-upload-'));
  const romeo = await stage.keep(ways.xmppJsTls.device(stage.account('home'), stage.port('c2s_tls')));
  await romeo.online();
  try {
    // It guesses the type by the beginning.
    const content = Buffer.concat([Buffer.from('%PDF-1.7\n'), randomBytes(300_000)]);
    const path = join(folder, 'très cool.pdf');
    await writeFile(path, content);
    const { bare, password } = stage.account('desk');
    const login = ['--username', bare, '--password', password];
    for (const way of [
      ['--tls', '--jserver', `127.0.0.1:${stage.port('c2s_tls')}`],
      ['--jserver', `127.0.0.1:${stage.port('c2s')}`],
    ]) {
      const recipient = romeo.jid.split('/')[0]!;
      await promisify(execFile)('go-sendxmpp', [...login, ...way, '--http-upload', path, recipient], {
        timeout: 180_000,
        // It verifies the certificate, and reads settings from files of the user.
        env: { PATH: process.env.PATH, HOME: folder, SSL_CERT_FILE: certificate },
      });
      const { body = '' } = await romeo.inbox.next('message', {});
      assert.match(body, /\/upload\/[0-9a-f]{32}\//);
      const answer = await fetch(body);
      assert.equal(answer.headers.get('content-type'), 'application/pdf');
      assert.ok(Buffer.from(await answer.arrayBuffer()).equals(content));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
