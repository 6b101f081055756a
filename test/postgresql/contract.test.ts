import { after } from 'node:test';
import { checked } from '../../src/storage/checked.js';
import type { Storage } from '../../src/storage/contract.js';
import { late } from '../../src/storage/late.js';
import { documentContract } from '../contract/document.js';
import { fenceContract, joinContract } from '../contract/fence.js';
import { logContract } from '../contract/log.js';
import { mapContract } from '../contract/map.js';
import { persistenceContract, storageContract } from '../contract/whole.js';
import { dropAll, newSchema, openIn } from './server.js';

after(dropAll);

const drivers: Readonly<Record<string, () => Promise<Storage>>> = {
  postgresql: () => openIn(newSchema()),
  'postgresql, late': async () => late(await openIn(newSchema()), 2),
  'postgresql, checked': async () => checked(await openIn(newSchema()), () => {}),
};

for (const [name, open] of Object.entries(drivers)) {
  documentContract(name, open);
  mapContract(name, open);
  logContract(name, open);
  storageContract(name, open);
  joinContract(name, open);
}

const shared = (wrap: (storage: Storage) => Storage) => async (): Promise<() => Promise<Storage>> => {
  const schema = newSchema();
  return async () => wrap(await openIn(schema));
};
fenceContract(
  'postgresql',
  shared((storage) => storage),
);
fenceContract(
  'postgresql, late',
  shared((storage) => late(storage, 3)),
);

const places = new Map<string, string>();
persistenceContract('postgresql', (place) => {
  if (!places.has(place)) places.set(place, newSchema());
  return openIn(places.get(place)!);
});
