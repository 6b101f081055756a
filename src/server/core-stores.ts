/** The server's own stores, of any shape. */
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
