/**
 * EXTERNAL (RFC 4422 appendix A) with certificates, as in XEP-0178. The identity comes from the subjectAltName only;
 * names in the subject prove nothing.
 */
import { Jid } from '../../address/jid.js';
import {
  askForFirst,
  type ClientCertificate,
  checkAuthzid,
  type Mechanism,
  type SaslContext,
  SaslError,
  type SaslStep,
  text,
} from './mechanism.js';

const longestMessage = 3071;

/** XEP-0178 §2: for clients. */
export const external: Mechanism = {
  name: 'EXTERNAL',
  start: (context) => ({
    step: (message) => (message === undefined ? askForFirst : check(context, message)),
  }),
};

/** The accounts of a host named in a certificate: EXTERNAL is offered if there are any (RFC 6120 §6.3.4). */
export function certifiedAccounts(certificate: ClientCertificate | undefined, host: string): Jid[] {
  if (!certificate?.trusted) return [];
  const jids = certificate.xmppAddresses
    .map((address) => Jid.tryParse(address))
    .filter((jid): jid is Jid => jid !== undefined && jid.local !== undefined && jid.isBare && jid.domain === host);
  return [...new Map(jids.map((jid) => [jid.bare, jid])).values()];
}

async function check(context: SaslContext, message: Buffer): Promise<SaslStep> {
  const authzid = authorizationId(message);
  const named = certifiedAccounts(context.clientCertificate, context.host);
  if (named.length === 0) throw new SaslError('not-authorized');
  // §2, 11b: with several addresses the client must choose one; with one it need not.
  const jid = authzid === '' ? named.length === 1 && named[0] : named.find((one) => one.equals(Jid.tryParse(authzid)));
  if (!jid) throw new SaslError('invalid-authzid');
  checkAuthzid(authzid, jid, context);
  const account = await context.accounts.get(jid.bare);
  if (account === undefined) throw new SaslError('not-authorized');
  if (account.disabled) throw new SaslError('account-disabled');
  return {
    success: {
      jid,
      local: jid.local ?? '',
      mechanism: 'EXTERNAL',
      channelBound: true, // the TLS handshake of this channel proved the certificate
      anonymous: false,
      epoch: account.epoch,
      byPassword: false,
    },
  };
}

/**
 * XEP-0178 §3, 11: the domain proved by another server's certificate: that of its stream header, which `certifies` must
 * find in the certificate (RFC 6125). An authorization identity must be the same. Throws SaslError.
 */
export function authenticateServer(
  message: Buffer,
  peer: { readonly from: Jid; certifies(domain: string): boolean },
): Jid {
  const authzid = authorizationId(message);
  const { from } = peer;
  if (from.local !== undefined || !from.isBare || !peer.certifies(from.domain)) throw new SaslError('not-authorized');
  if (authzid !== '' && !from.equals(Jid.tryParse(authzid))) throw new SaslError('invalid-authzid');
  return from;
}

function authorizationId(message: Buffer): string {
  if (message.length > longestMessage || message.includes(0)) throw new SaslError('malformed-request');
  return text(message);
}
