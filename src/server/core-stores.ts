/** Those of the server's own stores that may be lost: lists show no last login then. */
export const lossyCoreStores: readonly string[] = ['last_logins'];

/** The server's own stores, of any shape. `passing` has the anonymous accounts; existing databases use this name. */
export const coreStores: readonly string[] = [
  'accounts',
  'account_secrets',
  'fast_tokens',
  'last_logins',
  'passing',
  'quotas',
  'stanza_ids',
  'stream_management',
];
