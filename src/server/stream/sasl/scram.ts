/**
 * SCRAM (RFC 5802, RFC 7677) with SHA-1, SHA-256 and SHA-512, with and without channel binding, and with the downgrade
 * protection of XEP-0474. An unknown account gets the same messages, and costs the same work, as a wrong password.
 */
import { timingSafeEqual } from 'node:crypto';
import type { Credentials } from '../../accounts/index.js';
import { digest, hmac, type ScramHash } from '../../accounts/keys.js';
import type { Jid } from '../../address/jid.js';
import { randomId } from '../../stanza/ids.js';
import {
  accountOf,
  askForFirst,
  type ChannelBindingType,
  checkAuthzid,
  type Exchange,
  type Mechanism,
  type SaslContext,
  SaslError,
  type SaslStep,
  text,
} from './mechanism.js';

export function scram(hash: ScramHash, options: { readonly plus: boolean }): Mechanism {
  const { plus } = options;
  const name = plus ? `SCRAM-${hash}-PLUS` : `SCRAM-${hash}`;
  return {
    name,
    start: (context): Exchange => {
      let begun: Begun | undefined;
      return {
        step: (message) => {
          if (begun !== undefined) return finish(name, hash, context, begun, message ?? Buffer.alloc(0));
          if (message === undefined) return askForFirst;
          return begin(hash, plus, context, message).then((next) => {
            begun = next;
            return { challenge: Buffer.from(next.serverFirst) };
          });
        },
      };
    },
  };
}

/** State between the first and the second step. */
interface Begun {
  readonly account: Jid;
  readonly keys: Credentials;
  readonly nonce: string;
  /** The expected value of `c=`. */
  readonly binding: string;
  readonly channelBound: boolean;
  readonly clientFirstBare: string;
  readonly serverFirst: string;
}

const malformed = (why: string): SaslError => new SaslError('malformed-request', why);

// RFC 5802 §7. Real messages are far shorter: names have at most 1023 bytes.
const longestMessage = 8192;
const gs2Header = /^(?:p=([A-Za-z0-9.-]+)|([ny])),(?:a=([^,]+))?,/;
const nonceSyntax = /^r=[\x21-\x2b\x2d-\x7e]+$/;
const attribute = /^[A-Za-z]=./s;

async function begin(hash: ScramHash, plus: boolean, context: SaslContext, message: Buffer): Promise<Begun> {
  const first = read(message);
  const header = gs2Header.exec(first);
  if (header === null) throw malformed('missing GS2 header');
  const [gs2, type, flag, authzid] = header;
  const clientFirstBare = first.slice(gs2.length);
  const [name = '', clientNonce = '', ...extensions] = clientFirstBare.split(',');
  if (name.startsWith('m=')) throw malformed('unknown mandatory extension'); // §5.1
  if (!name.startsWith('n=') || !nonceSyntax.test(clientNonce)) throw malformed('missing user name or nonce');
  checkExtensions(extensions);

  const bound = bindingData(plus, context, type, flag);
  const account = accountOf(saslName(name.slice(2)), context.host);
  if (authzid !== undefined) checkAuthzid(saslName(authzid), account, context);
  context.admit?.(account.bare);

  const keys = await context.accounts.credentials(account.bare, hash);
  const nonce = `${clientNonce.slice(2)}${randomId(18)}`;
  return {
    account,
    keys,
    nonce,
    binding: Buffer.concat([Buffer.from(gs2), ...(bound === undefined ? [] : [bound])]).toString('base64'),
    channelBound: bound !== undefined,
    clientFirstBare,
    serverFirst: `r=${nonce},s=${keys.salt.toString('base64')},i=${keys.iterations},h=${offerHash(hash, context)}`,
  };
}

/** §6: the channel binding data, if the client binds. Throws SaslError if its flag contradicts the offer. */
function bindingData(
  plus: boolean,
  context: SaslContext,
  type: string | undefined,
  flag: string | undefined,
): Buffer | undefined {
  if ((type !== undefined) !== plus) throw malformed('channel binding does not match the mechanism');
  if (type !== undefined) {
    const data = context.channelBindingTypes.includes(type)
      ? context.channelBinding(type as ChannelBindingType)
      : undefined;
    if (data === undefined) throw new SaslError('not-authorized', 'channel binding type not available');
    return data;
  }
  // The client supports binding but saw no -PLUS mechanism: an attacker removed them from our offer.
  if (flag === 'y' && context.mechanisms.some((mechanism) => mechanism.endsWith('-PLUS'))) {
    throw new SaslError('not-authorized', 'channel binding was offered');
  }
  return undefined;
}

async function finish(
  mechanism: string,
  hash: ScramHash,
  context: SaslContext,
  begun: Begun,
  message: Buffer,
): Promise<SaslStep> {
  const { account, keys } = begun;
  const final = read(message);
  const proofAt = final.lastIndexOf(',p=');
  if (proofAt < 0) throw malformed('missing proof');
  const withoutProof = final.slice(0, proofAt);
  const [binding = '', nonce = '', ...extensions] = withoutProof.split(',');
  if (!binding.startsWith('c=') || !nonce.startsWith('r=')) throw malformed('missing channel binding or nonce');
  checkExtensions(extensions);
  const proof = strictBase64(final.slice(proofAt + 3));

  // §5.1: both are compared in full. Neither is secret at this point.
  if (binding.slice(2) !== begun.binding || nonce.slice(2) !== begun.nonce) throw new SaslError('not-authorized');
  const authMessage = `${begun.clientFirstBare},${begun.serverFirst},${withoutProof}`;
  const signature = hmac(hash, keys.storedKey, authMessage);
  if (proof.length !== signature.length) throw new SaslError('not-authorized');
  for (let at = 0; at < signature.length; at++) signature[at]! ^= proof[at]!; // signature is now ClientKey (§3)
  const right = timingSafeEqual(digest(hash, signature), keys.storedKey);
  // Read again: the account may have been deleted, or its password changed, since the first message.
  const now = await context.accounts.get(account.bare);
  if (!right || keys.account === undefined || now?.epoch !== keys.account.epoch) throw new SaslError('not-authorized');
  if (now.disabled) throw new SaslError('account-disabled');

  return {
    success: {
      jid: account,
      local: account.local ?? '',
      mechanism,
      channelBound: begun.channelBound,
      anonymous: false,
      epoch: now.epoch,
      byPassword: true,
    },
    data: Buffer.from(`v=${hmac(hash, keys.serverKey, authMessage).toString('base64')}`),
  };
}

function read(message: Buffer): string {
  if (message.length > longestMessage) throw malformed('message too long');
  const line = text(message);
  if (line.includes('\0')) throw malformed('message contains NUL');
  return line;
}

/** §5.1: well-formed optional extensions are ignored; `m` is mandatory wherever it occurs. */
function checkExtensions(extensions: readonly string[]): void {
  for (const extension of extensions) {
    if (!attribute.test(extension) || extension.startsWith('m='))
      throw malformed('invalid or unknown mandatory extension');
  }
}

/** §5.1: "=2C" is a comma, "=3D" an equals sign; no other equals sign is allowed. */
function saslName(escaped: string): string {
  if (escaped === '' || /=(?!2C|3D)/.test(escaped)) throw malformed('invalid user name');
  return escaped.replaceAll('=2C', ',').replaceAll('=3D', '=');
}

/** Decodes base64; throws SaslError if it is invalid or not canonical. */
function strictBase64(encoded: string): Buffer {
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64') !== encoded) throw malformed('invalid base64');
  return bytes;
}

/** XEP-0474 §6.1: a hash of the offer, so that the client detects tampering. */
function offerHash(hash: ScramHash, context: SaslContext): string {
  const list = (names: readonly string[]): string => [...names].sort().join('\x1e');
  const types = context.channelBindingTypes;
  const offer = types.length === 0 ? list(context.mechanisms) : `${list(context.mechanisms)}\x1f${list(types)}`;
  return digest(hash, offer).toString('base64');
}
