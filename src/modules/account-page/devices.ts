/** What is logged in to an account: at its home, which alone knows its sessions. */
import { z } from 'zod';
import type { Jid } from '../../server/address/jid.js';
import { defineQuestion, type Host } from '../../server/module/index.js';
import { StreamError } from '../../server/stanza/errors.js';
import { idFor } from '../../server/stanza/ids.js';
import { labelOf } from '../../server/stanza/user-agent.js';
import type { Logins } from './logins.js';

/** Entries of a list at most. */
const mostListed = 100;

const session = z.object({
  id: z.string(),
  resource: z.string(),
  /** Times are in ms since 1970. */
  since: z.number(),
  /** Null while it is disconnected, and can be resumed. */
  address: z.string().nullable(),
  /** What the app says that it is; null if it does not. */
  label: z.string().nullable(),
});
const device = z.object({ id: z.string(), label: z.string().nullable(), issued: z.number(), expires: z.number() });
const login = z.object({ id: z.string(), at: z.number(), address: z.string(), isThis: z.boolean() });

/** The lists, and how many there are of each. */
const listed = z.object({
  sessions: z.array(session),
  devices: z.array(device),
  logins: z.array(login),
  counts: z.object({ sessions: z.number(), devices: z.number() }),
});
export type Listed = z.output<typeof listed>;

/** `key`: of the login that asks. */
export const listing = defineQuestion({
  name: 'account_page.devices',
  given: z.object({ key: z.string() }),
  answer: listed,
});

export const kinds = ['session', 'device', 'login', 'others'] as const;
export type Kind = (typeof kinds)[number];

/** Ends one, or all but the login that asks (`others`). Answers how many were ended. */
export const ending = defineQuestion({
  name: 'account_page.end',
  given: z.object({ kind: z.enum(kinds), id: z.string(), key: z.string() }),
  answer: z.number(),
});

export class Devices {
  readonly #host: Host;
  readonly #logins: Logins;

  constructor(host: Host, logins: Logins) {
    this.#host = host;
    this.#logins = logins;
  }

  async list(owner: Jid, key: string): Promise<Listed> {
    const devices = await this.#host.accounts.tokens.devices(owner.bare);
    const sessions = this.#host.sessions(owner.bare);
    const logins = await this.#logins.list(owner);
    return {
      sessions: sessions.slice(0, mostListed).map(({ jid, since, connection, agent }) => ({
        id: idFor('session', jid.full),
        resource: jid.resource ?? '',
        since,
        address: connection?.remoteAddress ?? null,
        label: labelOf(agent) ?? null,
      })),
      devices: devices.slice(0, mostListed).map(({ clientId, software, device, issued, expires }) => ({
        id: idFor('device', clientId),
        label: labelOf({ software, device }) ?? null,
        issued,
        expires,
      })),
      logins: logins.slice(0, mostListed).map(([one, { at, address }]) => ({
        id: idFor('login', one),
        at,
        address,
        isThis: one === key,
      })),
      counts: { sessions: sessions.length, devices: devices.length },
    };
  }

  async end(owner: Jid, kind: Kind, id: string, key: string): Promise<number> {
    switch (kind) {
      case 'session':
        return this.#endSession(owner, id);
      case 'device':
        return this.#endDevice(owner, id);
      case 'login':
        return this.#endLogins(owner, (one) => idFor('login', one) === id);
      case 'others':
        return this.#endOthers(owner, key);
    }
  }

  /** Without its tokens: with them its app would be back at once. */
  async #endSession(owner: Jid, id: string): Promise<number> {
    const session = this.#host.sessions(owner.bare).find(({ jid }) => idFor('session', jid.full) === id);
    if (session === undefined) return 0;
    if (session.clientId !== undefined) await this.#host.accounts.revokeTokens(owner.bare, session.clientId);
    this.#host.end(session, ended());
    return 1;
  }

  async #endDevice(owner: Jid, id: string): Promise<number> {
    const devices = await this.#host.accounts.tokens.devices(owner.bare);
    const device = devices.find(({ clientId }) => idFor('device', clientId) === id);
    if (device === undefined) return 0;
    await this.#host.accounts.revokeTokens(owner.bare, device.clientId);
    for (const session of this.#host.sessions(owner.bare))
      if (session.clientId === device.clientId) this.#host.end(session, ended());
    return 1;
  }

  async #endLogins(owner: Jid, isMeant: (key: string) => boolean): Promise<number> {
    const keys = (await this.#logins.list(owner)).map(([one]) => one).filter(isMeant);
    return this.#logins.close(owner, keys);
  }

  async #endOthers(owner: Jid, key: string): Promise<number> {
    const devices = await this.#host.accounts.tokens.devices(owner.bare);
    // First, so that no app gets in again meanwhile.
    if (devices.length > 0) await this.#host.accounts.revokeTokens(owner.bare);
    const logins = await this.#endLogins(owner, (one) => one !== key);
    const sessions = [...this.#host.sessions(owner.bare)];
    for (const session of sessions) this.#host.end(session, ended());
    return sessions.length + devices.length + logins;
  }
}

const ended = (): StreamError =>
  new StreamError('policy-violation', 'The user ended this session on the account page.');
