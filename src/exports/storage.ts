/**
 * `waxwing/storage`: the contract of a storage driver, and what drivers are written with. `waxwing/storage/suites` has the
 * tests that each has to pass.
 */
export * from '../storage/contract.js';
export * from '../storage/filter.js';
export { late } from '../storage/late.js';
export { MemoryStorage } from '../storage/memory.js';
export * from '../storage/order.js';
