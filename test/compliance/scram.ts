/** The client's side of SCRAM (RFC 5802, RFC 7677), message by message, written from the RFCs. */
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';

export type Hash = 'SHA-1' | 'SHA-256' | 'SHA-512';

const digests = { 'SHA-1': 'sha1', 'SHA-256': 'sha256', 'SHA-512': 'sha512' } as const;
export const hashBytes = { 'SHA-1': 20, 'SHA-256': 32, 'SHA-512': 64 } as const;

const salted = new Map<string, Buffer>();

/** Remembered: many accounts of the tests have one password and one salt. */
export function saltPassword(hash: Hash, password: string, salt: Buffer, iterations: number): Buffer {
  const key = `${hash} ${password} ${salt.toString('base64')} ${iterations}`;
  let found = salted.get(key);
  if (found === undefined) {
    found = pbkdf2Sync(password, salt, iterations, hashBytes[hash], digests[hash]);
    salted.set(key, found);
  }
  return found;
}

export const mac = (hash: Hash, key: Buffer, message: string): Buffer =>
  createHmac(digests[hash], key).update(message).digest();
export const digest = (hash: Hash, message: Buffer): Buffer => createHash(digests[hash]).update(message).digest();

export interface ScramOptions {
  readonly hash: Hash;
  readonly user: string;
  readonly password: string;
  /** 'n,,', 'y,,' or 'p=tls-exporter,,' with an authorization identity in it where one is wanted. */
  readonly header?: string;
  /** The data of the channel binding, for 'p='. */
  readonly binding?: Buffer | undefined;
}

/** One exchange. `first()`, then `final(challenge)`, then `verify(success)`. */
export class Scram {
  readonly #options: ScramOptions;
  readonly #bare: string;
  readonly #header: string;
  #signature = '';
  /** The attributes of the server's first message. */
  challenge: Readonly<Record<string, string>> = {};

  constructor(options: ScramOptions) {
    this.#options = options;
    this.#header = options.header ?? 'n,,';
    const user = options.user.replaceAll('=', '=3D').replaceAll(',', '=2C');
    this.#bare = `n=${user},r=${randomBytes(18).toString('base64')}`;
  }

  first(): string {
    return this.#header + this.#bare;
  }

  final(serverFirst: string): string {
    const { hash, password, binding } = this.#options;
    this.challenge = Object.fromEntries(serverFirst.split(',').map((part) => [part[0], part.slice(2)]));
    const { r = '', s = '', i = '0' } = this.challenge;
    const key = saltPassword(hash, password, Buffer.from(s, 'base64'), Number(i));
    const clientKey = mac(hash, key, 'Client Key');
    const c = Buffer.concat([Buffer.from(this.#header), binding ?? Buffer.alloc(0)]).toString('base64');
    const withoutProof = `c=${c},r=${r}`;
    const authMessage = `${this.#bare},${serverFirst},${withoutProof}`;
    const signature = mac(hash, digest(hash, clientKey), authMessage);
    const proof = Buffer.from(clientKey.map((byte, at) => byte ^ signature[at]!));
    this.#signature = `v=${mac(hash, mac(hash, key, 'Server Key'), authMessage).toString('base64')}`;
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** Whether the server proved that it knows the keys (RFC 5802 §3). */
  verify(serverFinal: string): boolean {
    const [ours, theirs] = [Buffer.from(this.#signature), Buffer.from(serverFinal)];
    return ours.length === theirs.length && timingSafeEqual(ours, theirs);
  }
}
