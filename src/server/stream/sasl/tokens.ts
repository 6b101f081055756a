/**
 * XEP-0484: the tokens of an account's devices. Each device has two slots (§5.1): a new token waits in `next` until
 * the device has used it, the one before it stays good in `current` until then.
 *
 * What is stored follows from the mechanism. HT-*-NONE proves HMAC(token, "Initiator"), the same at every login, so
 * its digest and the answer are kept, and who reads the store cannot log in. The bound mechanisms put data of the
 * connection under the HMAC, for which the token itself is needed: it is 256 random bits, good for one device, one
 * mechanism and a few weeks, and ends with the password.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { MapStore } from '../../../storage/contract.js';
import { Serial } from '../../serial.js';
import { digest, hmac } from './keys.js';

interface Slot {
  readonly mechanism: string;
  /** The account's epoch at issue: under another, the password was changed since. */
  readonly epoch: string;
  readonly issued: number;
  readonly expires: number;
  /** The highest count that was seen (§3.4). */
  readonly count: number;
  readonly token?: string;
  /** Of an unbound token: the digest of what the client will prove, and what it will be answered; base64. */
  readonly proof?: string;
  readonly answer?: string;
}

/** A device, as it is stored under its client id. */
export interface DeviceTokens {
  readonly v: 1;
  /** What the device said of itself, for lists. */
  readonly label?: string;
  readonly current?: Slot;
  readonly next?: Slot;
}

export interface Device {
  readonly clientId: string;
  readonly label: string | undefined;
  /** ms: when its latest token was issued, and when that expires. */
  readonly issued: number;
  readonly expires: number;
}

export interface TokenOptions {
  /** How long a token is good, in ms. */
  readonly lifetime: number;
  /** The age at which a token that is used is replaced, in ms. */
  readonly rotateAfter: number;
  /** Most devices of one account; the one whose token expires first makes room. */
  readonly maxDevices: number;
  readonly now: () => number;
}

export interface TokenProof {
  readonly clientId: string;
  readonly mechanism: string;
  /** The epoch of the account; undefined: there is none, and the proof fails after the same work. */
  readonly epoch: string | undefined;
  /** What the client sent: HMAC(token, "Initiator" || binding). */
  readonly hash: Buffer;
  /** Channel binding data; undefined for an unbound mechanism. */
  readonly binding: Buffer | undefined;
  readonly count: number | undefined;
  readonly invalidate: boolean;
}

export type TokenVerdict =
  | { readonly outcome: 'good'; readonly answer: Buffer; readonly due: boolean }
  | { readonly outcome: 'wrong' }
  | { readonly outcome: 'expired' };

/** Longest client id that is taken, in UTF-16 units; XEP-0388 has a UUID there. */
export const clientIdLimit = 64;
const labelLimit = 128;

const none = Buffer.alloc(0);

const isBound = (mechanism: string): boolean => !mechanism.endsWith('-NONE');

const answerTo = (token: string, binding: Buffer): Buffer =>
  hmac('SHA-256', Buffer.from(token), Buffer.concat([Buffer.from('Responder'), binding]));
const proofOf = (token: string, binding: Buffer): Buffer =>
  hmac('SHA-256', Buffer.from(token), Buffer.concat([Buffer.from('Initiator'), binding]));

export class Tokens {
  readonly #serial = new Serial();
  /** Compared in place of a token that is not there. */
  readonly #decoys = {
    bound: { token: randomBytes(32).toString('base64url') },
    unbound: { proof: randomBytes(32).toString('base64') },
  };

  constructor(
    private readonly store: MapStore<DeviceTokens>,
    private readonly options: TokenOptions,
  ) {}

  /**
   * A new token for the device, which replaces an earlier one that was not used yet (§3.5). Stored when it resolves.
   * `token` is the secret text, `expires` in ms.
   */
  issue(
    bare: string,
    what: {
      readonly clientId: string;
      readonly mechanism: string;
      readonly epoch: string;
      readonly label?: string | undefined;
    },
  ): Promise<{ token: string; expires: number }> {
    return this.#serial.run(bare, async () => {
      const { clientId, mechanism, epoch } = what;
      const issued = this.options.now();
      const expires = issued + this.options.lifetime;
      const token = randomBytes(32).toString('base64url');
      const secret = isBound(mechanism)
        ? { token }
        : {
            proof: digest('SHA-256', proofOf(token, none)).toString('base64'),
            answer: answerTo(token, none).toString('base64'),
          };
      const before = await this.store.get(bare, clientId);
      if (before === undefined) await this.#makeRoom(bare);
      const label = what.label?.slice(0, labelLimit) ?? before?.label;
      const device: DeviceTokens = {
        v: 1,
        ...(label !== undefined && { label }),
        ...(before?.current !== undefined && { current: before.current }),
        next: { mechanism, epoch, issued, expires, count: 0, ...secret },
      };
      await this.store.set(bare, [[clientId, device]]);
      return { token, expires };
    });
  }

  async #makeRoom(bare: string): Promise<void> {
    if ((await this.store.count(bare)) < this.options.maxDevices) return;
    const devices = [...(await this.store.all(bare))].sort(([, a], [, b]) => latest(a).expires - latest(b).expires);
    const surplus = devices.slice(0, devices.length - this.options.maxDevices + 1);
    await this.store.delete(
      bare,
      surplus.map(([clientId]) => clientId),
    );
  }

  /** Whether the device has the token. What that changes (§3.4-3.6, §5.1) is stored when it resolves. */
  async verify(bare: string, proof: TokenProof): Promise<TokenVerdict> {
    const held = await this.#heldSlot(bare, proof);
    if (held === undefined) return { outcome: 'wrong' };
    // Only who has a token waits in line, and is looked at again there: strangers keep nobody from logging in.
    return this.#serial.run(bare, () => this.#use(bare, proof));
  }

  async #use(bare: string, proof: TokenProof): Promise<TokenVerdict> {
    const held = await this.#heldSlot(bare, proof);
    if (held === undefined) return { outcome: 'wrong' };
    const { device, slot, isNext } = held;
    const now = this.options.now();
    if (slot.expires <= now) return { outcome: 'expired' };
    // §3.4: what was sent before is not taken twice.
    if (proof.count !== undefined && proof.count <= slot.count) return { outcome: 'wrong' };

    if (proof.invalidate) {
      await this.store.delete(bare, [proof.clientId]);
    } else if (isNext || proof.count !== undefined) {
      const { next, ...rest } = device;
      const current = { ...slot, count: proof.count ?? slot.count };
      // A token in waiting stays good when the one before it was used: perhaps it never arrived (§3.5).
      const used: DeviceTokens = { ...rest, current, ...(!isNext && next !== undefined && { next }) };
      await this.store.set(bare, [[proof.clientId, used]]);
    }
    return {
      outcome: 'good',
      answer:
        slot.answer === undefined
          ? answerTo(slot.token ?? '', proof.binding ?? none)
          : Buffer.from(slot.answer, 'base64'),
      due: !proof.invalidate && now - slot.issued >= this.options.rotateAfter,
    };
  }

  async #heldSlot(
    bare: string,
    proof: TokenProof,
  ): Promise<{ device: DeviceTokens; slot: Slot; isNext: boolean } | undefined> {
    const device = await this.store.get(bare, proof.clientId);
    // Both slots are always compared, present or not: the work is the same for all accounts and devices.
    const isNext = this.#matches(device?.next, proof);
    const isCurrent = this.#matches(device?.current, proof);
    const slot = isNext ? device?.next : isCurrent ? device?.current : undefined;
    return device === undefined || slot === undefined ? undefined : { device, slot, isNext };
  }

  #matches(slot: Slot | undefined, proof: TokenProof): boolean {
    const usable = slot !== undefined && slot.mechanism === proof.mechanism && slot.epoch === proof.epoch;
    const decoy = isBound(proof.mechanism) ? this.#decoys.bound : this.#decoys.unbound;
    const { token, proof: stored }: Pick<Slot, 'token' | 'proof'> = usable ? slot : decoy;
    const expected =
      token === undefined
        ? Buffer.from(stored ?? '', 'base64')
        : digest('SHA-256', proofOf(token, proof.binding ?? none));
    // Digests of both sides: equal lengths, and nothing to learn from where they differ.
    return timingSafeEqual(expected, digest('SHA-256', proof.hash)) && usable;
  }

  /** The devices that can log in by a token, by client id. */
  async devices(bare: string): Promise<Device[]> {
    const now = this.options.now();
    return [...(await this.store.all(bare))]
      .map(([clientId, device]) => {
        const { issued, expires } = latest(device);
        return { clientId, label: device.label, issued, expires };
      })
      .filter(({ expires }) => expires > now);
  }

  /** Takes a device's tokens from it; whether it had any. */
  revoke(bare: string, clientId: string): Promise<boolean> {
    return this.#serial.run(bare, async () => (await this.store.delete(bare, [clientId])) > 0);
  }

  /** Takes all devices' tokens from them. */
  revokeAll(bare: string): Promise<void> {
    return this.#serial.run(bare, () => this.store.forget(bare));
  }
}

/** The slot whose token expires last. */
function latest(device: DeviceTokens): { readonly issued: number; readonly expires: number } {
  return device.next ?? device.current ?? { issued: 0, expires: 0 };
}
