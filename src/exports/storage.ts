/**
 * `waxwing/storage`: the contracts of storage drivers and of blob drivers, and helpers for them. `waxwing/storage/suites`
 * has the tests that each driver must pass.
 */
export * from '../storage/blobs.js';
export * from '../storage/contract.js';
export { openFiles } from '../storage/files/index.js';
export * from '../storage/filter.js';
export { late } from '../storage/late.js';
export { MemoryStorage } from '../storage/memory.js';
export * from '../storage/order.js';
