/** XEP-0065: the proxy for SOCKS5 bytestreams. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import pino from 'pino';
import proxy65 from '../../src/modules/xep-0065-proxy65/index.js';
import { Relay, type RelaySettings } from '../../src/modules/xep-0065-proxy65/relay.js';
import { longestMessage, readGreeting, readRequest, SocksError } from '../../src/modules/xep-0065-proxy65/socks5.js';
import { NS } from '../../src/server/stanza/ns.js';
import { atEndOfFile } from '../endings.js';
import { type Peer, type Scene, scenario } from './dialogue.js';

const proxy = 'proxy.localhost';
const romeoJid = 'romeo@localhost/orchard';
const julietJid = 'juliet@elsewhere.example/balcony';
const configOf = (proxy65: Readonly<Record<string, unknown>>) => ({ modules: { proxy65 } });

const sha1 = (...parts: string[]) => createHash('sha1').update(parts.join('')).digest('hex');

const sockets: Socket[] = [];
atEndOfFile(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

/** A client's connection to the proxy. */
class Connection {
  #chunks: Buffer[] = [];
  #length = 0;
  #wake: (() => void) | undefined;
  #state: 'open' | 'ended' | 'broken' = 'open';

  constructor(readonly socket: Socket) {
    socket.on('data', (chunk) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      this.#wake?.();
    });
    socket.on('error', () => this.#over('broken'));
    socket.on('end', () => this.#over('ended'));
    socket.on('close', () => this.#over('broken'));
  }

  static async to(port: number, host = '127.0.0.1', localAddress?: string): Promise<Connection> {
    const socket = connect({ port, host, allowHalfOpen: true, ...(localAddress !== undefined && { localAddress }) });
    sockets.push(socket);
    await once(socket, 'connect');
    return new Connection(socket);
  }

  #over(state: 'ended' | 'broken'): void {
    if (this.#state === 'open') this.#state = state;
    this.#wake?.();
  }

  async #until(isThere: () => boolean): Promise<void> {
    while (!isThere()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async reads(length: number): Promise<Buffer> {
    await this.#until(() => this.#length >= length || this.#state !== 'open');
    const bytes = Buffer.concat(this.#chunks);
    assert.ok(bytes.length >= length, `the connection is ${this.#state}`);
    this.#chunks = [bytes.subarray(length)];
    this.#length = bytes.length - length;
    return bytes.subarray(0, length);
  }

  /** How it ends; earlier bytes are ignored. */
  async over(): Promise<string> {
    await this.#until(() => this.#state !== 'open');
    return this.#state;
  }

  /** Sends the greeting and requests the stream. Returns the reply code. */
  async asks(hash: string): Promise<number> {
    this.socket.write(Buffer.from([5, 2, 0, 2]));
    assert.deepEqual([...(await this.reads(2))], [5, 0]);
    const request = Buffer.from([5, 1, 0, 3, hash.length, ...Buffer.from(hash), 0, 0]);
    this.socket.write(request);
    const answer = await this.reads(request.length);
    // §6.3.2: BND.ADDR and BND.PORT repeat the request
    assert.deepEqual(answer.subarray(2), request.subarray(2));
    return answer[1]!;
  }
}

/** §4: the address that the proxy announces. */
async function portOf(peer: Peer): Promise<number> {
  await peer.sends(`<iq type='get' id='where' to='${proxy}'><query xmlns='${NS.bytestreams}'/></iq>`);
  const result = await peer.receives(
    `<iq type='result' id='where' from='${proxy}'><query xmlns='${NS.bytestreams}'><streamhost jid='${proxy}' host='*' port='*'/></query></iq>`,
  );
  return Number(result.getChild('query', NS.bytestreams)!.getChild('streamhost')!.attrs.port);
}

const activation = (sid: string, target: string) =>
  `<iq type='set' id='go' to='${proxy}'><query xmlns='${NS.bytestreams}' sid='${sid}'><activate>${target}</activate></query></iq>`;

async function refuses(peer: Peer, condition: string): Promise<void> {
  await peer.receives(
    `<iq type='error' id='go' from='${proxy}'><error><${condition} xmlns='${NS.stanzas}'/></error></iq>`,
  );
}

/** Both are connected for a stream, which is not active yet. */
async function connected(port: number, sid: string, requester = romeoJid, target = julietJid) {
  const hash = sha1(sid, requester, target);
  const theirs = await Connection.to(port);
  assert.equal(await theirs.asks(hash), 0);
  const ours = await Connection.to(port);
  assert.equal(await ours.asks(hash), 0);
  return { ours, theirs, hash };
}

async function streaming({ actor }: Pick<Scene, 'actor'>, sid = 'vxf9n471bn46') {
  const romeo = await actor(romeoJid);
  const port = await portOf(romeo);
  const pair = await connected(port, sid);
  await romeo.sends(activation(sid, julietJid));
  await romeo.receives(`<iq type='result' id='go' from='${proxy}' to='${romeoJid}'/>`, { exactly: true });
  return { romeo, port, ...pair };
}

scenario('§4: found by service discovery', async ({ actor }) => {
  const romeo = await actor(romeoJid);
  await romeo.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoItems}'/></iq>`);
  await romeo.receives(`<iq type='result' id='1'><query xmlns='${NS.discoItems}'><item jid='${proxy}'/></query></iq>`);
  await romeo.sends(`<iq type='get' id='2' to='${proxy}'><query xmlns='${NS.discoInfo}'/></iq>`);
  const info = await romeo.receives(
    `<iq type='result' id='2'><query xmlns='${NS.discoInfo}'>
      <identity category='proxy' type='bytestreams' name='*'/><feature var='${NS.bytestreams}'/>
    </query></iq>`,
  );
  const features = info.getChild('query', NS.discoInfo)!.getChildren('feature');
  assert.ok(!features.some(({ attrs }) => attrs.var === `${NS.bytestreams}#udp`), '§8.1: only who supports it says so');
});

scenario('without a port there is no service', { config: configOf({ listen: [] }) }, async ({ actor }) => {
  const romeo = await actor(romeoJid);
  await romeo.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoItems}'/></iq>`);
  const items = (await romeo.receives(`<iq type='result' id='1'/>`)).getChild('query', NS.discoItems)!;
  assert.ok(items.getChildren('item').every(({ attrs }) => attrs.jid !== proxy));
});

scenario('§4: returns its address to users of the host', async ({ actor }) => {
  const romeo = await actor(romeoJid);
  await romeo.sends(`<iq type='get' id='1' to='${proxy}'><query xmlns='${NS.bytestreams}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='1' from='${proxy}'><query xmlns='${NS.bytestreams}'><streamhost jid='${proxy}' host='localhost' port='*'/></query></iq>`,
  );
  const juliet = await actor(julietJid);
  await juliet.sends(`<iq type='get' id='go' to='${proxy}'><query xmlns='${NS.bytestreams}'/></iq>`);
  await refuses(juliet, 'forbidden');
  await juliet.sends(activation('1', romeoJid));
  await refuses(juliet, 'forbidden');
});

scenario(
  '§4: returns configured addresses, and admits configured users',
  { config: configOf({ public_hosts: ['192.0.2.1', '2001:db8::1'], public_port: 1080, access: 'server' }) },
  async ({ actor }) => {
    const juliet = await actor(julietJid);
    await juliet.sends(`<iq type='get' id='1' to='${proxy}'><query xmlns='${NS.bytestreams}'/></iq>`);
    await juliet.receives(
      `<iq type='result' id='1'><query xmlns='${NS.bytestreams}'>
        <streamhost jid='${proxy}' host='192.0.2.1' port='1080'/><streamhost jid='${proxy}' host='2001:db8::1' port='1080'/>
      </query></iq>`,
      { exactly: false },
    );
  },
);

scenario('§6: transfers bytes in both directions, which end independently', async (scene) => {
  const { ours, theirs } = await streaming(scene);
  const file = randomBytes(3_000_000);
  ours.socket.end(file);
  assert.ok((await theirs.reads(file.length)).equals(file));
  assert.equal(await theirs.over(), 'ended');
  // The other half is as good as before
  const answer = randomBytes(1_000_000);
  theirs.socket.end(answer);
  assert.ok((await ours.reads(answer.length)).equals(answer));
  assert.equal(await ours.over(), 'ended');
  const { text } = await scene.server.metrics.text();
  assert.match(text, /^waxwing_proxy65_bytes_total [1-9]\d{6,}$/m);
  assert.match(text, /^waxwing_proxy65_streams_total [1-9]/m);
});

scenario('§10.1: bytes before the activation are ignored', async ({ actor }) => {
  const romeo = await actor(romeoJid);
  const port = await portOf(romeo);
  const { ours, theirs } = await connected(port, 'early');
  theirs.socket.write('too early');
  // Nothing follows it on this connection; the complete handshake of another one has to do.
  await connected(port, 'another');
  await romeo.sends(activation('early', julietJid));
  await romeo.receives(`<iq type='result' id='go'/>`);
  theirs.socket.end('in time');
  assert.equal((await ours.reads(7)).toString(), 'in time');
  assert.equal(await ours.over(), 'ended');
});

scenario('§6.3.5: only the requester activates, and only a complete stream', async ({ actor }) => {
  const romeo = await actor(romeoJid);
  const nurse = await actor('nurse@localhost/chamber');
  const port = await portOf(romeo);
  await romeo.sends(activation('one', julietJid));
  await refuses(romeo, 'item-not-found');
  const target = await Connection.to(port);
  assert.equal(await target.asks(sha1('one', romeoJid, julietJid)), 0);
  await romeo.sends(activation('one', julietJid));
  await refuses(romeo, 'not-allowed');
  await connected(port, 'two');
  await nurse.sends(activation('two', julietJid));
  await refuses(nurse, 'item-not-found');
  await romeo.sends(activation('two', 'juliet@elsewhere.example/window'));
  await refuses(romeo, 'item-not-found');
  for (const wrong of [
    `<query xmlns='${NS.bytestreams}' sid='two'/>`,
    `<query xmlns='${NS.bytestreams}'><activate>${julietJid}</activate></query>`,
    `<query xmlns='${NS.bytestreams}' sid='two'><activate>@</activate></query>`,
  ]) {
    await romeo.sends(`<iq type='set' id='go' to='${proxy}'>${wrong}</iq>`);
    await refuses(romeo, 'bad-request');
  }
  await romeo.sends(activation('two', julietJid));
  await romeo.receives(`<iq type='result' id='go'/>`);
  await romeo.sends(activation('two', julietJid));
  await refuses(romeo, 'item-not-found');
});

scenario('§6.3.2: addresses are normalised before hashing', async ({ actor }) => {
  const romeo = await actor(romeoJid);
  await connected(await portOf(romeo), 'sid');
  await romeo.sends(activation('sid', ' JULIET@Elsewhere.Example/balcony '));
  await romeo.receives(`<iq type='result' id='go'/>`);
});

scenario('§7: through a room, whose occupants know each other by other addresses', async ({ actor }) => {
  const romeo = await actor(romeoJid);
  const juliet = await actor(julietJid);
  const room = 'cave@conference.localhost';
  const enter = async (peer: Peer, nick: string) => {
    await peer.sends(`<presence to='${room}/${nick}'><x xmlns='${NS.muc}'/></presence>`);
    await peer.syncs();
  };
  await enter(romeo, 'r');
  await romeo.sends(
    `<iq type='set' id='o' to='${room}'><query xmlns='${NS.mucOwner}'><x xmlns='jabber:x:data' type='submit'/></query></iq>`,
  );
  await romeo.syncs();
  await enter(juliet, 'j');
  await romeo.syncs();
  for (const peer of [romeo, juliet]) peer.forgets();
  const port = await portOf(romeo);
  const hash = sha1('room', romeoJid, `${room}/j`);
  await romeo.sends(
    `<iq type='set' id='s' to='${room}/j'><query xmlns='${NS.bytestreams}' sid='room' dstaddr='${hash}'>
      <streamhost jid='${proxy}' host='127.0.0.1' port='${port}'/></query></iq>`,
  );
  await juliet.receives(
    `<iq type='set' id='{asked}' from='${room}/r'><query xmlns='${NS.bytestreams}' sid='room' dstaddr='${hash}'>
      <streamhost jid='${proxy}' host='127.0.0.1' port='${port}'/></query></iq>`,
  );
  const { ours, theirs } = await connected(port, 'room', romeoJid, `${room}/j`);
  await juliet.sends(
    `<iq type='result' id='{asked}' to='${room}/r'><query xmlns='${NS.bytestreams}' sid='room'><streamhost-used jid='${proxy}'/></query></iq>`,
  );
  await romeo.receives(`<iq type='result' id='s' from='${room}/j'/>`);
  await romeo.sends(activation('room', `${room}/j`));
  await romeo.receives(`<iq type='result' id='go'/>`);
  ours.socket.end('hello');
  assert.equal((await theirs.reads(5)).toString(), 'hello');
});

scenario('§10.1: one target only; a client that disconnects makes room', async ({ actor }) => {
  const port = await portOf(await actor(romeoJid));
  const { theirs, hash } = await connected(port, 'crowded');
  const third = await Connection.to(port);
  assert.equal(await third.asks(hash), 2);
  assert.notEqual(await third.over(), 'open');
  theirs.socket.end();
  assert.notEqual(await theirs.over(), 'open');
  const next = await Connection.to(port);
  assert.equal(await next.asks(hash), 0);
});

scenario('RFC 1928: invalid SOCKS5, and requests for missing streams', async ({ actor }) => {
  const port = await portOf(await actor(romeoJid));
  const says = async (...bytes: number[]) => {
    const connection = await Connection.to(port);
    connection.socket.write(Buffer.from(bytes));
    return connection;
  };
  assert.notEqual(await (await says(4, 1, 0, 80, 127, 0, 0, 1, 0)).over(), 'open');
  assert.notEqual(await (await says(...Buffer.from('GET / HTTP/1.1\r\n\r\n'))).over(), 'open');
  const secretive = await says(5, 1, 2);
  assert.deepEqual([...(await secretive.reads(2))], [5, 0xff]);
  assert.notEqual(await secretive.over(), 'open');
  for (const [reply, ...request] of [
    [7, 5, 2, 0, 3, 1, 97, 0, 0], // BIND
    [7, 5, 3, 0, 3, 1, 97, 0, 0], // UDP ASSOCIATE
    [8, 5, 1, 0, 1, 127, 0, 0, 1, 0, 80], // an IPv4 address: no way to the machine's own network
    [2, 5, 1, 0, 3, 9, ...Buffer.from('localhost'), 0, 80], // a name
  ]) {
    const connection = await says(5, 1, 0, ...request);
    assert.deepEqual([...(await connection.reads(2))], [5, 0]);
    assert.deepEqual([...(await connection.reads(2))], [5, reply]);
    assert.notEqual(await connection.over(), 'open');
  }
});

scenario('RFC 1928: byte by byte, or all at once', async ({ actor }) => {
  const port = await portOf(await actor(romeoJid));
  const hash = sha1('pieces');
  const all = [5, 1, 0, 5, 1, 0, 3, 40, ...Buffer.from(hash.toUpperCase()), 0, 0];
  const slow = await Connection.to(port);
  slow.socket.setNoDelay(true);
  for (const byte of all) await new Promise((resolve) => slow.socket.write(Buffer.from([byte]), resolve));
  assert.deepEqual([...(await slow.reads(4))], [5, 0, 5, 0]);
  const quick = await Connection.to(port);
  quick.socket.write(Buffer.from(all));
  assert.deepEqual([...(await quick.reads(4))], [5, 0, 5, 0]);
});

scenario(
  'a slow reader slows down the sender',
  { config: configOf({ bytes_per_second: 'unlimited' }) },
  async (scene) => {
    const { ours, theirs, romeo } = await streaming(scene);
    const file = randomBytes(20_000_000);
    theirs.socket.pause();
    ours.socket.end(file);
    let before = -1;
    const taken = () => ours.socket.bytesWritten - ours.socket.writableLength;
    // Until the buffers of the system are full, and nothing moves any more
    while (taken() !== before) {
      before = taken();
      for (let round = 0; round < 20; round++) await romeo.syncs();
    }
    assert.ok(ours.socket.writableLength > 0, 'all of it was taken, and is kept in memory');
    theirs.socket.resume();
    assert.ok((await theirs.reads(file.length)).equals(file));
  },
);

test('RFC 1928: any input is read, waited for or refused', () => {
  // a generator of its own, so that it is the same each time
  let state = 65;
  const random = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let round = 0; round < 2000; round++) {
    const bytes = Buffer.from(Array.from({ length: random(300) }, (_, at) => (at < 4 ? random(6) : random(256))));
    if (random(4) > 0) bytes[0] = 5;
    for (const read of [readGreeting, readRequest]) {
      try {
        const found = read(bytes);
        if (found === undefined) continue;
        assert.ok(found.length <= Math.min(bytes.length, longestMessage));
        // The result does not depend on later bytes, and consumes none
        assert.deepEqual(read(bytes.subarray(0, found.length)), found);
        assert.equal(read(bytes.subarray(0, found.length - 1)), undefined);
      } catch (error) {
        assert.ok(error instanceof SocksError, String(error));
      }
    }
  }
});

scenario('a client that aborts leaves its peer with a reset, not with an end', async (scene) => {
  const { ours, theirs } = await streaming(scene);
  ours.socket.write('half of it');
  await theirs.reads(10);
  ours.socket.resetAndDestroy();
  assert.equal(await theirs.over(), 'broken');
});

scenario(
  'the bytes of a stream are limited',
  { config: configOf({ stream_bytes: 10_000, bytes_per_second: 'unlimited' }) },
  async (scene) => {
    const { ours, theirs } = await streaming(scene);
    ours.socket.write(Buffer.alloc(6000));
    await theirs.reads(6000);
    theirs.socket.write(Buffer.alloc(6000));
    assert.equal(await ours.over(), 'broken');
    assert.equal(await theirs.over(), 'broken');
    const { text } = await scene.server.metrics.text();
    assert.match(text, /^waxwing_limits_hit_total\{limit="proxy65\.stream_bytes"\} 1$/m);
  },
);

scenario(
  'a stream that is slowed down arrives completely',
  { config: configOf({ bytes_per_second: 200_000 }) },
  async (scene) => {
    const { ours, theirs } = await streaming(scene);
    const file = randomBytes(300_000);
    ours.socket.end(file);
    assert.ok((await theirs.reads(file.length)).equals(file));
    assert.equal(await theirs.over(), 'ended');
  },
);

scenario('streams per user are limited', { config: configOf({ streams_per_user: 1 }) }, async (scene) => {
  const { romeo, port, ours, theirs } = await streaming(scene, 'first');
  await connected(port, 'second');
  await romeo.sends(activation('second', julietJid));
  await refuses(romeo, 'resource-constraint');
  ours.socket.end();
  theirs.socket.end();
  await Promise.all([once(ours.socket, 'close'), once(theirs.socket, 'close')]);
  for (;;) {
    // the proxy learns of it when the system tells it
    await romeo.sends(activation('second', julietJid));
    const answer = await romeo.receivesAny();
    if (answer.attrs.type === 'result') break;
  }
});

scenario('connections are limited', { config: configOf({ connections_per_address: 3 }) }, async ({ actor }) => {
  const port = await portOf(await actor(romeoJid));
  await connected(port, 'pair');
  await (await Connection.to(port)).asks(sha1('one more'));
  assert.equal(await (await Connection.to(port)).over(), 'ended');
});

scenario(
  'ten clients that use all connections they can leave room for a stream',
  { config: configOf({ listen: ['127.0.0.1:0'], connections: 60 }) },
  async (scene) => {
    const port = await portOf(await scene.actor('mercutio@localhost/square'));
    const outsiders = await Promise.all(
      Array.from({ length: 200 }, (_, n) => Connection.to(port, '127.0.0.1', `127.0.1.${1 + (n % 10)}`)),
    );
    // A refused connection is closed; others get a reply, and stay.
    const answers = await Promise.all(
      outsiders.map((one) => one.asks(sha1(randomBytes(8).toString('hex'))).catch(() => 'refused')),
    );
    const taken = answers.filter((answer) => answer === 0).length;
    assert.ok(taken >= 20 && taken < 60, `${taken} connections`);
    const { ours, theirs } = await streaming(scene);
    ours.socket.write('lark');
    assert.equal(String(await theirs.reads(4)), 'lark');
    for (const { socket } of outsiders) socket.destroy();
  },
);

scenario(
  'silent clients, and clients without a peer, are disconnected',
  { config: configOf({ handshake_seconds: 1, wait_seconds: 1, idle_seconds: 1 }) },
  async (scene) => {
    const { port, ours, theirs } = await streaming(scene);
    const silent = await Connection.to(port);
    const lonely = await Connection.to(port);
    assert.equal(await lonely.asks(sha1('nobody')), 0);
    for (const connection of [silent, lonely, ours, theirs]) assert.notEqual(await connection.over(), 'open');
  },
);

const squatter = createServer().listen(0, '127.0.0.1').unref();
await once(squatter, 'listening');
const { port: taken } = squatter.address() as AddressInfo;

scenario(
  '§4: the server runs without a proxy whose port is in use, and does not list it',
  { config: configOf({ listen: [`127.0.0.1:${taken}`] }) },
  async ({ actor }) => {
    const romeo = await actor(romeoJid);
    await romeo.sends(`<iq type='get' id='go' to='${proxy}'><query xmlns='${NS.bytestreams}'/></iq>`);
    await refuses(romeo, 'not-allowed');
  },
);

test('the proxy uses the port once it is free', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const usual = proxy65.config!.parse({ listen: [`127.0.0.1:${port}`] }) as unknown as RelaySettings;
  const relay = new Relay(usual, pino({ level: 'silent' }), () => {});
  await relay.open();
  assert.deepEqual(relay.ports, []);
  other.close();
  await once(other, 'close');
  await relay.retry();
  assert.deepEqual(relay.ports, [port]);
  await relay.close();
  await relay.retry();
  assert.deepEqual(relay.ports, []);
});

scenario('all hosts share the port', { nodes: 1 }, async ({ actor }) => {
  const romeo = await actor(romeoJid);
  const juliet = await actor(julietJid);
  await juliet.sends(`<iq type='get' id='1' to='proxy.elsewhere.example'><query xmlns='${NS.bytestreams}'/></iq>`);
  await juliet.receives(
    `<iq type='result' id='1'><query xmlns='${NS.bytestreams}'>
      <streamhost jid='proxy.elsewhere.example' host='elsewhere.example' port='${await portOf(romeo)}'/>
    </query></iq>`,
  );
});

scenario('listens on IPv6', { config: configOf({ listen: ['[::1]:0'] }) }, async ({ actor }) => {
  const romeo = await actor(romeoJid);
  const connection = await Connection.to(await portOf(romeo), '::1');
  assert.equal(await connection.asks(sha1('six')), 0);
});

scenario('messages to the service are refused', async ({ actor }) => {
  const romeo = await actor(romeoJid);
  await romeo.sends(`<message to='${proxy}' id='1'><body>hello</body></message>`);
  await romeo.receives(
    `<message type='error' id='1' from='${proxy}'><error><service-unavailable xmlns='${NS.stanzas}'/></error></message>`,
  );
  await romeo.sends(`<presence to='${proxy}'/>`);
  await romeo.receivesNothing();
});
