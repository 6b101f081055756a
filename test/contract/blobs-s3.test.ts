/** The S3 driver on a store in this process: test/s3 runs the same on a real one, but not with parts as small as these. */
import { after } from 'node:test';
import { openS3, type S3Options, type S3Storage } from '../../src/storage/s3/index.js';
import { S3Store } from '../s3-store.js';
import { blobContract } from './blobs.js';

const opened: (S3Store | S3Storage)[] = [];
after(async () => {
  for (const one of opened.reverse()) await one.close();
});

const opening = (more: Partial<S3Options>) => async () => {
  const store = await S3Store.open();
  const client = {
    endpoint: store.endpoint,
    region: 'us-east-1',
    bucket: 'files',
    isPathStyle: true,
    credentials: { accessKeyId: 'key', secretKey: 'secret' },
  };
  const storage = await openS3({ client, prefix: 'waxwing/', ownership: { id: 'test' }, ...more });
  opened.push(store, storage);
  return storage;
};

blobContract('s3', opening({}));
blobContract('s3 in parts', opening({ partBytes: 65_536 }));
blobContract('s3 in parts, as they come', opening({ partBytes: 65_536, memoryBytes: 0 }));
blobContract('s3 with little memory', opening({ partBytes: 65_536, memoryBytes: 100_000, hasChecksums: false }));
