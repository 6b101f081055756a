/**
 * A connection that is cut before the server gets a transaction, before we get the answer, or whose data reaches the
 * server only after we have given it up: each kind of operation is done once, with the right result.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { Storage } from '../../src/storage/contract.js';
import { dropAll, newSchema, openIn, sql } from './server.js';

after(dropAll);

const url = new URL(process.env.WAXWING_POSTGRESQL!);

type Cut = 'before' | 'after' | 'late';

/** A relay to the server that cuts the connection which is asked for next. */
async function relay() {
  const sockets = new Set<Socket>();
  /** The next data with this text is cut so. */
  let cut: { readonly how: Cut; readonly text: string } | undefined;
  let held: { readonly server: Socket; readonly data: Buffer } | undefined;
  const listener = createServer((client) => {
    const server = connect(Number(url.port), url.hostname);
    let isCut = false;
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
    }
    server.on('data', (data) => {
      if (!isCut) client.write(data);
    });
    server.on('close', () => client.destroy());
    client.on('close', () => {
      if (held?.server !== server && !isCut) server.destroy();
    });
    client.on('data', (data) => {
      const { how, text } = cut ?? {};
      if (how === undefined || !data.includes(text!)) {
        server.write(data);
        return;
      }
      cut = undefined;
      isCut = true;
      if (how === 'after') server.write(data);
      if (how === 'late') held = { server, data };
      // What the server answers now is lost.
      if (how === 'after') server.once('data', () => client.destroy());
      else client.destroy();
      if (how === 'before') server.destroy();
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    port: (listener.address() as AddressInfo).port,
    cutAt: (how: Cut, text: string) => {
      cut = { how, text };
    },
    get isCut() {
      return cut === undefined;
    },
    /** Sends what was held back, and waits until the server has dealt with it. */
    deliver: async () => {
      const { server, data } = held!;
      held = undefined;
      const answered = once(server, 'data');
      server.write(data);
      await answered;
      server.destroy();
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
      listener.close();
    },
  };
}

/** Operations, each with its result, on an owner with an entry `a` everywhere. The marker is in what is sent. */
const operations: Readonly<Record<string, (storage: Storage, marker: string) => Promise<unknown>>> = {
  'an append': (storage, marker) => storage.log('l').append('romeo', { id: 'b', value: marker }),
  'writes to several stores': (storage, marker) =>
    Promise.all([
      storage.log('l').append('romeo', { id: 'b', value: marker }),
      storage.document('d').set('romeo', marker),
      storage.map('m').set('romeo', [[marker, 1]]),
    ]),
  'a removal': (storage, marker) => storage.log('l').remove('romeo', ['a', marker]),
  'deleted entries': (storage, marker) => storage.map('m').delete('romeo', ['a', marker]),
  'compare and set': (storage, marker) => storage.document('d').compareAndSet('romeo', 1, marker),
  'mixed writes and reads': (storage, marker) =>
    Promise.all([
      storage.document('d').set('romeo', marker),
      storage
        .document('d')
        .get('romeo')
        .then((value) => value === marker),
      storage.log('l').remove('romeo', ['a']),
      storage.log('l').append('romeo', { id: 'c', value: '' }),
      storage.log('l').count('romeo', {}),
      storage.document('d').delete('romeo'),
    ]),
};

const results: Readonly<Record<string, unknown>> = {
  'an append': undefined,
  'writes to several stores': [undefined, undefined, undefined],
  'a removal': 1,
  'deleted entries': 1,
  'compare and set': true,
  'mixed writes and reads': [undefined, true, 1, undefined, 1, true],
};

for (const [what, run] of Object.entries(operations)) {
  for (const how of ['before', 'after', 'late'] as const) {
    test(`${what}, cut ${how}`, async () => {
      const schema = newSchema();
      const proxy = await relay();
      const client = { connectionString: `postgresql://postgres:${url.password}@127.0.0.1:${proxy.port}/postgres` };
      const storage = await openIn(schema, { client, lanes: 1 });
      await storage.document('d').set('romeo', 1);
      await storage.map('m').set('romeo', [['a', 1]]);
      await storage.log('l').append('romeo', { id: 'a', value: '1' });
      const marker = `marker-${what.length}-${how}`;
      proxy.cutAt(how, marker);
      assert.deepEqual(await run(storage, marker), results[what]);
      assert.ok(proxy.isCut);
      if (how === 'late') {
        // What follows must not be undone by what arrives late.
        await storage.document('d').set('romeo', 'later');
        await storage.log('l').append('romeo', { id: 'a', value: 'later' });
        await storage.log('l').append('romeo', { id: 'b', value: 'later' });
        await storage.map('m').set('romeo', [['a', 'later']]);
        await proxy.deliver();
        await wait(20);
        assert.equal(await storage.document('d').get('romeo'), 'later');
        const { entries } = await storage.log('l').page('romeo', { limit: 9, ids: ['a', 'b'] });
        assert.deepEqual(
          entries.map(({ value }) => value),
          ['later', 'later'],
        );
        assert.equal(await storage.map('m').get('romeo', 'a'), 'later');
      }
      await storage.close();
      proxy.close();
      assert.deepEqual(await sql(`SELECT * FROM "${schema}".lane`), []);
    });
  }
}
