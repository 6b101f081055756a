/** `[storage.s3]`: what is refused before anything starts, what the settings mean, and what `waxwing check` finds. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkS3 } from '../../src/server/admin/check/s3.js';
import { ConfigError, loadConfig } from '../../src/server/config/load.js';
import { settingsOfAll } from '../../src/server/node-of-cluster.js';
import { optionsOf } from '../../src/storage/s3/settings.js';
import { refuse, S3Store } from '../s3-store.js';

const folder = mkdtempSync(join(tmpdir(), 'waxwing-config-s3-'));
const secret = join(folder, 'secret');
writeFileSync(secret, 'SECRET-KEY\n');
after(() => rmSync(folder, { recursive: true }));

const configOf = (lines: string, driver = 's3') =>
  loadConfig({ text: `[storage.files]\ndriver = "${driver}"\n[storage.s3]\n${lines}`, modules: [] }).storage.s3;
const key = `access_key_id = "KEY"\nsecret_key_file = "${secret}"\n`;

function problemsOf(lines: string, driver?: string): string[] {
  try {
    configOf(lines, driver);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.findings.map(({ path, problem }) => `${path}: ${problem}`);
  }
  return [];
}

test('what cannot work is refused with what is wrong', () => {
  const bucket = 'bucket = "files"\n';
  for (const [lines, problem] of [
    ['', /s3\.bucket: is missing/],
    ['bucket = "a/b"', /s3\.bucket: .*is not the name of a bucket/],
    [`${bucket}prefix = "waxwing"`, /s3\.prefix: .*is not a prefix/],
    [`${bucket}prefix = "/"`, /s3\.prefix: .*is not a prefix/],
    [`${bucket}endpoint = "s3.example.org"`, /s3\.endpoint: .*is not the address of a store/],
    [`${bucket}endpoint = "https://key:secret@s3.example.org"`, /s3\.endpoint: .*is not the address of a store/],
    [`${bucket}endpoint = "http://s3.example.org"`, /s3\.endpoint: has no TLS/],
    [`${bucket}kms_key = "k"`, /s3\.kms_key: has no meaning/],
    [`${bucket}public_url = "https://cdn.example.org"`, /s3\.public_url: has no meaning/],
    [`${bucket}part_bytes = "1 MiB"`, /s3\.part_bytes/],
  ] as const) {
    const problems = problemsOf(lines);
    assert.equal(problems.length, 1, `${lines}: ${problems}`);
    assert.match(problems[0]!, problem);
  }
  for (const lines of [
    bucket,
    `${bucket}endpoint = "http://127.0.0.1:9000"`,
    `${bucket}endpoint = "http://[::1]:9000"`,
  ])
    assert.deepEqual(problemsOf(lines), [], lines);
  assert.deepEqual(problemsOf('', 'folder'), []);
});

test('the settings as options', async () => {
  const amazon = await optionsOf(configOf(`bucket = "files"\nregion = "eu-west-1"\n${key}`));
  assert.equal(amazon.client.endpoint, 'https://s3.eu-west-1.amazonaws.com');
  assert.equal(amazon.client.isPathStyle, false);
  assert.deepEqual(amazon.client.credentials, { accessKeyId: 'KEY', secretKey: 'SECRET-KEY' });
  assert.equal(amazon.prefix, 'waxwing/');
  assert.equal(amazon.links, undefined);
  assert.equal(amazon.encryption, undefined);
  const own = await optionsOf(
    configOf(
      `bucket = "files"\nendpoint = "https://minio.example.org"\nencryption = "AES256"\ndownloads = "redirect"\npublic_url = "https://cdn.example.org"\n${key}`,
    ),
  );
  assert.equal(own.client.isPathStyle, true);
  assert.deepEqual(own.encryption, { algorithm: 'AES256', key: '' });
  assert.deepEqual(own.links, { seconds: 300, base: 'https://cdn.example.org/' });
});

test('all nodes of a cluster use the same bucket', () => {
  const of = (text: string) => settingsOfAll(loadConfig({ text, modules: [] }))['storage.s3'];
  const text = '[storage.files]\ndriver = "s3"\n[storage.s3]\nbucket = "files"\n';
  assert.equal(of(text), 'files/waxwing/');
  assert.equal(of(`${text}prefix = ""`), 'files/');
  assert.equal(of('[storage.s3]\nbucket = "files"'), undefined);
});

test('waxwing check tries the bucket', async () => {
  const store = await S3Store.open();
  try {
    const config = configOf(`bucket = "files"\nendpoint = "${store.endpoint}"\n${key}`);
    const [found, ...others] = await checkS3(config);
    assert.deepEqual(others, []);
    assert.equal(found!.level, 'ok');
    assert.match(found!.what, /S3 bucket files at 127\.0\.0\.1:\d+: can be read and written; nobody has used it yet/);
    assert.deepEqual([...store.objects.keys()], []);
    store.fault = ({ query }, request, response) => {
      if (!query.has('versioning')) return;
      request.resume();
      response.end('<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>');
      return true;
    };
    const [, versions] = await checkS3(config);
    assert.equal(versions!.level, 'warning');
    assert.match(versions!.what, /keeps versions/);
    store.fault = ({ method }, request, response) => {
      if (method !== 'PUT') return;
      request.resume();
      refuse(response, 403, 'AccessDenied');
      return true;
    };
    const [denied] = await checkS3(config);
    assert.equal(denied!.level, 'error');
    assert.match(denied!.what, /AccessDenied/);
    assert.doesNotMatch(JSON.stringify(denied), /SECRET-KEY/);
    const [missing] = await checkS3({ ...config, secret_key_file: join(folder, 'none') });
    assert.match(missing!.what, /secret_key_file: .*ENOENT/);
  } finally {
    await store.close();
  }
});
