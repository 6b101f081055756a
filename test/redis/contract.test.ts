/** What every driver promises of documents and maps, on the server of WAXWING_REDIS. */
import { checked } from '../../src/storage/checked.js';
import { late } from '../../src/storage/late.js';
import { measured } from '../../src/storage/wrappers.js';
import { documentContract } from '../contract/document.js';
import { mapContract } from '../contract/map.js';
import { emptyStorage } from './server.js';

const drivers = {
  redis: emptyStorage,
  'redis, with data that expires': () => emptyStorage({ expires: () => 3600 }),
  'redis, late': async () => late(await emptyStorage(), 3),
  'redis, checked': async () => checked(await emptyStorage(), () => {}),
  'redis, measured': async () => measured(await emptyStorage(), () => {}),
};

for (const [name, open] of Object.entries(drivers)) {
  documentContract(name, open);
  mapContract(name, open);
}
