/**
 * SASL (RFC 4422) as profiled by XMPP (RFC 6120 §6, XEP-0388), without the transport: a mechanism turns the client's
 * messages into challenges and finally into the identity that was proved. Base64, XML, restarts and the attempt limit
 * belong to the stream.
 */

import { isUtf8 } from 'node:buffer';
import type { Accounts } from '../../accounts/index.js';
import { Jid } from '../../address/jid.js';
import type { Maybe } from '../../maybe.js';

/** RFC 6120 §6.5. */
export type SaslCondition =
  | 'aborted'
  | 'account-disabled'
  | 'credentials-expired'
  | 'encryption-required'
  | 'incorrect-encoding'
  | 'invalid-authzid'
  | 'invalid-mechanism'
  | 'malformed-request'
  | 'mechanism-too-weak'
  | 'not-authorized'
  | 'temporary-auth-failure';

/** Authentication failed. The text must not reveal whether the account exists. */
export class SaslError extends Error {
  override readonly name = 'SaslError';
  constructor(
    readonly condition: SaslCondition,
    readonly text?: string,
  ) {
    super(text === undefined ? condition : `${condition}: ${text}`);
  }
}

export type ChannelBindingType = 'tls-exporter' | 'tls-server-end-point';

/** The client's certificate, as verified by TLS. */
export interface ClientCertificate {
  /** Not expired, and issued by an authority that the configuration trusts for clients. */
  readonly trusted: boolean;
  /** The id-on-xmppAddr values of its subjectAltName (RFC 6120 §13.7.1.4), unparsed. */
  readonly xmppAddresses: readonly string[];
}

/** `<fast/>` and `<user-agent/>` of a SASL2 request (XEP-0484). Used by the HT mechanisms only. */
export interface FastRequest {
  /** The `id` of `<user-agent/>`; identifies the device. */
  readonly clientId: string;
  /** XEP-0484 §3.4: increases with every attempt with this token. */
  readonly count?: number | undefined;
  /** XEP-0484 §3.6: this authentication invalidates the token and all others of the device. */
  readonly invalidate?: boolean | undefined;
}

/** The stream as a mechanism sees it. */
export interface SaslContext {
  /** The host of the stream. */
  readonly host: string;
  /** Whether the connection is confidential: TLS, or trusted by the configuration. */
  readonly secure: boolean;
  /** The channel binding data. Returns undefined if not available. */
  channelBinding(type: ChannelBindingType): Buffer | undefined;
  /** The offered types (XEP-0440); empty if none were. */
  readonly channelBindingTypes: readonly string[];
  /** The offered mechanisms of the profile in use (SASL or SASL2); XEP-0474 hashes them. */
  readonly mechanisms: readonly string[];
  readonly clientCertificate?: ClientCertificate | undefined;
  readonly fast?: FastRequest | undefined;
  /** The bare address in the `from` of the stream header, if any: an authzid must match it. */
  readonly from?: Jid | undefined;
  readonly accounts: Accounts;
  /** Whether the home of an address is this node. Default: it is. */
  isHere?(jid: Jid): boolean;
  /**
   * Called with the account before any credential is checked, whether or not the account exists. Records it for
   * counting failures, and throws SaslError if it is shut out. Mechanisms for tokens and certificates, which cannot be
   * guessed, do not call it.
   */
  admit?(bare: string): void;
}

/** An authenticated identity. Made only by a mechanism, only from what was proved. */
export interface Identity {
  /** The account: a bare address of the stream's host. */
  readonly jid: Jid;
  /** Its localpart. */
  readonly local: string;
  readonly mechanism: string;
  /** Whether the proof included channel binding. */
  readonly channelBound: boolean;
  /** A temporary address for this session; there is no account (XEP-0175). */
  readonly anonymous: boolean;
  /** Identifies the password at the time of the proof: see Accounts.isCurrent. Undefined for anonymous users. */
  readonly epoch: string | undefined;
  /** Whether the password itself was proved (SCRAM, PLAIN), not a credential derived from an earlier login. */
  readonly byPassword: boolean;
  /** XEP-0484 §3.5: the HT mechanism for which the device needs a new token with its `<success/>`. */
  readonly tokenDue?: string | undefined;
}

export type SaslStep =
  | { readonly challenge: Buffer; readonly success?: undefined }
  /** `data`: additional data of the success (RFC 6120 §6.4.6, XEP-0388 §2.6.1). */
  | { readonly success: Identity; readonly data?: Buffer | undefined; readonly challenge?: undefined };

export interface Exchange {
  /**
   * Takes the client's message: first its initial response (undefined if there was none), then its responses. Throws or
   * rejects with SaslError. Not to be called after success or an error, or while a step is pending.
   */
  step(message: Buffer | undefined): Maybe<SaslStep>;
}

export interface Mechanism {
  readonly name: string;
  start(context: SaslContext): Exchange;
}

/** RFC 4422 §5: an empty challenge, for a client that sent no initial response. */
export const askForFirst: SaslStep = { challenge: Buffer.alloc(0) };

/** Decodes UTF-8; throws SaslError('malformed-request') if invalid. A BOM is retained, and so refused in a name. */
export function text(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new SaslError('malformed-request', 'not UTF-8');
  return bytes.toString('utf8');
}

/**
 * The account address for a user name: a localpart (RFC 6120 §6.3.7), or the whole bare address, as many clients send
 * it. Throws SaslError('not-authorized') if it cannot be an account of this host.
 */
export function accountOf(name: string, host: string): Jid {
  try {
    const jid = name.includes('@') ? Jid.parse(name) : Jid.of(name, host);
    if (jid.local !== undefined && jid.isBare && jid.domain === host) return jid;
  } catch {
    // Not a valid address, so not an account.
  }
  throw new SaslError('not-authorized');
}

/** RFC 6120 §6.3.8, §6.5.6: the authzid must be the account itself. XEP-0388 §4.4: and match the stream header. */
export function checkAuthzid(authzid: string, account: Jid, context: SaslContext): void {
  if (authzid === '') return;
  const asked = Jid.tryParse(authzid);
  if (!account.equals(asked)) throw new SaslError('invalid-authzid');
  if (context.from !== undefined && !account.sameBare(context.from)) throw new SaslError('invalid-authzid');
}
