/** The client's side of the mechanisms, written from the RFCs, and a server's side to hold against it. */
import assert from 'node:assert/strict';
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { type AccountEvent, Accounts, type AccountsOptions } from '../../src/server/accounts/index.js';
import { keysOf, type ScramHash } from '../../src/server/accounts/keys.js';
import { Jid } from '../../src/server/address/jid.js';
import {
  type Exchange,
  type Identity,
  type Mechanism,
  type SaslCondition,
  type SaslContext,
  SaslError,
} from '../../src/server/stream/sasl/mechanism.js';
import { MemoryStorage } from '../../src/storage/memory.js';

const names = { 'SHA-1': 'sha1', 'SHA-256': 'sha256', 'SHA-512': 'sha512' } as const;
const lengths = { 'SHA-1': 20, 'SHA-256': 32, 'SHA-512': 64 } as const;

export const salted = (hash: ScramHash, password: string, salt: Buffer, iterations: number): Buffer =>
  pbkdf2Sync(password, salt, iterations, lengths[hash], names[hash]);

/** Keys made at once, with few rounds: tests make many accounts. */
export function quickKeys(password: string, hashes: readonly ScramHash[] = ['SHA-1', 'SHA-256', 'SHA-512']) {
  const salt = Buffer.from('sixteen bytes...');
  return Object.fromEntries(hashes.map((hash) => [hash, keysOf(hash, salted(hash, password, salt, 4096), salt, 4096)]));
}

/** Accounts on memory with `juliet@capulet.example`, whose password is `pencil`. */
export async function someAccounts(options: Partial<AccountsOptions> = {}) {
  const events: AccountEvent[] = [];
  const accounts = await Accounts.open({
    storage: new MemoryStorage(),
    iterations: 4096,
    minPasswordLength: 4,
    onEvent: (event) => {
      events.push(event);
    },
    ...options,
  });
  await accounts.create(Jid.parse('juliet@capulet.example'), quickKeys('pencil'));
  return { accounts, events };
}

export function context(accounts: Accounts, more: Partial<SaslContext> = {}): SaslContext {
  return {
    host: 'capulet.example',
    secure: true,
    channelBinding: () => undefined,
    channelBindingTypes: [],
    mechanisms: ['SCRAM-SHA-256', 'SCRAM-SHA-1'],
    accounts,
    ...more,
  };
}

export interface ScramClient {
  readonly hash?: ScramHash;
  readonly name?: string;
  readonly password?: string;
  readonly header?: string;
  readonly binding?: Buffer;
  /** The nonce that it answers with, signed as it stands. */
  readonly nonce?: (nonce: string) => string;
  /** Modifies the client's message in transit. */
  readonly first?: (message: string) => string;
  readonly final?: (message: string) => string;
}

/** The attributes of a SCRAM message. */
export const attributes = (message: Buffer): Record<string, string> =>
  Object.fromEntries(
    message
      .toString()
      .split(',')
      .map((part) => [part.slice(0, 1), part.slice(2)]),
  );

/** A complete SCRAM exchange; the client verifies the server. */
export async function runScram(mechanism: Mechanism, on: SaslContext, client: ScramClient = {}): Promise<Identity> {
  const { hash = 'SHA-256', name = 'juliet', password = 'pencil', header = 'n,,' } = client;
  const exchange = mechanism.start(on);
  const nonce = 'fyko+d2lbbFgONRv9qkxdawL';
  const bare = `n=${name},r=${nonce}`;
  const change = (how: ((message: string) => string) | undefined, message: string) =>
    Buffer.from(how === undefined ? message : how(message));
  const { challenge } = await exchange.step(change(client.first, header + bare));
  assert.ok(challenge);
  const { r = '', s = '', i } = attributes(challenge);
  assert.ok(r.startsWith(nonce) && r.length >= nonce.length + 22);
  const saltedPassword = salted(hash, password, Buffer.from(s, 'base64'), Number(i));
  const mac = (key: Buffer, message: string) => createHmac(names[hash], key).update(message).digest();
  const clientKey = mac(saltedPassword, 'Client Key');
  const storedKey = createHash(names[hash]).update(clientKey).digest();
  const c = Buffer.concat([Buffer.from(header), client.binding ?? Buffer.alloc(0)]).toString('base64');
  const withoutProof = `c=${c},r=${client.nonce?.(r) ?? r}`;
  const authMessage = `${bare},${challenge.toString()},${withoutProof}`;
  const signature = mac(storedKey, authMessage);
  const proof = clientKey.map((byte, at) => byte ^ signature[at]!);
  const last = await exchange.step(change(client.final, `${withoutProof},p=${Buffer.from(proof).toString('base64')}`));
  assert.ok(last.success);
  assert.equal(last.data?.toString(), `v=${mac(mac(saltedPassword, 'Server Key'), authMessage).toString('base64')}`);
  return last.success;
}

/** Runs a mechanism of one message. */
export async function runOnce(mechanism: Mechanism, on: SaslContext, message: string | Buffer | undefined) {
  const exchange: Exchange = mechanism.start(on);
  const step = await exchange.step(typeof message === 'string' ? Buffer.from(message) : message);
  assert.ok(step.success);
  return { identity: step.success, data: step.data };
}

/** Expects a failure with the condition; gives its text. */
export async function fails(condition: SaslCondition, attempt: () => unknown): Promise<string | undefined> {
  try {
    await attempt();
  } catch (error) {
    assert.ok(error instanceof SaslError, String(error));
    assert.equal(error.condition, condition);
    return error.text;
  }
  return assert.fail(`expected ${condition}, and it went through`);
}
