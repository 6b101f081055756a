/** Requests over one kept connection of HTTP/2 (RFC 9113). */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  constants,
  createSecureServer,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type Settings,
} from 'node:http2';
import { type AddressInfo, connect, createServer as createRelay, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { createServer } from 'node:tls';
import { networks } from '../../src/server/config/address.js';
import { Http2Poster } from '../../src/server/outbound/http2.js';
import { Reach, UnreachableError } from '../../src/server/outbound/reach.js';
import { CertificateAuthority } from '../certificate-authority.js';
import { DnsServer } from '../dns-server.js';
import { takeClocks } from './clocks.js';

const name = 'service.example';
const authority = new CertificateAuthority('Services');
const { key, certificate: cert } = authority.issues([name]);
const dns = await DnsServer.open({ addresses: { [name]: ['127.0.0.1'] } });
const reach = new Reach({ allowed: () => networks(['127.0.0.0/8']), dns: [dns.address] });
after(() => {
  reach.close();
  dns.close();
});

const newPoster = (port: number, atOnce: number, more: { pingMs?: number } = {}): Http2Poster =>
  new Http2Poster(
    Object.assign(more, { origin: `https://${name}:${port}`, reach, ca: [authority.pem.certificate], atOnce }),
  );

type Take = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: number) => void;

class Service {
  readonly sessions: ServerHttp2Session[] = [];
  /** Most streams at once. */
  most = 0;
  #open = 0;
  readonly poster: Http2Poster;

  private constructor(
    readonly server: Http2SecureServer,
    take: Take,
    atOnce: number,
  ) {
    server.on('session', (session) => {
      const connection = this.sessions.push(session);
      session.on('error', () => {});
      session.on('stream', (stream, headers) => {
        this.most = Math.max(this.most, ++this.#open);
        stream.on('error', () => {}).on('close', () => this.#open--);
        take(stream, headers, connection);
      });
    });
    this.poster = newPoster(this.port, atOnce);
  }

  static async open(take: Take, { settings = {}, atOnce = 20 }: { settings?: Settings; atOnce?: number } = {}) {
    const server = createSecureServer({ key, cert, settings }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Service(server, take, atOnce);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  close(): void {
    this.poster.close();
    this.server.close();
    for (const session of this.sessions) session.destroy();
  }
}

async function play(
  take: Take,
  work: (service: Service) => Promise<void>,
  options?: Parameters<typeof Service.open>[1],
): Promise<void> {
  const service = await Service.open(take, options);
  try {
    await work(service);
  } finally {
    service.close();
  }
}

const answers = (stream: ServerHttp2Stream, text = '', status = 200) => {
  stream.respond({ ':status': status });
  stream.end(text);
};

test('requests share a connection, and are not more at once than the other side takes (§5.1.2)', () => {
  const held: ServerHttp2Stream[] = [];
  return play(
    (stream, headers) => {
      assert.equal(headers[':method'], 'POST');
      held.push(stream);
      // Two are open, and a third one could come with the next turn.
      if (held.length % 2 === 0) setImmediate(() => held.splice(0).map((one) => answers(one, 'taken')));
    },
    async (service) => {
      const sent = Array.from({ length: 10 }, (_, at) => service.poster.post(`/${at}`, { 'x-a': 'b' }, 'body'));
      for (const answer of await Promise.all(sent)) assert.deepEqual([answer.status, answer.body], [200, 'taken']);
      assert.equal(service.most, 2);
      assert.equal(service.sessions.length, 1);
    },
    { settings: { maxConcurrentStreams: 2 } },
  );
});

test('nor than the caller wants', () =>
  play(
    (stream) => setImmediate(() => answers(stream)),
    async (service) => {
      await Promise.all(Array.from({ length: 10 }, () => service.poster.post('/', {}, '')));
      assert.equal(service.most, 3);
    },
    { atOnce: 3 },
  ));

test('a request that was certainly not handled is repeated, once (§8.7)', async () => {
  let count = 0;
  await play(
    (stream) => {
      if (++count === 1) stream.close(constants.NGHTTP2_REFUSED_STREAM);
      else answers(stream);
    },
    async ({ poster }) => assert.equal((await poster.post('/', {}, 'x')).status, 200),
  );
  await play(
    (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM),
    async ({ poster }) => assert.rejects(poster.post('/', {}, 'x'), /refused/),
  );
});

test('GOAWAY: what was handled is answered, what was not goes over a new connection (§6.8)', () =>
  play(
    (stream, headers, connection) => {
      if (connection > 1) answers(stream, 'second');
      else if (headers[':path'] === '/1') {
        // It is the last one that this connection handles.
        stream.session!.goaway(constants.NGHTTP2_NO_ERROR, stream.id, Buffer.from('{"reason":"Shutdown"}'));
        setImmediate(() => answers(stream, 'first'));
      }
    },
    async ({ poster }) => {
      const both = await Promise.all([poster.post('/1', {}, ''), poster.post('/2', {}, '')]);
      assert.deepEqual(
        both.map(({ body }) => body),
        ['first', 'second'],
      );
      assert.equal((await poster.post('/3', {}, '')).body, 'second');
    },
  ));

test('a GOAWAY with an error fails what is under way, with its reason; the next request opens a connection', () =>
  play(
    (stream, _, connection) => {
      if (connection > 1) answers(stream);
      else
        stream.session!.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, stream.id, Buffer.from('{"reason":"IdleTimeout"}'));
    },
    async ({ poster }) => {
      await assert.rejects(poster.post('/', {}, 'x'), /code 11 .*IdleTimeout/);
      assert.equal((await poster.post('/', {}, 'x')).status, 200);
    },
  ));

test('a connection that dies before, in and after the answer', () => {
  let count = 0;
  const sockets: Socket[] = [];
  return play(
    (stream) => {
      count++;
      if (count === 1) sockets.at(-1)!.destroy();
      else if (count === 2) {
        stream.respond({ ':status': 200 });
        stream.write('half', () => sockets.at(-1)!.destroy());
      } else answers(stream, 'whole');
    },
    async ({ server, poster }) => {
      server.on('connection', (socket: Socket) => sockets.push(socket));
      await assert.rejects(poster.post('/', {}, 'x'));
      await assert.rejects(poster.post('/', {}, 'x'));
      assert.equal((await poster.post('/', {}, 'x')).body, 'whole');
    },
  );
});

test('an answer that is reset in the middle is none; an answer before the end of the request counts (§8.1)', () => {
  let count = 0;
  return play(
    (stream) => {
      stream.respond({ ':status': 413 });
      if (++count === 1) stream.write('half', () => stream.destroy(new Error('it broke')));
      else stream.end('too long');
    },
    async ({ poster }) => {
      await assert.rejects(poster.post('/', {}, 'x'));
      assert.deepEqual((await poster.post('/', {}, Buffer.alloc(10_000_000))).body, 'too long');
    },
  );
});

test('an endless answer is cut, and the connection is used further', () => {
  let count = 0;
  return play(
    (stream) => {
      if (++count > 1) return answers(stream, 'short');
      stream.respond({ ':status': 400 });
      const more = () => {
        if (!stream.destroyed) stream.write('x'.repeat(65_536), () => setImmediate(more));
      };
      more();
    },
    async (service) => {
      assert.equal((await service.poster.post('/', {}, 'x')).body.length, 16_384);
      assert.equal((await service.poster.post('/', {}, 'x')).body, 'short');
      assert.equal(service.sessions.length, 1);
    },
  );
});

test('a connection that was silent is asked by PING; one that does not answer is given up (§6.7)', () => {
  const clocks = takeClocks();
  return play(
    (stream, _, connection) => answers(stream, String(connection)),
    async (service) => {
      // Later the first connection carries nothing any more, and nobody is told.
      const ping = { pingMs: 60_000 };
      let relayed = 0;
      let isCut = false;
      const relay = createRelay((client) => {
        const isFirst = relayed++ === 0;
        const onward = connect(service.port, '127.0.0.1');
        const pass = (from: Socket, to: Socket) =>
          from
            .on('data', (bytes) => !(isCut && isFirst) && to.write(bytes))
            .on('error', () => {})
            .on('close', () => to.destroy());
        pass(client, onward);
        pass(onward, client);
      }).listen(0, '127.0.0.1');
      await once(relay, 'listening');
      const poster = newPoster((relay.address() as AddressInfo).port, 20, ping);
      assert.equal((await poster.post('/', {}, '')).body, '1');
      clocks.pass(60_000);
      assert.equal((await poster.post('/', {}, '')).body, '1');
      isCut = true;
      ping.pingMs = 1;
      clocks.pass(60_000);
      const both = await Promise.all([poster.post('/', {}, ''), poster.post('/', {}, '')]);
      assert.deepEqual(
        both.map(({ body }) => body),
        ['2', '2'],
      );
      poster.close();
      relay.close();
    },
  ).finally(() => clocks.restore());
});

test('it leads only where it may, with a certificate, to a server of HTTP/2', async () => {
  const to = (origin: string, allowed: string) =>
    new Http2Poster({
      origin,
      reach: new Reach({ allowed: () => networks([allowed]), dns: [dns.address] }),
      ca: [authority.pem.certificate],
      atOnce: 1,
    }).post('/', {}, '');
  await assert.rejects(to('https://127.0.0.1:1', '10.0.0.0/8'), UnreachableError);
  await assert.rejects(to(`https://${name}:1`, '10.0.0.0/8'), UnreachableError);
  await assert.rejects(to(`http://${name}:1`, '127.0.0.0/8'), UnreachableError);
  await play(
    (stream) => answers(stream),
    async ({ port }) => {
      await assert.rejects(to(`https://localhost.example:${port}`, '127.0.0.0/8'));
      await assert.rejects(to(`https://127.0.0.1:${port}`, '127.0.0.0/8'), /altnames|certificate/i);
    },
  );
  const old = createServer({ key, cert, ALPNProtocols: ['http/1.1'] }, (socket) => socket.on('error', () => {}));
  old.listen(0, '127.0.0.1');
  await once(old, 'listening');
  const { port } = old.address() as { port: number };
  await assert.rejects(to(`https://${name}:${port}`, '127.0.0.0/8'));
  old.close();
});

test('closed: what is under way fails', () =>
  play(
    () => {},
    async (service) => {
      const waiting = service.poster.post('/', {}, '');
      while (service.most === 0) await new Promise((resolve) => setImmediate(resolve));
      service.poster.close();
      await assert.rejects(waiting);
      await assert.rejects(service.poster.post('/', {}, ''));
    },
  ));
