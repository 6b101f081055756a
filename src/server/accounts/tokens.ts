/**
 * XEP-0484: tokens of an account's devices. Each device has two slots (§5.1): a new token is stored in `next` until the
 * device has used it; the previous one stays valid in `current` until then.
 *
 * What is stored depends on the mechanism. HT-*-NONE proves HMAC(token, "Initiator"), the same at every login, so only
 * its digest and the answer are stored: a reader of the store cannot log in. The bound mechanisms include connection
 * data in the HMAC and need the token itself: 256 random bits, valid for one device, one mechanism and a few weeks, and
 * revoked when the password changes.
 *
 * An invalid token (replaced, invalidated, revoked, of an earlier password) is kept as spent, so that only the device
 * that still holds it gets an error, and has to log in another way (§4.2).
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import type { MapStore } from '../../storage/contract.js';
import { Serial } from '../serial.js';
import type { UserAgent } from '../stanza/user-agent.js';
import { digest, hmac } from './keys.js';

interface Slot {
  readonly mechanism: string;
  /** Epoch of the account at issue. A different one means the password has changed. */
  readonly epoch: string;
  readonly issued: number;
  readonly expires: number;
  /** Highest count seen (§3.4). */
  readonly count: number;
  readonly token?: string;
  /** For an unbound token, base64: the digest of the client's proof, and the answer to it. */
  readonly proof?: string;
  readonly answer?: string;
}

/** A device, stored under its client id. */
export interface DeviceTokens {
  readonly v: 1;
  /** How it describes itself (XEP-0388). */
  readonly software?: string;
  readonly device?: string;
  /** Earlier versions stored this instead: software and device. */
  readonly label?: string;
  /** The SASL mechanism by which it last logged in without a token. */
  readonly login?: string;
  /** Its first token, and about when one was last used, in ms since 1970. */
  readonly since?: number;
  readonly seen?: number;
  readonly current?: Slot;
  readonly next?: Slot;
  /** The latest invalid tokens, newest first. */
  readonly spent?: readonly Slot[];
}

/** Maximum spent tokens stored per device. */
const maxSpent = 2;
/** How exact `seen` is, in ms. */
const seenWithin = 3_600_000;

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

/** Schema of the record. A damaged one is no token: the device has to log in by password. */
export const deviceTokens: z.ZodType<DeviceTokens> = z.object({
  v: z.literal(1),
  software: z.string().exactOptional(),
  device: z.string().exactOptional(),
  label: z.string().exactOptional(),
  login: z.string().exactOptional(),
  since: z.number().exactOptional(),
  seen: z.number().exactOptional(),
  current: slot.exactOptional(),
  next: slot.exactOptional(),
  spent: z.array(slot).exactOptional(),
});

export interface Device extends UserAgent {
  readonly clientId: string;
  /** The SASL mechanism by which it last logged in without a token; undefined if that is not known. */
  readonly login: string | undefined;
  /** First token, and last use within an hour, in ms since 1970. */
  readonly since: number;
  readonly seen: number;
  /** Issue and expiry of the latest token, in ms. */
  readonly issued: number;
  readonly expires: number;
}

export interface TokenOptions {
  /** Lifetime of a token, in ms. */
  readonly lifetime: number;
  /** Age in ms after which a token is replaced when used. */
  readonly rotateAfter: number;
  /** Maximum devices per account. A new device evicts the one whose token expires first. */
  readonly maxDevices: number;
  readonly now: () => number;
}

export interface TokenProof {
  readonly clientId: string;
  readonly mechanism: string;
  /** Epoch of the account. If undefined there is none, and the proof fails after the same work. */
  readonly epoch: string | undefined;
  /** The client's proof: HMAC(token, "Initiator" || binding). */
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

/** Maximum length of a client id, in UTF-16 units; XEP-0388 uses a UUID. */
export const clientIdLimit = 64;

const none = Buffer.alloc(0);

const isBound = (mechanism: string): boolean => !mechanism.endsWith('-NONE');

const answerTo = (token: string, binding: Buffer): Buffer =>
  hmac('SHA-256', Buffer.from(token), Buffer.concat([Buffer.from('Responder'), binding]));
const proofOf = (token: string, binding: Buffer): Buffer =>
  hmac('SHA-256', Buffer.from(token), Buffer.concat([Buffer.from('Initiator'), binding]));

export class Tokens {
  readonly #serial = new Serial();
  /** Compared in place of a missing token. */
  readonly #decoys = {
    bound: { token: randomBytes(32).toString('base64url') },
    unbound: { proof: randomBytes(32).toString('base64') },
  };

  constructor(
    private readonly store: MapStore<DeviceTokens>,
    private readonly options: TokenOptions,
  ) {}

  /**
   * Issues a token for the device, replacing an earlier one that was not used yet (§3.5). Resolves once it is stored.
   * `token` is the secret text, `expires` in ms.
   */
  issue(
    bare: string,
    what: {
      readonly clientId: string;
      readonly mechanism: string;
      readonly epoch: string;
      /** The SASL mechanism of the login. */
      readonly login: string;
      readonly agent?: Omit<UserAgent, 'clientId'>;
    },
  ): Promise<{ token: string; expires: number }> {
    return this.#serial.run(bare, async () => {
      const { clientId, mechanism, epoch, agent = {} } = what;
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
      const { software = before?.software ?? before?.label, device: name = before?.device } = agent;
      const login = isToken(what.login) ? before?.login : what.login;
      const device: DeviceTokens = {
        v: 1,
        ...(software !== undefined && { software }),
        ...(name !== undefined && { device: name }),
        ...(login !== undefined && { login }),
        since: before === undefined ? issued : sinceOf(before),
        seen: issued,
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

  /** Checks the device's token. Resolves once the resulting changes (§3.4-3.6, §5.1) are stored. */
  async verify(bare: string, proof: TokenProof): Promise<TokenVerdict> {
    const found = await this.#findSlot(bare, proof);
    if (found === undefined) return { outcome: 'wrong' };
    // Only the holder of a token takes the lock, and is checked again under it: others cannot delay a login.
    return this.#serial.run(bare, () => this.#use(bare, proof));
  }

  async #use(bare: string, proof: TokenProof): Promise<TokenVerdict> {
    const found = await this.#findSlot(bare, proof);
    if (found === undefined) return { outcome: 'wrong' };
    const { device, slot, isNext } = found;
    const now = this.options.now();
    if (found.isSpent || slot.epoch !== proof.epoch || slot.expires <= now) return { outcome: 'expired' };
    // §3.4: refuses a replayed proof.
    if (proof.count !== undefined && proof.count <= slot.count) return { outcome: 'wrong' };

    if (proof.invalidate) {
      await this.store.set(bare, [[proof.clientId, retired(device)]]);
    } else if (isNext || proof.count !== undefined || now - (device.seen ?? 0) >= seenWithin) {
      const { next, spent: _, ...rest } = device;
      const current = { ...slot, count: proof.count ?? slot.count };
      // An unused new token stays valid if the previous one was used: it may never have arrived (§3.5).
      const used: DeviceTokens = {
        ...rest,
        seen: now,
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

  async #findSlot(
    bare: string,
    proof: TokenProof,
  ): Promise<{ device: DeviceTokens; slot: Slot; isNext: boolean; isSpent: boolean } | undefined> {
    const device = await this.store.get(bare, proof.clientId);
    // Always compares all slots, present or not: the work is the same for all accounts and devices.
    const slots = [device?.next, device?.current, ...Array.from({ length: maxSpent }, (_, at) => device?.spent?.[at])];
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
    // Digests on both sides have equal lengths, so timing reveals nothing.
    return timingSafeEqual(expected, digest('SHA-256', proof.hash)) && usable;
  }

  /** Returns the devices that can log in by token, by client id. */
  async devices(bare: string): Promise<Device[]> {
    const now = this.options.now();
    return [...(await this.store.all(bare))]
      .map(([clientId, device]) => {
        const { issued, expires } = latest(device);
        const { software = device.label, device: name, login, seen = issued } = device;
        return { clientId, software, device: name, login, since: sinceOf(device), seen, issued, expires };
      })
      .filter(({ expires }) => expires > now);
  }

  /** Revokes a device's tokens. Returns whether it had any. */
  revoke(bare: string, clientId: string): Promise<boolean> {
    return this.#serial.run(bare, async () => {
      const device = await this.store.get(bare, clientId);
      if (device === undefined || !isLive(device)) return false;
      await this.store.set(bare, [[clientId, retired(device)]]);
      return true;
    });
  }

  /** Revokes the tokens of all devices. */
  revokeAll(bare: string): Promise<void> {
    return this.#serial.run(bare, async () => {
      const live = [...(await this.store.all(bare))].filter(([, device]) => isLive(device));
      await this.store.set(
        bare,
        live.map(([clientId, device]) => [clientId, retired(device)]),
      );
    });
  }

  /** Deletes all tokens of a removed account. */
  forget(bare: string): Promise<void> {
    return this.#serial.run(bare, () => this.store.forget(bare));
  }
}

const isLive = ({ current, next }: DeviceTokens): boolean => (next ?? current) !== undefined;

/** Returns the spent tokens of a device with some more added. */
function spent(device: DeviceTokens | undefined, ...added: (Slot | undefined)[]): Pick<DeviceTokens, 'spent'> {
  const slots = [...added, ...(device?.spent ?? [])].filter((slot) => slot !== undefined).slice(0, maxSpent);
  return slots.length === 0 ? {} : { spent: slots };
}

/** Returns the device with all its tokens spent. */
function retired({ current, next, ...rest }: DeviceTokens): DeviceTokens {
  return { ...rest, ...spent(rest, next, current) };
}

const isToken = (mechanism: string): boolean => mechanism.startsWith('HT-');

const sinceOf = (device: DeviceTokens): number => device.since ?? latest(device).issued;

/** Returns the slot whose token expires last. */
function latest(device: DeviceTokens): { readonly issued: number; readonly expires: number } {
  return device.next ?? device.current ?? { issued: 0, expires: 0 };
}
