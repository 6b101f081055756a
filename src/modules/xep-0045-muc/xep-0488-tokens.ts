/** XEP-0488: invitation tokens. A token given as the password on entering makes its bearer a member. */

import { createHash, timingSafeEqual } from 'node:crypto';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import type { IqRequest } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import { grant } from './affiliations.js';
import type { Muc } from './muc.js';
import { isAtLeast } from './privileges.js';
import type { Room, Token } from './room.js';

/** Tokens per room. */
const mostTokens = 100;

/** §7: users who may invite may create tokens; a token is valid only while its creator may invite. */
const mayIssue = (room: Room, user: Jid): boolean =>
  isAtLeast(room.affiliationOf(user), room.config.memberInvites ? 'member' : 'admin');

const tokensOf = ({ stored }: Room): readonly Token[] =>
  (stored.tokens ?? []).filter(({ until, left }) => (until === undefined || until > wall()) && left !== 0);

/** §4.3: the valid token that equals the given password. */
export function tokenFor(room: Room, given: string): Token | undefined {
  if (given === '' || room.stored.tokens === undefined) return undefined;
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  const wanted = digest(given);
  return tokensOf(room).find(
    ({ token, creator }) => timingSafeEqual(digest(token), wanted) && mayIssue(room, Jid.parse(creator)),
  );
}

/** §4.5: makes the bearer a member. */
export async function redeem(muc: Muc, room: Room, { token }: Token, user: Jid): Promise<void> {
  const tokens = tokensOf(room).map((one) =>
    one.token === token && one.left !== undefined ? { ...one, left: one.left - 1 } : one,
  );
  await muc.rooms.save(room, { tokens });
  await grant(muc, room, user, 'member');
}

/** §4.2. Throws StanzaError. */
export async function request(muc: Muc, room: Room, { from, payload }: IqRequest): Promise<Element> {
  const { delay, counter } = payload.attrs;
  const limits = { seconds: amountIn(delay), uses: amountIn(counter) };
  return tokenElement(await issue(muc, room, from, limits), NS.mucToken);
}

export interface TokenLimits {
  readonly seconds?: number | undefined;
  readonly uses?: number | undefined;
}

/** Throws StanzaError if the user may not issue a token, or the room has too many. */
export async function issue(muc: Muc, room: Room, user: Jid, { seconds, uses }: TokenLimits): Promise<Token> {
  demandIssuer(room, user);
  const tokens = tokensOf(room);
  if (tokens.length >= mostTokens)
    throw new StanzaError('resource-constraint', 'The room has too many tokens. Revoke one first.');
  const made: Token = {
    token: randomId(24),
    creator: user.bare,
    ...(seconds !== undefined && { until: wall() + seconds * 1000 }),
    ...(uses !== undefined && { left: uses }),
  };
  await muc.rooms.save(room, { tokens: [...tokens, made] });
  return made;
}

/** §4.6: lists the tokens that the user may revoke. */
export function list(room: Room, { from }: IqRequest): Element {
  demandIssuer(room, from);
  return el('tokens', { xmlns: NS.mucToken }, ...revocable(room, from).map((token) => tokenElement(token)));
}

/** §4.7. Throws StanzaError. */
export async function revoke(muc: Muc, room: Room, { from, payload }: IqRequest): Promise<void> {
  demandIssuer(room, from);
  const text = payload.getText().trim();
  if (!revocable(room, from).some(({ token }) => token === text))
    throw new StanzaError('item-not-found', 'There is no such token.');
  await muc.rooms.save(room, { tokens: tokensOf(room).filter(({ token }) => token !== text) });
}

function demandIssuer(room: Room, user: Jid): void {
  if (!mayIssue(room, user)) throw new StanzaError('forbidden', 'You cannot invite others to the room.');
}

const revocable = (room: Room, user: Jid): Token[] =>
  tokensOf(room).filter(({ creator }) => creator === user.bare || isAtLeast(room.affiliationOf(user), 'admin'));

const tokenElement = ({ token, until, left }: Token, xmlns?: string): Element =>
  el(
    'token',
    {
      xmlns,
      delay: until === undefined ? undefined : String(Math.ceil((until - wall()) / 1000)),
      counter: left?.toString(),
    },
    token,
  );

function amountIn(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const amount = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (amount === 0) throw new StanzaError('bad-request');
  return amount;
}
