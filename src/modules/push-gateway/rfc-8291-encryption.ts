/** RFC 8291: Message Encryption for Web Push: one record of RFC 8188 that only the device can read. */
import { createCipheriv, createECDH, hkdfSync, randomBytes } from 'node:crypto';

export interface DeviceKeys {
  /** The device's public key: an uncompressed point on P-256, base64url. */
  readonly p256dh: string;
  /** 16 bytes, base64url. */
  readonly auth: string;
}

/** What is new for each message. */
export interface Fresh {
  readonly privateKey: Buffer;
  readonly salt: Buffer;
}

const curve = 'prime256v1';
const pointLength = 65;
const authLength = 16;
const tagLength = 16;
const headerLength = 16 + 4 + 1 + pointLength;
/** RFC 8030 §7.2: every service takes messages of this size. */
const longestMessage = 4096;
/** Bytes of a text that fit, with the delimiter of the padding. */
export const longestText = longestMessage - headerLength - tagLength - 1;
/** Texts are padded to a multiple of this, so that their length tells less. */
const block = 128;

/** Returns undefined if the keys cannot be used. */
export function validKeys(p256dh: string, auth: string): DeviceKeys | undefined {
  const point = Buffer.from(p256dh, 'base64url');
  const secret = Buffer.from(auth, 'base64url');
  if (point.length !== pointLength || point[0] !== 4 || secret.length !== authLength) return undefined;
  try {
    const ecdh = createECDH(curve);
    ecdh.generateKeys();
    ecdh.computeSecret(point); // throws unless it is a point of the curve
  } catch {
    return undefined;
  }
  return { p256dh: point.toString('base64url'), auth: secret.toString('base64url') };
}

/** Throws RangeError if the text is too long. `fresh` is given by tests only, and then nothing is padded. */
export function encrypt(text: string, { p256dh, auth }: DeviceKeys, fresh?: Fresh): Buffer {
  const device = Buffer.from(p256dh, 'base64url');
  const ecdh = createECDH(curve);
  if (fresh === undefined) ecdh.generateKeys();
  else ecdh.setPrivateKey(fresh.privateKey);
  const own = ecdh.getPublicKey();
  const salt = fresh?.salt ?? randomBytes(16);

  // §3.4
  const info = Buffer.concat([Buffer.from('WebPush: info\0'), device, own]);
  const key = derive(ecdh.computeSecret(device), Buffer.from(auth, 'base64url'), info, 32);
  // RFC 8188 §2.2, §2.3
  const contentKey = derive(key, salt, Buffer.from('Content-Encoding: aes128gcm\0'), 16);
  const nonce = derive(key, salt, Buffer.from('Content-Encoding: nonce\0'), 12);

  const content = Buffer.from(text);
  if (content.length > longestText) throw new RangeError(`at most ${longestText} bytes can be encrypted`);
  const padded =
    fresh === undefined ? Math.min(longestText, Math.ceil(content.length / block) * block) : content.length;
  const cipher = createCipheriv('aes-128-gcm', contentKey, nonce);
  // RFC 8188 §2: 2 ends the last record.
  const record = [content, Buffer.from([2]), Buffer.alloc(padded - content.length)];
  const size = Buffer.alloc(4);
  size.writeUInt32BE(longestMessage);
  return Buffer.concat([
    salt,
    size,
    Buffer.from([own.length]),
    own,
    ...record.map((part) => cipher.update(part)),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
}

const derive = (key: Buffer, salt: Buffer, info: Buffer, length: number): Buffer =>
  Buffer.from(hkdfSync('sha256', key, salt, info, length));
