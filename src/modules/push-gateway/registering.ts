/** What apps say when they register a device, by a command or by HTTP. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { StanzaError } from '../../server/stanza/errors.js';
import { apnsTypes } from './apns.js';
import type { Kind, Token } from './devices.js';

/** The fields of a form. */
export interface Fields {
  get(name: string): string | undefined;
}

export interface Registration {
  /** As the app names the device. */
  readonly name: string | undefined;
  readonly token: Token;
}

const longestField = 1024;
/** Names that apps give the device: any of these fields. */
const deviceFields = ['device-id', 'android-id', 'device', 'node'] as const;
const kindNames: Readonly<Record<string, Kind>> = { web: 'webpush', webpush: 'webpush', fcm: 'fcm', apns: 'apns' };
/** Apple: of any length. */
const apnsToken = /^(?:[0-9a-f]{2}){8,200}$/i;

/** Throws StanzaError unless the device can be registered. `checkEndpoint` throws it for Web Push. */
export function registrationIn(
  kind: Kind,
  fields: Fields,
  checkEndpoint: (url: string, p256dh: string, auth: string) => Token,
): Registration {
  // Conversations asks for notifications that a room on another server publishes.
  if (fields.get('muc') !== undefined)
    throw new StanzaError('feature-not-implemented', 'Rooms cannot publish to this service.');
  const name = nameIn(fields);
  if (kind === 'webpush') {
    const url = demanded(fields, 'endpoint');
    return { name, token: checkEndpoint(url, fields.get('p256dh') ?? '', fields.get('auth') ?? '') };
  }
  const token = demanded(fields, 'token');
  if (kind === 'fcm') return { name, token: { kind, token } };
  if (!apnsToken.test(token)) throw new StanzaError('not-acceptable', 'The token is not one of APNs.');
  const asked = fields.get('push-type') ?? 'alert';
  const type = apnsTypes.find((one) => one === asked);
  const environment = fields.get('environment') ?? 'production';
  if (type === undefined || !/^(?:production|sandbox)$/.test(environment))
    throw new StanzaError('not-acceptable', 'The kind of notifications or the environment is unknown.');
  return { name, token: { kind, token: token.toLowerCase(), type, isSandbox: environment === 'sandbox' } };
}

/** The field `type`, as the app server of Monal and Yaxim has it. Throws StanzaError unless it is one of `kinds`. */
export function kindIn(fields: Fields, kinds: readonly Kind[]): Kind {
  const kind = kindNames[demanded(fields, 'type').toLowerCase()];
  if (kind === undefined || !kinds.includes(kind))
    throw new StanzaError('not-acceptable', 'Devices of this type cannot be registered here.');
  return kind;
}

function demanded(fields: Fields, name: string): string {
  const value = fields.get(name)?.trim() ?? '';
  if (value === '' || value.length > longestField)
    throw new StanzaError('bad-request', `The field ${name} is missing.`);
  return value;
}

export function nameIn(fields: Fields): string | undefined {
  for (const field of deviceFields) {
    const value = fields.get(field);
    if (value !== undefined && value !== '' && value.length <= longestField) return value;
  }
  return undefined;
}

// --- by HTTP ------------------------------------------------------------------------------------------------------

/** How long an account can register devices with a proof, in ms. */
const validMs = 600_000;

const macOf = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(`registration ${text}`).digest();

/** With it, others act for the account at this service, for some minutes. */
export function proofOf(key: Buffer, user: string, now: number): string {
  const text = Buffer.from(JSON.stringify([user, now + validMs])).toString('base64url');
  return `${text}.${macOf(key, text).toString('base64url')}`;
}

/** Returns the account, or undefined if the proof is false or has expired. */
export function provedBy(key: Buffer, proof: string, now: number): string | undefined {
  const [text = '', mac = ''] = proof.split('.');
  const given = Buffer.from(mac, 'base64url');
  const right = macOf(key, text);
  if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined;
  const [user, until] = JSON.parse(Buffer.from(text, 'base64url').toString()) as [string, number];
  return now < until && until <= now + validMs ? user : undefined;
}
