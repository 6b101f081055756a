/** What every driver of blobs promises, on a real server: contents in memory, and contents that are sent as they come. */
import { after } from 'node:test';
import type { S3Options, S3Storage } from '../../src/storage/s3/index.js';
import { blobContract } from '../contract/blobs.js';
import { emptyStorage } from './server.js';

const opened: S3Storage[] = [];
after(() => Promise.all(opened.map((storage) => storage.close())));

const opening = (more: Partial<S3Options>) => async () => {
  const storage = await emptyStorage(more);
  opened.push(storage);
  return storage;
};

blobContract('s3', opening({}));
blobContract('s3 without memory', opening({ memoryBytes: 0 }));
blobContract('s3 without checksums', opening({ hasChecksums: false, memoryBytes: 100_000 }));
