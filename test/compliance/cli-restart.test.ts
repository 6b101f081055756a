/** XEP-0133 §4.30: a restart that is asked for from a client, of the program as administrators call it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, test } from 'node:test';
import { dataOf, errorOf, type Home, home, logIn, portOf, program, start } from './program.js';
import { warmWaxwing } from './warm.js';

describe('a restart requested by a client (XEP-0133 §4.30)', { concurrency: 1 }, () => {
  const commands = 'http://jabber.org/protocol/commands';
  const admin = 'http://jabber.org/protocol/admin';

  async function restarts(at: Home, server: Awaited<ReturnType<typeof start>>, password: string) {
    const client = await logIn(portOf(server.ready), 'nurse@localhost', password);
    const command = (attributes: string, content: string) =>
      client.socket.write(
        `<iq type="set" id="c" to="localhost"><command xmlns="${commands}" node="${admin}#restart" ${attributes}>${content}</command></iq>`,
      );
    command('action="execute"', '');
    const [, sessionid] = /sessionid=["']([^"']+)/.exec(await client.read.until(/sessionid=["'][^"']+/))!;
    const field = '<field var="delay"><value>0</value></field>';
    command(`sessionid="${sessionid}"`, `<x xmlns="jabber:x:data" type="submit">${field}</x>`);
    await client.read.until(/status=["']completed["'][\s\S]*<system-shutdown/);
    client.socket.end('</stream:stream>');
    return at;
  }

  test('under a service manager the process exits, to be started again', async () => {
    const at = home('[admin]\nshutdown_grace_seconds = 1\n');
    const { password } = await dataOf(at, ['user', 'add', 'nurse@localhost', '--generate', '--admin']);
    const supervised = spawn(
      'sh',
      ['-c', 'SYSTEMD_EXEC_PID=$$ exec "$@"', 'sh', process.execPath, program, 'start', '--json', '--config', at.file],
      { stdio: 'pipe' },
    );
    const server = await start(at, supervised);
    await restarts(at, server, String(password));
    assert.equal(await server.ended, 75, server.err.text + server.out.text);
    assert.deepEqual(await errorOf(at, ['status']), ['not-running', 3]);
  });

  test('without a service manager it restarts itself in the background', async () => {
    const at = home('[admin]\nshutdown_grace_seconds = 1\n');
    const { password } = await dataOf(at, ['user', 'add', 'nurse@localhost', '--generate', '--admin']);
    const server = await start(at);
    try {
      await restarts(at, server, String(password));
      assert.equal(await server.ended, 0, server.err.text + server.out.text);
      assert.notEqual((await dataOf(at, ['status'])).pid, server.ready.pid);
    } finally {
      assert.equal((await warmWaxwing(at, ['stop'])).code, 0);
    }
  });
});
