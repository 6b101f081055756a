/**
 * Slots of XEP-0363: permissions to upload one file. A slot is not stored: its description is in the address for
 * uploading, signed with a secret of the host that all nodes know. The address for downloading does not contain it.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { whole } from '../../server/stanza/stored.js';

/** §5. */
export const purposes = ['message', 'profile', 'ephemeral', 'permanent'] as const;
export type Purpose = (typeof purposes)[number];

/** What is to be uploaded. */
export interface Wanted {
  /** Valid: see `cleanName`. */
  readonly name: string;
  readonly size: number;
  /** Valid: see `essenceOf`. */
  readonly type?: string | undefined;
  readonly purpose: Purpose;
  /** §5.3: it must not be available from then on, in milliseconds since 1970. */
  readonly expires?: number | undefined;
}

export const slotSchema = z.object({
  id: z.string().regex(/^[0-9a-f]{32}$/),
  owner: z.string(),
  name: z.string(),
  size: whole,
  type: z.string().optional(),
  purpose: z.enum(purposes),
  expires: whole.optional(),
  /** The upload has to begin before, in milliseconds since 1970. */
  until: whole,
});

export type Slot = z.output<typeof slotSchema>;

/** 128 random bits, as the key of the blob and the part of the address that cannot be guessed (§11.3). */
export const newId = (): string => randomBytes(16).toString('hex');

/** Bytes of a secret. */
export const secretBytes = 32;

/** Returns the slot as text for an address. */
export function sign(slot: Slot, secret: Buffer): string {
  const text = Buffer.from(JSON.stringify(slot)).toString('base64url');
  return `${text}.${macOf(text, secret).toString('base64url')}`;
}

/**
 * Reads a signed slot. `secretOf` returns the secret of the owner's host. Returns undefined if this server has not made
 * the slot exactly so.
 */
export function verify(signed: string, secretOf: (owner: string) => Buffer | undefined): Slot | undefined {
  const [text = '', mac = '', ...rest] = signed.split('.');
  if (rest.length > 0) return undefined;
  const slot = slotIn(text);
  const secret = slot && secretOf(slot.owner);
  if (secret === undefined) return undefined;
  const expected = macOf(text, secret);
  const given = Buffer.from(mac, 'base64url');
  return given.length === expected.length && timingSafeEqual(given, expected) ? slot : undefined;
}

const macOf = (text: string, secret: Buffer): Buffer =>
  createHmac('sha256', secret).update(`upload slot ${text}`).digest();

/** Of any text: its signature has not been checked. */
function slotIn(text: string): Slot | undefined {
  try {
    return slotSchema.safeParse(JSON.parse(Buffer.from(text, 'base64url').toString())).data;
  } catch {
    return undefined;
  }
}
