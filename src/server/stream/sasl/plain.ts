/** PLAIN (RFC 4616): sends the password, so only on secure connections. It is checked against the SCRAM keys. */
import { AccountError } from '../../accounts/index.js';
import {
  accountOf,
  askForFirst,
  checkAuthzid,
  type Mechanism,
  type SaslContext,
  SaslError,
  type SaslStep,
  text,
} from './mechanism.js';

// Address, name, password, and two NULs.
const longestMessage = 2 * 3071 + 1024 + 2;

/** `insecure`: also without TLS, if configured. */
export const plain = (options: { readonly insecure: boolean } = { insecure: false }): Mechanism => ({
  name: 'PLAIN',
  start: (context) => ({
    step: (message) => {
      if (!context.secure && !options.insecure) throw new SaslError('encryption-required');
      return message === undefined ? askForFirst : check(context, message);
    },
  }),
});

async function check(context: SaslContext, message: Buffer): Promise<SaslStep> {
  if (message.length > longestMessage) throw new SaslError('malformed-request', 'message too long');
  const parts = text(message).split('\0');
  const [authzid, name, password] = parts;
  if (parts.length !== 3 || authzid === undefined || !name || !password) {
    throw new SaslError('malformed-request', 'expected a user name and a password');
  }
  const jid = accountOf(name, context.host);
  checkAuthzid(authzid, jid, context);
  context.admit?.(jid.bare);
  const account = await context.accounts.verifyPassword(jid.bare, password).catch((error: unknown) => {
    throw error instanceof AccountError ? new SaslError('temporary-auth-failure') : error;
  });
  if (account === undefined) throw new SaslError('not-authorized');
  if (account.disabled) throw new SaslError('account-disabled');
  await context.accounts.completeKeys(account, password);
  return {
    success: {
      jid,
      local: jid.local ?? '',
      mechanism: 'PLAIN',
      channelBound: false,
      anonymous: false,
      epoch: account.epoch,
      byPassword: true,
    },
  };
}
