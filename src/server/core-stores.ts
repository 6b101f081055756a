/** The server's own stores, of whatever shape. */
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
