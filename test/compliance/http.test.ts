/** Requests that are unusual, and right (RFC 9110, RFC 9112). */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { type Scene, scenario } from './dialogue.js';

async function asks({ stage }: Scene, request: string): Promise<string> {
  const socket = connect({ port: stage.port('http'), host: '127.0.0.1' });
  let answer = '';
  socket.on('data', (chunk) => {
    answer += chunk;
  });
  socket.write(request);
  await once(socket, 'close');
  return answer;
}

scenario('RFC 9110 §7.8: an upgrade to an unsupported protocol is ignored', async (scene) => {
  for (const protocol of ['h2c', 'TLS/1.0', 'h2c, foo/2']) {
    const upgrade = `Upgrade: ${protocol}\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n`;
    const found = await asks(scene, `GET /metrics HTTP/1.1\r\nHost: localhost\r\n${upgrade}\r\n`);
    assert.match(found, /^HTTP\/1\.1 200 OK\r\n[\s\S]*waxwing_/);
    const missing = await asks(scene, `GET /nothing HTTP/1.1\r\nHost: localhost\r\n${upgrade}\r\n`);
    assert.match(missing, /^HTTP\/1\.1 404 /);
  }
});

scenario('RFC 9112 §3.2.2: the request target may be an absolute URI', async (scene) => {
  for (const target of ['http://localhost/metrics', 'HTTPS://localhost:5443/metrics?x=1', '/metrics'])
    assert.match(
      await asks(scene, `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`),
      /^HTTP\/1\.1 200 OK\r\n/,
    );
});
