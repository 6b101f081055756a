/**
 * XEP-0494: Client Access Management. Users see which clients have access to their account, and end the access of those that
 * do not know the password. What is known of a client is stored with its tokens (XEP-0484) and as long as these; other
 * clients are listed while they have a session. Left out: grants (§3.1), which this server does not give, and components
 * with privileges (XEP-0356), which its administrator has chosen.
 */
import { z } from 'zod';
import type { Jid } from '../server/address/jid.js';
import { wall } from '../server/clock.js';
import { defineModule, event, type IqRequest, iq, sessionState } from '../server/module/index.js';
import { formatDateTime } from '../server/stanza/datetime.js';
import { StanzaError, StreamError } from '../server/stanza/errors.js';
import { idFor } from '../server/stanza/ids.js';
import { NS } from '../server/stanza/ns.js';
import type { UserAgent } from '../server/stanza/user-agent.js';
import { type Element, el } from '../server/xml/element.js';

/** Its client logged in with a password that has changed since. */
const isOfOldPassword = sessionState({ name: 'client_access.old_password', default: false, stored: z.boolean() });

interface Client {
  readonly type: 'session' | 'access';
  readonly agent: UserAgent;
  /** In ms since 1970. */
  first: number;
  last: number;
  isConnected: boolean;
  /** Names of SASL mechanisms, or what stands for them. */
  readonly logins: Set<string>;
}

export default defineModule({
  name: 'client_access',
  summary: 'Lets users see which clients have access to their account, and end it.',
  implements: { 'XEP-0494': '0.1.0' },
  notes: 'Grants; a client that knows the password keeps its access until the password changes.',
  features: { account: [NS.clientAccess] },
  wants: ['pageLogins'],

  start: ({ host, log, services: { pageLogins } }) => {
    const clientsOf = async (owner: Jid): Promise<Map<string, Client>> => {
      const found = new Map<string, Client>();
      for (const { clientId, login, since, seen, software, device } of await host.accounts.tokens.devices(owner.bare))
        found.set(idFor('client', clientId), {
          type: 'session',
          agent: { clientId, software, device },
          first: since,
          last: seen,
          isConnected: false,
          logins: new Set(login === undefined ? [token] : [token, login]),
        });
      for (const { id, at } of (await pageLogins?.list(owner)) ?? [])
        found.set(idFor('page', id), {
          type: 'access',
          agent: { software: 'Account page' },
          first: at,
          last: at,
          isConnected: false,
          logins: new Set(['PLAIN']),
        });
      // Last: sessions may begin and end while the rest is read.
      for (const session of host.sessions(owner.bare)) {
        const { agent, since, mechanism } = session;
        const id = agent.clientId === undefined ? idFor('session', session.jid.full) : idFor('client', agent.clientId);
        const client: Client = found.get(id) ?? {
          type: 'session',
          agent,
          first: since,
          last: since,
          isConnected: true,
          logins: new Set(),
        };
        client.first = Math.min(client.first, since);
        client.last = wall();
        client.isConnected = true;
        if (!isPassword(mechanism) || !session.get(isOfOldPassword)) client.logins.add(mechanism);
        found.set(id, client);
      }
      return found;
    };

    /** §3.2. */
    const revoke = async (owner: Jid, { payload, session: own, stanza }: IqRequest): Promise<void> => {
      const { id = '' } = payload.attrs;
      if (id === '') throw new StanzaError('bad-request', 'Name a client by its id.');
      const client = (await clientsOf(owner)).get(id);
      if (client === undefined) throw new StanzaError('item-not-found');
      if ([...client.logins].some(isPassword))
        throw new StanzaError('service-unavailable', 'This client knows the password. Change it to end its access.', {
          extra: [el('password-reset-required', { xmlns: NS.clientAccess })],
        });
      const { clientId } = client.agent;
      // First, so that it does not get in again meanwhile.
      if (clientId !== undefined) await host.accounts.revokeTokens(owner.bare, clientId);
      log.info({ account: owner.bare }, 'a user ended the access of a client');
      for (const session of [...host.sessions(owner.bare)]) {
        if (clientId === undefined ? idFor('session', session.jid.full) !== id : session.clientId !== clientId)
          continue;
        // A client that ends its own access gets the result before its session ends.
        if (own !== undefined && session.jid.equals(own.jid)) session.send(stanza.result());
        host.end(session, new StreamError('not-authorized', 'The user ended the access of this client.'));
      }
    };

    return [
      iq.get('account', NS.clientAccess, 'list', async ({ to: owner }) => {
        const clients = [...(await clientsOf(owner))].map(([id, client]) => elementOf(id, client));
        return el('clients', { xmlns: NS.clientAccess }, ...clients);
      }),
      iq.set('account', NS.clientAccess, 'revoke', (request) => revoke(request.to, request)),
      event('passwordChanged', ({ jid: owner }) => {
        for (const session of host.sessions(owner.bare)) session.set(isOfOldPassword, true);
      }),
    ];
  },
  sessionStates: [isOfOldPassword],
});

/** Stands for the mechanisms of tokens. */
const token = 'HT-';

const isPassword = (mechanism: string): boolean => mechanism === 'PLAIN' || mechanism.startsWith('SCRAM-');

/** §3.1. */
function elementOf(id: string, { type, agent, first, last, isConnected, logins }: Client): Element {
  const has = (isMeant: (login: string) => boolean) => [...logins].some(isMeant);
  const isToken = (login: string) => login.startsWith(token);
  const others = [...logins].filter((login) => !isPassword(login) && !isToken(login));
  const { software, device } = agent;
  return el(
    'client',
    { id, type, connected: String(isConnected) },
    el('first-seen', null, formatDateTime(first)),
    el('last-seen', null, formatDateTime(Math.max(first, last))),
    el(
      'auth',
      null,
      has(isPassword) ? el('password') : undefined,
      has(isToken) ? el('fast') : undefined,
      ...others.map((name) => el('mechanism', { xmlns: NS.sasl }, name)),
    ),
    el('permission', { status: 'unrestricted' }),
    software === undefined && device === undefined
      ? undefined
      : el(
          'user-agent',
          null,
          software === undefined ? undefined : el('software', null, software),
          device === undefined ? undefined : el('device', null, device),
        ),
  );
}
