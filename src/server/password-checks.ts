/**
 * Passwords that do not come over a stream: on pages of modules. They are checked at the home of the account and share
 * the limits of streams, so that one way in does not double the guesses.
 */
import { z } from 'zod';
import { AccountError, type Accounts } from './accounts/index.js';
import type { Jid } from './address/jid.js';
import { defineQuestion, type Host, type PasswordCheck } from './module/index.js';
import { type Answerer, answererOf } from './routing/hooks.js';
import { increment, type StreamCounts } from './stream/counts.js';
import type { Throttle } from './stream/sasl/throttle.js';

/** Of `waxwing_logins_total`, where streams have their mechanism. */
const mechanism = 'PAGE';
/** Delay of an answer that refuses a password unchecked, in ms. */
const lockoutDelay = 1000;

const checkingPassword = defineQuestion<{ readonly password: string; readonly address: string }, PasswordCheck>({
  name: 'accounts.check_password',
  given: z.object({ password: z.string(), address: z.string() }),
  answer: z.union([z.object({ epoch: z.string() }), z.object({ refused: z.enum(['wrong', 'later']) })]),
});

/** See `Host.checkPassword`. */
export const checkPassword = (host: Pick<Host, 'askHome'>, owner: Jid, password: string, address: string) =>
  host.askHome(checkingPassword, owner, { password, address });

export interface PasswordChecksParts {
  readonly accounts: Accounts;
  readonly throttle: Throttle;
  readonly counts: StreamCounts;
  limitHit(limit: string): void;
}

/** Answers for the accounts whose home is here. */
export const passwordAnswerer = (parts: PasswordChecksParts): Answerer =>
  answererOf(checkingPassword, ({ password, address }, owner) => check(parts, owner, password, address));

async function check(parts: PasswordChecksParts, { bare }: Jid, password: string, address: string) {
  const { accounts, throttle, counts } = parts;
  const isLocked = (): boolean => {
    const limit = throttle.refusal(address, bare);
    if (limit !== undefined) parts.limitHit(`auth.${limit}`);
    return limit !== undefined;
  };
  const later = async (): Promise<PasswordCheck> => {
    increment(counts.loginFailures, 'temporary-auth-failure');
    await wait(lockoutDelay);
    return { refused: 'later' };
  };
  if (isLocked()) return later();
  const verified = await accounts.verifyPassword(bare, password).catch((error: unknown) => {
    if (error instanceof AccountError) return 'busy' as const;
    throw error;
  });
  // Many requests may check passwords in parallel: past the limit, even the right one is refused.
  if (verified === 'busy' || isLocked()) return later();
  // Who may not log in is told nothing else than who has a wrong password.
  if (verified === undefined || verified.disabled) {
    increment(counts.loginFailures, 'not-authorized');
    const { delay, answered } = throttle.failed(address, bare);
    if (delay > 0) await wait(delay);
    answered();
    return { refused: 'wrong' as const };
  }
  await accounts.completeKeys(verified, password);
  throttle.succeeded(address, bare);
  accounts.noteLogin(bare);
  increment(counts.logins, mechanism);
  return { epoch: verified.epoch };
}

const wait = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
