/** XEP-0065 with slixmpp: a file goes through the proxy that the client has found. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { installed, sources } from './libraries.js';
import { certificate, Stage, without } from './stage.js';

const stage = Stage.forThisFile({
  modules: { proxy65: { listen: ['127.0.0.1:0'], public_hosts: ['127.0.0.1'] } },
});

test('slixmpp sends and receives bytes through the proxy', { skip: without('slixmpp') }, async () => {
  const options = {
    sender: stage.account('sender'),
    taker: stage.account('taker'),
    port: stage.port('c2s_tls'),
    certificate,
    size: 5_000_000,
  };
  const program = [join(sources, 'slixmpp_bytestream.py'), JSON.stringify(options)];
  const { stdout } = await promisify(execFile)(join(installed, 'venv/bin/python'), program, { timeout: 180_000 });
  const { proxies, sent, taken, answered, heard } = JSON.parse(stdout) as Record<string, unknown>;
  assert.deepEqual(proxies, ['proxy.localhost']);
  assert.equal(taken, sent);
  assert.equal(heard, answered);
});
