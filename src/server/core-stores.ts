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
