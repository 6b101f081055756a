import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { openFiles } from '../../src/storage/files/index.js';
import { blobContract } from './blobs.js';

const folder = mkdtempSync(join(tmpdir(), 'waxwing-blobs-'));
after(() => rmSync(folder, { recursive: true }));

let opened = 0;
blobContract('files', async () => openFiles(join(folder, String(++opened), 'files')));
