/**
 * The files of accounts that live on this node: what they may upload, what they have, and what they have been given slots
 * for. Slots and running uploads are known in memory only: after a restart, an upload is checked again when it begins.
 */
import { z } from 'zod';
import type { Jid } from '../../server/address/jid.js';
import { monotonic, wall } from '../../server/clock.js';
import { defineQuestion, type Host, type Memory } from '../../server/module/index.js';
import { Serial } from '../../server/serial.js';
import { StorageError } from '../../storage/contract.js';
import { Recent } from '../../storage/recent.js';
import type { Settings } from './settings.js';
import { type Purpose, type Slot, slotSchema } from './slots.js';
import { deleteFiles, expiryOf, type FileRecord, type FileStores, filesOf, recordOf } from './stored.js';

export const dayMs = 86_400_000;
/** Accounts whose usage is cached. */
const mostCached = 10_000;

/**
 * Why an upload is refused. stored: it has been done. gone: there is no such account. slots: too many of them at a time.
 * files, space: the account has too many. day: it has uploaded enough today.
 */
const refusal = z.object({
  kind: z.enum(['stored', 'gone', 'slots', 'files', 'space', 'day']),
  /** When it may be tried again, in milliseconds since 1970. */
  retry: z.number().exactOptional(),
});
export type Refusal = z.output<typeof refusal>;

/** Asked at the home of the owner. `begins`: the upload begins; otherwise the slot is requested. */
export const claiming = defineQuestion<{ slot: Slot; begins: boolean }, Refusal | null>({
  name: 'upload.claiming',
  given: z.object({ slot: slotSchema, begins: z.boolean() }),
  answer: refusal.nullable(),
});
/** The content of a file is durable. `isFound`: it was there already, from this or another upload. */
export const storing = defineQuestion<{ slot: Slot; isFound: boolean }, Refusal | null>({
  name: 'upload.storing',
  given: z.object({ slot: slotSchema, isFound: z.boolean() }),
  answer: refusal.nullable(),
});
/** An upload has failed: its slot can be used again. */
export const releasing = defineQuestion<Slot, null>({
  name: 'upload.releasing',
  given: slotSchema,
  answer: z.null(),
});
/** Deletes files; null deletes the expired ones. Answers how many there were. */
export const deleting = defineQuestion<{ ids: string[] | null }, number>({
  name: 'upload.deleting',
  given: z.object({ ids: z.array(z.string()).nullable() }),
  answer: z.number(),
});

/** Files that share a quota. */
const bucketName = z.enum(['message', 'profile', 'permanent']);
type Bucket = z.output<typeof bucketName>;
const bucketOf = (purpose: Purpose): Bucket => (purpose === 'ephemeral' ? 'message' : purpose);

interface Usage extends Record<Bucket, number> {
  files: number;
}

/** How long an upload may take between its content and its record, in ms: its node asks once, and waits for the answer. */
const recordMs = 15_000;

interface Claim {
  readonly bucket: Bucket;
  readonly size: number;
  /** `monotonic`. */
  readonly until: number;
}

/** A claim that moves to another node. `ms`: how long it lasts. */
const movedClaim = z.object({ id: z.string(), bucket: bucketName, size: z.number(), ms: z.number() });

export interface Limits extends Record<Bucket, number> {
  /** Maximum size of one file. */
  readonly file: number;
  readonly dayBytes: number;
  readonly dayFiles: number;
}

/** Maximum size of a file for this purpose; 0 if it is not offered. */
export function largestFile(limits: Limits, purpose: Purpose, { profile_file_bytes }: Settings): number {
  const file = purpose === 'profile' ? Math.min(profile_file_bytes, limits.file) : limits.file;
  return Math.floor(Math.min(file, limits[bucketOf(purpose)]));
}

export class AccountFiles {
  readonly #host: Host;
  readonly #config: Settings;
  readonly #stores: FileStores;
  readonly #serial = new Serial();
  /** By owner. */
  readonly #usages = new Recent<Usage>(mostCached);
  /** By owner and id; those that have ended are removed when the owner is next asked about, and by `tidy`. */
  readonly #claims = new Map<string, Map<string, Claim>>();
  /** Uploads that have begun and not ended, by id: how many, until when at most, and who waits for the others. */
  readonly #running = new Map<string, { count: number; until: number; ended: (() => void)[] }>();

  constructor(host: Host, config: Settings, stores: FileStores) {
    this.#host = host;
    this.#config = config;
    this.#stores = stores;
  }

  async limitsOf(owner: Jid): Promise<Limits> {
    const { admins, ...users } = this.#config;
    const { file_bytes, account_bytes, permanent_bytes, day_bytes, day_files } = (await this.#host.isAdmin(owner))
      ? admins
      : users;
    return {
      file: file_bytes,
      message: account_bytes,
      profile: users.profile_bytes,
      permanent: permanent_bytes,
      dayBytes: day_bytes,
      dayFiles: day_files,
    };
  }

  claim(owner: Jid, slot: Slot, begins: boolean): Promise<Refusal | null> {
    return this.#serial.run(owner.bare, async () => {
      if (!(await this.#host.accounts.exists(owner.bare))) return { kind: 'gone' };
      if ((await recordOf(this.#stores.files, owner.bare, slot.id)) !== undefined) return { kind: 'stored' };
      const claims = this.#claimsOf(owner.bare);
      if (!claims.has(slot.id)) {
        const refused = await this.#refuses(owner, slot, claims);
        if (refused !== undefined) return refused;
      }
      const { slot_seconds, upload_seconds } = this.#config;
      const until = monotonic() + (begins ? upload_seconds : slot_seconds) * 1000;
      claims.set(slot.id, { bucket: bucketOf(slot.purpose), size: slot.size, until });
      this.#claims.set(owner.bare, claims);
      if (begins) this.#begun(slot.id, until);
      return null;
    });
  }

  async #refuses(owner: Jid, slot: Slot, claims: ReadonlyMap<string, Claim>): Promise<Refusal | undefined> {
    const { slots_per_account, account_files } = this.#config;
    const now = wall();
    if (claims.size >= slots_per_account) {
      this.#host.limitHit('upload.slots_per_account');
      const first = Math.min(...[...claims.values()].map(({ until }) => until));
      return { kind: 'slots', retry: now + Math.max(0, first - monotonic()) };
    }
    const limits = await this.limitsOf(owner);
    const bucket = bucketOf(slot.purpose);
    let claimed = 0;
    let claimedInBucket = 0;
    for (const claim of claims.values()) {
      claimed += claim.size;
      if (claim.bucket === bucket) claimedInBucket += claim.size;
    }
    const day = await this.#today(owner.bare, now);
    if (day.files + claims.size + 1 > limits.dayFiles || day.bytes + claimed + slot.size > limits.dayBytes) {
      this.#host.limitHit('upload.day');
      return { kind: 'day', retry: (day.day + 1) * dayMs };
    }
    const excess = (usage: Usage) => ({
      files: usage.files + claims.size + 1 - account_files,
      bytes: usage[bucket] + claimedInBucket + slot.size - limits[bucket],
    });
    let over = excess(await this.#usageOf(owner.bare));
    if (over.files <= 0 && over.bytes <= 0) return undefined;
    await this.#deleteExpired(owner.bare, now);
    over = excess(await this.#usageOf(owner.bare));
    if (over.files <= 0 && over.bytes <= 0) return undefined;
    this.#host.limitHit(over.files > 0 ? 'upload.account_files' : `upload.${bucket}_bytes`);
    const retry = await this.#freeAgain(owner.bare, over, bucket);
    return { kind: over.files > 0 ? 'files' : 'space', ...(retry !== undefined && { retry }) };
  }

  /** When enough files will have expired. Resolves with undefined if that does not happen. */
  async #freeAgain(
    owner: string,
    over: { readonly files: number; readonly bytes: number },
    bucket: Bucket,
  ): Promise<number | undefined> {
    const ends: (readonly [expiry: number, size: number])[] = [];
    for await (const entries of filesOf(this.#stores.files, owner))
      for (const [, file] of entries) {
        const expiry = expiryOf(file, this.retention);
        if (expiry !== Number.POSITIVE_INFINITY) ends.push([expiry, bucketOf(file.purpose) === bucket ? file.size : 0]);
      }
    ends.sort(([one], [other]) => one - other);
    let { files, bytes } = over;
    for (const [expiry, size] of ends) {
      files--;
      bytes -= size;
      if (files <= 0 && bytes <= 0) return expiry;
    }
    return undefined;
  }

  #begun(id: string, until: number): void {
    const running = this.#running.get(id) ?? { count: 0, until, ended: [] };
    this.#running.set(id, { ...running, count: running.count + 1, until });
  }

  #ended(id: string): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    running.count--;
    if (running.count > 1) return;
    if (running.count === 0) this.#running.delete(id);
    for (const go of running.ended.splice(0)) go();
  }

  /** Resolves once no other upload of the slot is running that may have written its content. */
  async #whenAlone(id: string): Promise<void> {
    const running = this.#running.get(id);
    if (running === undefined || running.count < 2) return;
    // If its node has stopped, the content is nobody's.
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, recordMs).unref();
      running.ended.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Makes a stored content a file of the account. If it was found, an upload at another node may be about to do so. */
  async store(owner: Jid, slot: Slot, isFound: boolean): Promise<Refusal | null> {
    if (isFound) await this.#whenAlone(slot.id);
    const refused = await this.#record(owner, slot);
    // A failed one is released.
    if (refused === null) this.#ended(slot.id);
    return refused;
  }

  #record(owner: Jid, slot: Slot): Promise<Refusal | null> {
    return this.#serial.run(owner.bare, async () => {
      const { bare } = owner;
      if (!(await this.#host.accounts.exists(bare))) return { kind: 'gone' };
      const { files, owners, days } = this.#stores;
      const { id, name, size, type, purpose, expires } = slot;
      if ((await recordOf(files, bare, id)) !== undefined) return { kind: 'stored' };
      const now = wall();
      const file: FileRecord = {
        name,
        size,
        at: now,
        purpose,
        ...(type !== undefined && { type }),
        ...(expires !== undefined && { expires }),
      };
      const usage = await this.#usageOf(bare);
      const today = await this.#today(bare, now);
      await owners.set(id, { owner: bare });
      try {
        await Promise.all([
          days.set(bare, { day: today.day, bytes: today.bytes + size, files: today.files + 1 }),
          files.set(bare, [[id, file]]),
        ]);
      } catch (error) {
        this.#usages.delete(bare);
        if (error instanceof StorageError && error.failure === 'quota') return { kind: 'space' };
        throw error;
      }
      usage[bucketOf(purpose)] += size;
      usage.files++;
      this.#claims.get(bare)?.delete(id);
      return null;
    });
  }

  /** The slot of a failed upload can be used again until it expires. */
  release({ bare }: Jid, { id, until }: Slot): void {
    this.#ended(id);
    const claims = this.#claims.get(bare);
    const claim = claims?.get(id);
    if (claim === undefined) return;
    claims!.set(id, { ...claim, until: Math.min(claim.until, monotonic() + until - wall()) });
  }

  delete(owner: string, ids: readonly string[] | null): Promise<number> {
    return this.#serial.run(owner, () =>
      ids === null ? this.#deleteExpired(owner, wall()) : this.#delete(owner, ids),
    );
  }

  async #deleteExpired(owner: string, now: number): Promise<number> {
    let deleted = 0;
    for await (const entries of filesOf(this.#stores.files, owner)) {
      const expired = entries.filter(([, file]) => expiryOf(file, this.retention) <= now).map(([id]) => id);
      if (expired.length > 0) deleted += await this.#delete(owner, expired);
    }
    return deleted;
  }

  #delete(owner: string, ids: readonly string[]): Promise<number> {
    this.#usages.delete(owner);
    return deleteFiles(this.#stores, owner, ids);
  }

  /** Deletes all files of an account whose records are about to be deleted. */
  forget(owner: string): Promise<void> {
    return this.#serial.run(owner, async () => {
      this.#claims.delete(owner);
      for await (const entries of filesOf(this.#stores.files, owner))
        await this.#delete(
          owner,
          entries.map(([id]) => id),
        );
    });
  }

  /** These addresses have moved to another node, or from one. */
  moved(concerns: (bare: string) => boolean): void {
    this.#usages.deleteIf(concerns);
    for (const owner of this.#claims.keys()) if (concerns(owner)) this.#claims.delete(owner);
  }

  /** The claims, for the hook `moves`. */
  get memory(): Memory<z.output<typeof movedClaim>> {
    const claims = this.#claims;
    return {
      name: 'upload.claims',
      schema: movedClaim,
      *describe(concerns) {
        const now = monotonic();
        for (const [owner, own] of claims)
          if (concerns(owner))
            for (const [id, { bucket, size, until }] of own) yield [owner, { id, bucket, size, ms: until - now }];
      },
      restore: (owner, { id, bucket, size, ms }) => {
        const own = claims.get(owner) ?? new Map<string, Claim>();
        claims.set(owner, own.set(id, { bucket, size, until: monotonic() + ms }));
      },
    };
  }

  /** Drops ended claims, and uploads whose nodes have stopped. */
  tidy(): void {
    const now = monotonic();
    for (const [id, { until }] of this.#running) if (until <= now) this.#running.delete(id);
    for (const owner of this.#claims.keys()) if (this.#claimsOf(owner).size === 0) this.#claims.delete(owner);
  }

  /** In ms. */
  get retention(): number {
    return this.#config.retention_seconds * 1000;
  }

  #claimsOf(owner: string): Map<string, Claim> {
    const claims = this.#claims.get(owner) ?? new Map<string, Claim>();
    const now = monotonic();
    for (const [id, { until }] of claims) if (until <= now) claims.delete(id);
    return claims;
  }

  async #usageOf(owner: string): Promise<Usage> {
    const cached = this.#usages.get(owner);
    if (cached !== undefined) return cached;
    const usage: Usage = { message: 0, profile: 0, permanent: 0, files: 0 };
    for await (const entries of filesOf(this.#stores.files, owner))
      for (const [, { purpose, size }] of entries) {
        usage[bucketOf(purpose)] += size;
        usage.files++;
      }
    this.#usages.set(owner, usage);
    return usage;
  }

  async #today(owner: string, now: number) {
    const day = Math.floor(now / dayMs);
    const stored = await this.#stores.days.get(owner);
    return stored?.day === day ? stored : { day, bytes: 0, files: 0 };
  }
}
