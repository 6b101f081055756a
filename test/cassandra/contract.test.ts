/** What every driver promises of logs, on a real node. Documents and maps are in memory: Cassandra has none. */
import { MemoryStorage } from '../../src/storage/memory.js';
import { routed } from '../../src/storage/wrappers.js';
import { logContract } from '../contract/log.js';
import { storageContract } from '../contract/whole.js';
import { newKeyspace, openIn } from './server.js';

const open = () => openIn(newKeyspace());

logContract('cassandra', open);

storageContract('memory and cassandra', async () =>
  routed({ default: new MemoryStorage(), stores: { l: await open() } }),
);
