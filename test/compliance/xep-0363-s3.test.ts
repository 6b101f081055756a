/** XEP-0363 with files in S3: redirects, a store that is away, and one that cannot be used. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createServer } from '../../src/server/index.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { openS3, type S3Options, type S3Storage } from '../../src/storage/s3/index.js';
import { S3Store } from '../s3-store.js';
import { type Scene, scenario } from './dialogue.js';
import { gets, puts, refused, slotOf, slotRequest, uploads } from './files.js';

const store = await S3Store.open();
const storages: S3Storage[] = [];
const folder = mkdtempSync(join(tmpdir(), 'waxwing-s3-'));
const secret = join(folder, 'secret');
writeFileSync(secret, 'SECRET-KEY\n');
after(async () => {
  for (const storage of storages) await storage.close();
  await store.close();
  rmSync(folder, { recursive: true });
});
const romeoJid = 'romeo@localhost/orchard';

async function open(prefix: string, more: Partial<S3Options>): Promise<S3Storage> {
  const client = {
    endpoint: store.endpoint,
    region: 'us-east-1',
    bucket: 'files',
    isPathStyle: true,
    credentials: { accessKeyId: 'key', secretKey: 'SECRET-KEY' },
  };
  const storage = await openS3({ client, prefix, ownership: { id: 'test' }, ...more });
  storages.push(storage);
  return storage;
}

const signed = await open('signed/', { links: { seconds: 60, base: undefined } });
scenario(
  'a download is redirected to the store, with the headers of the file',
  { blobs: () => signed },
  async (scene) => {
    const romeo = await scene.actor(romeoJid);
    const path = await uploads(scene, romeo, 'a page.html', '<html/>', 'text/html');
    const answer = await gets(scene, path, { range: 'bytes=1-2' });
    assert.equal(answer.status, 302);
    const url = new URL(answer.headers.location!);
    assert.equal(url.origin, store.endpoint);
    assert.match(url.pathname, /^\/files\/signed\/upload\/contents\/[0-9a-f]{32}$/);
    // §11.1: nothing that a browser runs
    assert.equal(url.searchParams.get('response-content-type'), 'application/octet-stream');
    assert.equal(url.searchParams.get('response-content-disposition'), 'attachment; filename="a page.html"');
    assert.equal(url.searchParams.get('X-Amz-Expires'), '60');
    assert.equal(answer.headers['cache-control'], 'private, max-age=30');
    assert.doesNotMatch(url.href, /SECRET-KEY/);
    // What the client has it need not fetch again.
    const id = path.split('/')[2]!;
    assert.equal((await gets(scene, path, { 'if-none-match': `"${id}"` })).status, 304);
    assert.equal((await gets(scene, path.replace(id, '0'.repeat(32)))).status, 404);
    const stored = store.objects.get(url.pathname.slice('/files/'.length))!;
    assert.equal(stored.headers['content-type'], 'application/octet-stream');
    assert.equal(stored.headers['content-disposition'], 'attachment; filename="a page.html"');
  },
);

const cached = await open('cached/', { links: { seconds: 60, base: 'https://cdn.example.org/' } });
scenario('or to a network of caches', { blobs: () => cached }, async (scene) => {
  const path = await uploads(scene, await scene.actor(romeoJid), 'a.txt', 'abc');
  const { status, headers } = await gets(scene, path);
  assert.equal(status, 302);
  assert.match(headers.location!, /^https:\/\/cdn\.example\.org\/cached\/upload\/contents\/[0-9a-f]{32}$/);
});

const s3 = { endpoint: '', bucket: 'files', access_key_id: 'key', secret_key_file: secret, attempts: 1 };
const storageOf = (prefix: string) => ({
  files: { driver: 's3' },
  s3: { ...s3, endpoint: store.endpoint, prefix },
});
/** A server that opens the driver itself. */
const configured = (prefix: string) =>
  ({ config: { storage: storageOf(prefix) }, alone: true, nodes: 1, isOnFiles: true, errors: true }) as const;

const isWorking = ({ server }: Scene): boolean => server.engines.states.find(({ name }) => name === 's3')!.isWorking;

/** While the connections to the store are cut. */
async function away(work: () => Promise<void>): Promise<void> {
  store.fault = (_, request) => {
    request.socket.destroy();
    return true;
  };
  try {
    await work();
  } finally {
    store.fault = undefined;
  }
}

/** The breaker looks every second or so. */
async function worksAgain(scene: Scene): Promise<void> {
  while (!isWorking(scene)) await new Promise((resolve) => setTimeout(resolve, 5));
}

scenario(
  'a store that is away: refused at once, seen in the metrics, over by itself',
  configured('away/'),
  async (scene) => {
    const romeo = await scene.actor(romeoJid);
    const path = await uploads(scene, romeo, 'a', 'abc');
    const slot = await slotOf(romeo, { filename: 'b', size: 3 });
    await away(async () => {
      // Each fails by itself, until the breaker opens.
      while (isWorking(scene)) assert.equal((await puts(scene, slot.put, 'abc')).status, 503);
      const asked = store.asked.length;
      const get = await gets(scene, path);
      assert.deepEqual([get.status, get.headers['retry-after']], [503, '10']);
      assert.equal((await puts(scene, slot.put, 'abc')).status, 503);
      const error = await refused(romeo, slotRequest({ filename: 'c', size: 3 }));
      assert.ok(error.getChild('resource-constraint'));
      assert.equal(error.attrs.type, 'wait');
      const others = store.asked.slice(asked).filter((one) => !one.includes('WAXWING-SERVER'));
      assert.deepEqual(others, [], 'only the breaker asks');
      assert.match((await scene.server.metrics.text()).text, /waxwing_engine_up\{engine="s3"\} 0/);
    });
    await worksAgain(scene);
    assert.equal((await puts(scene, slot.put, 'abc')).status, 201);
    assert.equal((await gets(scene, path)).body.toString(), 'abc');
  },
);

scenario('a server starts while the store is away, and uses it once it is back', configured('late/'), async (scene) => {
  const path = await uploads(scene, await scene.actor(romeoJid), 'a', 'abc');
  await away(async () => {
    await scene.stage.restart();
    assert.equal(isWorking(scene), false);
    assert.equal((await gets(scene, path)).status, 503);
  });
  await worksAgain(scene);
  assert.equal((await gets(scene, path)).body.toString(), 'abc');
});

test('a bucket of another server, or a secret that is missing, ends the start', async () => {
  const starts = (more: object) =>
    createServer({
      text: '',
      overrides: {
        hosts: { localhost: {} },
        data: join(folder, 'data'),
        log: { level: 'fatal' },
        storage: { ...storageOf('signed/'), ...more },
      },
      storage: new MemoryStorage(),
    });
  await assert.rejects(starts({}), { name: 'StorageError', failure: 'locked', message: /belong to another server/ });
  const missing = { s3: { ...s3, endpoint: store.endpoint, secret_key_file: join(folder, 'none') } };
  await assert.rejects(starts(missing), { name: 'StorageError', message: /secret_key_file: .*ENOENT/ });
});
