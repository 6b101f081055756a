/**
 * SASL (RFC 4422) as XMPP profiles it (RFC 6120 §6, XEP-0388), without the transport: a mechanism turns the client's
 * messages into challenges and, once, into the identity that it proved. Base64, XML, restarts and the number of
 * attempts are the stream's.
 */
import { isUtf8 } from 'node:buffer';
import type { Accounts } from '../../accounts/index.js';
import { Jid } from '../../stanza/jid.js';

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

/** Why authentication failed. What the text tells is the same whether or not the account exists. */
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

/** The client's certificate, as the TLS layer found it. */
export interface ClientCertificate {
  /** It is within its time, and its chain ends in an authority that the configuration trusts for clients. */
  readonly trusted: boolean;
  /** The id-on-xmppAddr values of its subjectAltName (RFC 6120 §13.7.1.4), as they stand there. */
  readonly xmppAddresses: readonly string[];
}

/** `<fast/>` and `<user-agent/>` of a SASL2 request (XEP-0484): only the HT mechanisms read it. */
export interface FastRequest {
  /** The `id` of `<user-agent/>`: names the device. */
  readonly clientId: string;
  /** XEP-0484 §3.4: higher at every attempt with this token. */
  readonly count?: number | undefined;
  /** XEP-0484 §3.6: the token (and every other of this device) ends with this authentication. */
  readonly invalidate?: boolean | undefined;
}

/** What a mechanism may know of the stream that it authenticates. */
export interface SaslContext {
  /** The host that the stream is for. */
  readonly host: string;
  /** Whether nobody can listen: TLS, or a connection that the configuration trusts as much. */
  readonly secure: boolean;
  /** The data that binds to the channel below; undefined: cannot be had. */
  channelBinding(type: ChannelBindingType): Buffer | undefined;
  /** The types that were offered (XEP-0440); empty: none were. */
  readonly channelBindingTypes: readonly string[];
  /** The mechanisms that were offered, by the profile in use (SASL or SASL2): XEP-0474 hashes them. */
  readonly mechanisms: readonly string[];
  readonly clientCertificate?: ClientCertificate | undefined;
  readonly fast?: FastRequest | undefined;
  /** The bare address in the `from` of the stream header, where there was one: an authzid must not differ from it. */
  readonly from?: Jid | undefined;
  readonly accounts: Accounts;
  /** Whether the home of an address is this node. Default: it is. */
  isHere?(jid: Jid): boolean;
  /**
   * Called with the account whose password the client is about to prove, before any credential is looked at, whether or
   * not there is such an account: notes it for the count of failures, and refuses (SaslError) one that is shut out.
   * Tokens and certificates cannot be guessed, so their mechanisms do not call it.
   */
  admit?(bare: string): void;
}

/** Who the peer is. Made only by a mechanism, and only from what was proved: there is no other name to choose from. */
export interface Identity {
  /** The account: a bare address of the stream's host. */
  readonly jid: Jid;
  /** Its localpart. */
  readonly local: string;
  readonly mechanism: string;
  /** Whether the proof was bound to the channel below. */
  readonly channelBound: boolean;
  /** An address for this session only; no account stands behind it (XEP-0175). */
  readonly anonymous: boolean;
  /** Names the password that was in force at the proof: see Accounts.isCurrent. Undefined for anonymous users. */
  readonly epoch: string | undefined;
  /** Whether the password itself was proved (SCRAM, PLAIN), and not something derived from an earlier login. */
  readonly byPassword: boolean;
  /** XEP-0484 §3.5: the HT mechanism for which the device is due a new token with its `<success/>`. */
  readonly tokenDue?: string | undefined;
}

export type SaslStep =
  | { readonly challenge: Buffer; readonly success?: undefined }
  /** `data`: what goes with the success (RFC 6120 §6.4.6, XEP-0388 §2.6.1). */
  | { readonly success: Identity; readonly data?: Buffer | undefined; readonly challenge?: undefined };

export interface Exchange {
  /**
   * Takes the client's message: first its initial response (undefined: there was none), then its responses. Throws
   * or rejects with SaslError. Not to be called again after success, an error, or before the step before has resolved.
   */
  step(message: Buffer | undefined): SaslStep | Promise<SaslStep>;
}

export interface Mechanism {
  readonly name: string;
  start(context: SaslContext): Exchange;
}

/** RFC 4422 §5: a mechanism in which the client speaks first asks for what was left out of the initial response. */
export const askForFirst: SaslStep = { challenge: Buffer.alloc(0) };

/** UTF-8 to text; malformed-request where it is none. A byte order mark stays, and so is refused as a name. */
export function text(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new SaslError('malformed-request', 'not UTF-8');
  return bytes.toString('utf8');
}

/**
 * The address of the account that a user name means: a localpart (RFC 6120 §6.3.7), or, as many clients send it, the
 * whole bare address. Throws not-authorized for what cannot be an account of this host.
 */
export function accountOf(name: string, host: string): Jid {
  try {
    const jid = name.includes('@') ? Jid.parse(name) : Jid.of(name, host);
    if (jid.local !== undefined && jid.isBare && jid.domain === host) return jid;
  } catch {
    // Not an address: nobody's name.
  }
  throw new SaslError('not-authorized');
}

/** RFC 6120 §6.3.8, §6.5.6: one may act as oneself. XEP-0388 §4.4: nor as another than the stream header said. */
export function checkAuthzid(authzid: string, account: Jid, context: SaslContext): void {
  if (authzid === '') return;
  const asked = Jid.tryParse(authzid);
  if (!account.equals(asked)) throw new SaslError('invalid-authzid');
  if (context.from !== undefined && !account.sameBare(context.from)) throw new SaslError('invalid-authzid');
}
