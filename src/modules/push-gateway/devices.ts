/** The registered devices: each is a node of the gateway, to which the user's server publishes with a secret. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { wall } from '../../server/clock.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { bareJid, whole } from '../../server/stanza/stored.js';
import type { MapStore } from '../../storage/contract.js';
import { apnsTypes } from './apns.js';

const keys = z.object({ p256dh: z.string(), auth: z.string() });
export const storedDevice = z.object({
  user: bareJid,
  /** Ms since 1970. */
  at: whole,
  /** SHA-256, base64url. */
  secret: z.string(),
  alias: z.string().exactOptional(),
  token: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('webpush'), url: z.url(), keys: keys.exactOptional() }),
    z.object({ kind: z.literal('fcm'), token: z.string() }),
    z.object({
      kind: z.literal('apns'),
      token: z.string(),
      type: z.enum(apnsTypes).default('alert'),
      isSandbox: z.boolean().default(false),
    }),
  ]),
});
export type Device = z.output<typeof storedDevice>;
export type Token = Device['token'];
export type Kind = Token['kind'];

/** Under `USER NODE`: the devices of a user. */
export const storedListing = z.object({ at: whole });
export type Listing = z.output<typeof storedListing>;

export interface DevicesParts {
  /** The address of the gateway, the owner of all records. */
  readonly owner: string;
  readonly devices: MapStore<Device>;
  readonly listings: MapStore<Listing>;
  /** The key of the names of nodes. */
  key(): Promise<Buffer>;
  readonly limits: { readonly devices_per_user: number; readonly devices: number };
  limitHit(limit: string): void;
}

const separator = ' ';
const nodeLength = 22;
const pageLength = 500;

export class Devices {
  readonly #parts: DevicesParts;
  #count: Promise<number> | undefined;

  constructor(parts: DevicesParts) {
    this.#parts = parts;
  }

  /**
   * Registers a device, again if it has the same `name` (unique for a user): then the node stays, and the secret changes.
   * Without a name the token stands for it. Resolves once it is durable. Rejects with StanzaError if there are too many.
   */
  async register(
    user: string,
    given: string | undefined,
    token: Token,
  ): Promise<{ readonly node: string; readonly secret: string }> {
    const { owner, devices, listings, limits } = this.#parts;
    const name = given ?? (token.kind === 'webpush' ? token.url : token.token);
    const node = await this.nodeOf(user, token.kind, name);
    const present = await this.#list(user);
    const isNew = !present.some(([one]) => one === node);
    const excess = isNew ? oldest(present, limits.devices_per_user - 1) : [];
    if (isNew && excess.length === 0 && (await this.#total()) >= limits.devices) {
      this.#parts.limitHit('push_gateway.devices');
      throw new StanzaError('resource-constraint', 'The gateway has too many devices.');
    }
    const secret = randomId();
    const at = wall();
    const alias = given !== undefined && { alias: aliasOf(user, given) };
    await Promise.all([
      devices.set(owner, [[node, { user, at, secret: hashOf(secret), token, ...alias }]]),
      listings.set(owner, [[user + separator + node, { at }]]),
      this.remove(user, excess),
    ]);
    if (isNew) this.#changed(1);
    return { node, secret };
  }

  get(node: string): Promise<Device | undefined> {
    return this.#parts.devices.get(this.#parts.owner, node);
  }

  /** Of a user: the nodes, with the times of their registration. */
  async list(user: string): Promise<readonly [node: string, device: Device][]> {
    const found = await this.#list(user);
    const devices = await Promise.all(found.map(([node]) => this.get(node)));
    return found.flatMap(([node], at) => (devices[at] === undefined ? [] : [[node, devices[at]] as const])) as [
      string,
      Device,
    ][];
  }

  async remove(user: string, nodes: readonly string[]): Promise<void> {
    if (nodes.length === 0) return;
    const { owner, devices, listings } = this.#parts;
    const [count] = await Promise.all([
      devices.delete(owner, nodes),
      listings.delete(
        owner,
        nodes.map((node) => user + separator + node),
      ),
    ]);
    this.#changed(-count);
  }

  /** The gateway has moved to another node of the cluster. */
  forget(): void {
    this.#count = undefined;
  }

  /** The node of a device of a user. */
  async nodeOf(user: string, kind: Kind, name: string): Promise<string> {
    const text = JSON.stringify([user, kind, name]);
    return createHmac('sha256', await this.#parts.key())
      .update(text)
      .digest('base64url')
      .slice(0, nodeLength);
  }

  async #list(user: string): Promise<(readonly [node: string, at: number])[]> {
    const { owner, listings, limits } = this.#parts;
    const start = user + separator;
    // A limit that was lowered leaves more.
    const limit = limits.devices_per_user + pageLength;
    const page = await listings.page(owner, { after: start, limit });
    return page.filter(([key]) => key.startsWith(start)).map(([key, { at }]) => [key.slice(start.length), at] as const);
  }

  /** Devices in all, counted once. */
  #total(): Promise<number> {
    this.#count ??= this.#parts.devices.count(this.#parts.owner);
    return this.#count;
  }

  #changed(by: number): void {
    const count = this.#count;
    if (count !== undefined) this.#count = count.then((before) => before + by);
  }
}

/** Whether it is the secret of the device. */
export function isSecretOf({ secret }: Device, given: string): boolean {
  return timingSafeEqual(Buffer.from(hashOf(given)), Buffer.from(secret.padEnd(43).slice(0, 43)));
}

const hashOf = (secret: string): string => createHash('sha256').update(secret).digest('base64url');

/** Conversations and its relatives know their accounts by it. */
const aliasOf = (user: string, name: string): string => createHash('sha1').update(`${user}\0${name}`).digest('hex');

/** All but the newest so many. */
function oldest(found: readonly (readonly [node: string, at: number])[], most: number): string[] {
  const excess = found.length - most;
  if (excess <= 0) return [];
  return [...found]
    .sort(([, a], [, b]) => a - b)
    .slice(0, excess)
    .map(([node]) => node);
}
