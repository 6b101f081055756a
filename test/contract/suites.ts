/** `waxwing/storage/suites`: the contract of storage drivers as tests for Node's runner. A new driver is done when all pass. */
export { blobContract } from './blobs.js';
export { documentContract } from './document.js';
export { fenceContract, joinContract } from './fence.js';
export { logContract } from './log.js';
export { mapContract } from './map.js';
export { persistenceContract, storageContract } from './whole.js';
