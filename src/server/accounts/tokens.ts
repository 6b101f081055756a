/**
 * XEP-0484: the tokens of an account's devices. Each device has two slots (§5.1): a new token waits in `next` until
 * the device has used it, the one before it stays good in `current` until then.
 *
 * What is stored follows from the mechanism. HT-*-NONE proves HMAC(token, "Initiator"), the same at every login, so
 * its digest and the answer are kept, and who reads the store cannot log in. The bound mechanisms put data of the
 * connection under the HMAC, for which the token itself is needed: it is 256 random bits, good for one device, one
 * mechanism and a few weeks, and ends with the password.
 *
 * A token that is not trusted any more (replaced, given back, revoked, of an earlier password) is kept as spent, so that
 * the device that still has it is told to log in by other means (§4.2), and nobody else is.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import type { MapStore } from '../../storage/contract.js';
import { Serial } from '../serial.js';
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
  /** The latest tokens that are not trusted any more, the newest first. */
  readonly spent?: readonly Slot[];
}

/** Spent tokens that are kept for a device. */
const mostSpent = 2;

const slot = z.object({
  mechanism: z.string(),
  epoch: z.string(),
  issued: z.number(),
  expires: z.number(),
  count: z.number(),
  token: z.string().exactOptional(),
  proof: z.string().exactOptional(),
  answer: z.string().exactOptional(),
});

/** The record as it is checked when it is read: a damaged one is no token, and its device logs in by password. */
export const deviceTokens: z.ZodType<DeviceTokens> = z.object({
  v: z.literal(1),
  label: z.string().exactOptional(),
  current: slot.exactOptional(),
  next: slot.exactOptional(),
  spent: z.array(slot).exactOptional(),
});

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
        ...spent(before, before?.next),
      };
      await this.store.set(bare, [[clientId, device]]);
      return { token, expires };
    });
  }

  async #makeRoom(bare: string): Promise<void> {
    if ((await this.store.count(bare)) < this.options.maxDevices) return;
    const devices = [...(await this.store.all(bare))].sort(([, a], [, b]) => latest(a).expires - latest(b).expires);
    const surplus = devices.slice(0, Math.max(0, devices.length - this.options.maxDevices + 1));
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
    if (held.isSpent || slot.epoch !== proof.epoch || slot.expires <= now) return { outcome: 'expired' };
    // §3.4: what was sent before is not taken twice.
    if (proof.count !== undefined && proof.count <= slot.count) return { outcome: 'wrong' };

    if (proof.invalidate) {
      await this.store.set(bare, [[proof.clientId, retired(device)]]);
    } else if (isNext || proof.count !== undefined) {
      const { next, spent: _, ...rest } = device;
      const current = { ...slot, count: proof.count ?? slot.count };
      // A token in waiting stays good when the one before it was used: perhaps it never arrived (§3.5).
      const used: DeviceTokens = {
        ...rest,
        current,
        ...(!isNext && next !== undefined && { next }),
        ...spent(device, isNext ? device.current : undefined),
      };
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
  ): Promise<{ device: DeviceTokens; slot: Slot; isNext: boolean; isSpent: boolean } | undefined> {
    const device = await this.store.get(bare, proof.clientId);
    // All slots are always compared, present or not: the work is the same for all accounts and devices.
    const slots = [device?.next, device?.current, ...Array.from({ length: mostSpent }, (_, at) => device?.spent?.[at])];
    const at = slots.map((slot) => this.#matches(slot, proof)).indexOf(true);
    const slot = slots[at];
    return device === undefined || slot === undefined ? undefined : { device, slot, isNext: at === 0, isSpent: at > 1 };
  }

  #matches(slot: Slot | undefined, proof: TokenProof): boolean {
    const usable = slot !== undefined && slot.mechanism === proof.mechanism;
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

  /** Ends a device's tokens; whether it had any. */
  revoke(bare: string, clientId: string): Promise<boolean> {
    return this.#serial.run(bare, async () => {
      const device = await this.store.get(bare, clientId);
      if (device === undefined || !isLive(device)) return false;
      await this.store.set(bare, [[clientId, retired(device)]]);
      return true;
    });
  }

  /** Ends all devices' tokens. */
  revokeAll(bare: string): Promise<void> {
    return this.#serial.run(bare, async () => {
      const live = [...(await this.store.all(bare))].filter(([, device]) => isLive(device));
      await this.store.set(
        bare,
        live.map(([clientId, device]) => [clientId, retired(device)]),
      );
    });
  }

  /** The account is gone: nothing of its tokens stays. */
  forget(bare: string): Promise<void> {
    return this.#serial.run(bare, () => this.store.forget(bare));
  }
}

const isLive = ({ current, next }: DeviceTokens): boolean => (next ?? current) !== undefined;

/** The spent tokens of a device, to which some are added. */
function spent(device: DeviceTokens | undefined, ...added: (Slot | undefined)[]): Pick<DeviceTokens, 'spent'> {
  const slots = [...added, ...(device?.spent ?? [])].filter((slot) => slot !== undefined).slice(0, mostSpent);
  return slots.length === 0 ? {} : { spent: slots };
}

/** The device without a token that is trusted. */
function retired({ current, next, ...rest }: DeviceTokens): DeviceTokens {
  return { ...rest, ...spent(rest, next, current) };
}

/** The slot whose token expires last. */
function latest(device: DeviceTokens): { readonly issued: number; readonly expires: number } {
  return device.next ?? device.current ?? { issued: 0, expires: 0 };
}
