import type { Config } from '../config/schema.js';

/** The configuration without the stores that may be lost: for what reads or moves everything else. */
export function withoutLossy(config: Config): Config {
  const stores = Object.entries(config.storage.stores).filter(([, on]) => on !== 'redis');
  return { ...config, storage: { ...config.storage, stores: Object.fromEntries(stores) } };
}
