/**
 * `waxwing/storage`: the contract of a storage driver, and helpers for drivers. `waxwing/storage/suites` has the tests
 * that each driver must pass.
 */
export * from '../storage/contract.js';
export * from '../storage/filter.js';
export { late } from '../storage/late.js';
export { MemoryStorage } from '../storage/memory.js';
export * from '../storage/order.js';
