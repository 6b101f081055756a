/**
 * The HT mechanisms (draft-schmaus-kitten-sasl-ht-09) that prove FAST tokens (XEP-0484): one message each way. They are
 * offered in `<fast/>`, not among the other mechanisms, and only on secure connections. TLS early data is not accepted,
 * so `count` is optional (§3.4); if given it must increase.
 */

import { isUtf8 } from 'node:buffer';
import { clientIdLimit } from '../../accounts/tokens.js';
import {
  accountOf,
  askForFirst,
  type ChannelBindingType,
  type Mechanism,
  type SaslContext,
  SaslError,
  type SaslStep,
} from './mechanism.js';

const bindings = {
  'HT-SHA-256-EXPR': 'tls-exporter',
  'HT-SHA-256-ENDP': 'tls-server-end-point',
  'HT-SHA-256-NONE': undefined,
} as const satisfies Record<string, ChannelBindingType | undefined>;

export type FastMechanism = keyof typeof bindings;

/** Strongest first. */
export const fastMechanisms = Object.keys(bindings) as FastMechanism[];

/** The channel binding of a FAST mechanism. */
export const fastBinding = (mechanism: FastMechanism): ChannelBindingType | undefined => bindings[mechanism];

/** Bytes of an HMAC-SHA-256. */
const proofLength = 32;

export const fast = (name: FastMechanism): Mechanism => ({
  name,
  start: (context) => ({
    step: (message) => (message === undefined ? askForFirst : check(name, context, message)),
  }),
});

async function check(mechanism: FastMechanism, context: SaslContext, message: Buffer): Promise<SaslStep> {
  const request = context.fast;
  if (!context.secure) throw new SaslError('encryption-required');
  if (request === undefined || request.clientId === '' || request.clientId.length > clientIdLimit) {
    throw new SaslError('malformed-request', '<fast/> and the id of <user-agent/> are required'); // §4.1
  }
  // authcid NUL proof. The proof is binary and may contain NULs.
  const end = message.indexOf(0);
  const name = message.subarray(0, Math.max(end, 0));
  if (name.length === 0 || name.length > 3071 || !isUtf8(name) || message.length !== end + 1 + proofLength) {
    throw new SaslError('malformed-request', 'expected a user name, NUL and a proof');
  }
  const jid = accountOf(name.toString('utf8'), context.host);
  const type = fastBinding(mechanism);
  const binding = type === undefined ? undefined : context.channelBinding(type);
  if (type !== undefined && binding === undefined) throw new SaslError('not-authorized');

  const account = await context.accounts.get(jid.bare);
  const verdict = await context.accounts.tokens.verify(jid.bare, {
    clientId: request.clientId,
    mechanism,
    epoch: account?.epoch,
    hash: message.subarray(end + 1),
    binding,
    count: request.count,
    invalidate: request.invalidate ?? false,
  });
  if (verdict.outcome === 'expired') throw new SaslError('credentials-expired'); // §4.2
  if (verdict.outcome === 'wrong') throw new SaslError('not-authorized');
  // Read again: the account may have been deleted, or its password changed, in the meantime.
  const now = await context.accounts.get(jid.bare);
  if (now === undefined) throw new SaslError('not-authorized');
  if (now.epoch !== account?.epoch) throw new SaslError('credentials-expired');
  if (now.disabled) throw new SaslError('account-disabled');
  return {
    success: {
      jid,
      local: jid.local ?? '',
      mechanism,
      channelBound: binding !== undefined,
      anonymous: false,
      epoch: now.epoch,
      byPassword: false,
      tokenDue: verdict.due ? mechanism : undefined,
    },
    data: verdict.answer,
  };
}
