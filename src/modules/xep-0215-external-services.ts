/**
 * XEP-0215: External Service Discovery: STUN and TURN servers for calls, with temporary credentials made from a secret
 * shared with the TURN server (coturn's `use-auth-secret`). Left out: services other than STUN and TURN, translated
 * names.
 */

import { createHmac } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { z } from 'zod';
import type { Jid } from '../server/address/jid.js';
import { wall } from '../server/clock.js';
import { seconds } from '../server/config/units.js';
import { defineModule, disco, event, type IqRequest, iq, sessionState } from '../server/module/index.js';
import { formatDateTime } from '../server/stanza/datetime.js';
import { StanzaError } from '../server/stanza/errors.js';
import { randomId } from '../server/stanza/ids.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { type Element, el } from '../server/xml/element.js';

const types = ['stun', 'stuns', 'turn', 'turns'] as const;
type Type = (typeof types)[number];

/** A parsed URI of RFC 7064 or RFC 7065. */
export interface Address {
  readonly type: Type;
  /** A domain name or an IP address, without brackets. */
  readonly host: string;
  readonly port: number;
  readonly transport: 'udp' | 'tcp';
}

const uri = z.string().refine((text) => parseUri(text) !== undefined, {
  error: 'is not a STUN or TURN URI',
  params: { hint: 'write one such as "stun:turn.example.org" or "turns:turn.example.org:5349?transport=tcp"' },
});

const keys = {
  uris: z
    .array(uri)
    .default([])
    .describe(
      'The services, as stun, stuns, turn or turns URIs. Default ports: 3478, or 5349 if encrypted. Default transports: UDP, or TCP if encrypted.',
    )
    .meta({ live: true, example: 'turn:turn.example.org:3478?transport=udp' }),
  secret: z
    .string()
    .default('')
    .describe('The secret shared with the TURN server, from which credentials are made: static-auth-secret of coturn.')
    .meta({ live: true, secret: true }),
  credentials_seconds: seconds({ min: 60 })
    .default(86_400)
    .describe('Lifetime of credentials made from the secret. A relay outlives them while it is refreshed.')
    .meta({ live: true }),
  username: z
    .string()
    .default('')
    .describe('Instead of a secret: one user name at the TURN server for all users.')
    .meta({ live: true }),
  password: z.string().default('').describe('The password for username.').meta({ live: true, secret: true }),
  name: z.string().default('').describe('A name for the services, shown to people.').meta({ live: true }),
};

const settings = z.strictObject({
  ...keys,
  more: z
    .record(z.string(), z.strictObject(keys))
    .default({})
    .describe('Servers with other secrets: one table each, of any name, with the same keys.')
    .meta({ live: true }),
});

type Settings = z.output<typeof settings>;

interface Credentials {
  readonly username: string;
  readonly password: string;
  readonly expires: string | undefined;
}

interface ExternalService extends Address {
  readonly name: string | undefined;
  /** Changes if the configuration changes the credentials. */
  readonly access: string;
  credentials(user: Jid): Credentials | undefined;
}

const askedTypes = z.enum([...types, '']);

/** The service types its client requested ('': all). The session gets pushes of changes. */
const asked = sessionState<ReadonlySet<Type | ''>>({
  name: 'external_services',
  default: new Set(),
  stored: z.codec(z.array(askedTypes), z.set(askedTypes), {
    decode: (all) => new Set(all),
    encode: (all) => [...all],
  }),
});

export default defineModule({
  name: 'external_services',
  summary: 'Offers clients STUN and TURN servers for calls, with credentials.',
  implements: { 'XEP-0215': '1.0.0' },
  notes: 'Services other than STUN and TURN.',
  config: settings,
  sessionStates: [asked],

  start: ({ host, config }) => {
    let services = servicesOf(config);
    const ofType = (type: string | undefined) => services.filter((service) => !type || service.type === type);

    const list = ({ from, payload, session }: IqRequest): Element => {
      if (services.length === 0) throw new StanzaError('service-unavailable');
      const { type } = payload.attrs;
      if (session !== undefined && (type === undefined || isType(type))) {
        session.set(asked, new Set([...session.get(asked), type ?? '']));
      }
      return el(
        'services',
        { xmlns: NS.externalServices, type },
        ...ofType(type).map((service) => serviceElement(service, from)),
      );
    };

    /** §3.3. */
    const credentials = ({ from, payload }: IqRequest): Element => {
      const wanted = payload.getChildren('service', NS.externalServices).map(({ attrs }) => attrs);
      if (wanted.length === 0 || wanted.some(({ host, type }) => !host || !type))
        throw new StanzaError('bad-request', 'A service needs a host and a type.');
      const names = new Set(wanted.map(({ type, host, port = '' }) => `${type} ${host} ${port}`));
      const isWanted = ({ type, host, port }: Address) =>
        names.has(`${type} ${host} `) || names.has(`${type} ${host} ${port}`);
      const found = services.filter((service) => isWanted(service) && service.credentials(from) !== undefined);
      if (found.length === 0)
        throw new StanzaError('item-not-found', 'No credentials are configured for this service.');
      return el(
        'credentials',
        { xmlns: NS.externalServices },
        ...found.map((service) => serviceElement(service, from)),
      );
    };

    /** §3.2: pushes changed services to sessions that requested them. */
    const change = (): void => {
      const before = services;
      services = servicesOf(host.config.modules.external_services as Settings);
      const changes = changesOf(before, services);
      if (changes.length === 0) return;
      for (const session of host.allSessions()) {
        for (const type of session.get(asked)) {
          const relevant = changes.filter(({ service }) => type === '' || service.type === type);
          if (relevant.length === 0) continue;
          const payload = el(
            'services',
            { xmlns: NS.externalServices, type: type || undefined },
            ...relevant.map(({ action, service }) =>
              action === 'delete' ? addressElement(service, action) : serviceElement(service, session.jid, action),
            ),
          );
          session.send(Stanza.build('iq', { type: 'set', id: randomId(), from: host.jid, to: session.jid }, payload));
        }
      }
    };

    return [
      iq.get('server', NS.externalServices, 'services', list, { access: 'users' }),
      iq.get('server', NS.externalServices, 'credentials', credentials, { access: 'users' }),
      disco('server', { features: () => (services.length === 0 ? [] : [NS.externalServices]) }),
      event('reloaded', change),
    ];
  },
});

const isType = (text: string): text is Type => (types as readonly string[]).includes(text);

/** Returns undefined if the text is not a URI of RFC 7064 or RFC 7065. */
export function parseUri(text: string): Address | undefined {
  const parts =
    /^(stuns?|turns?):(?:\[([0-9a-f:.]+)\]|([a-z0-9_-]+(?:\.[a-z0-9_-]+)*))(?::(\d{1,5}))?(?:\?transport=(udp|tcp))?$/i.exec(
      text,
    );
  if (parts === null) return undefined;
  const [, scheme, v6, name, digits, transport] = parts;
  const type = scheme!.toLowerCase();
  const isEncrypted = type === 'stuns' || type === 'turns';
  const port = digits === undefined ? (isEncrypted ? 5349 : 3478) : Number(digits);
  if (!isType(type) || port === 0 || port > 65_535 || (v6 !== undefined && !isIPv6(v6))) return undefined;
  return {
    type,
    host: v6 ?? name!,
    port,
    transport: (transport?.toLowerCase() as Address['transport'] | undefined) ?? (isEncrypted ? 'tcp' : 'udp'),
  };
}

/**
 * Credentials for coturn's `use-auth-secret`: the user name is the expiry time in Unix seconds, a colon and a word; the
 * password is base64(HMAC-SHA1(secret, user name)). The word distinguishes users in logs without naming them, since it
 * is sent in the clear.
 */
export function sharedSecretCredentials(secret: string, user: Jid, ends: number): Credentials {
  const word = createHmac('sha256', secret).update(user.bare).digest('hex').slice(0, 16);
  const username = `${ends}:${word}`;
  return {
    username,
    password: createHmac('sha1', secret).update(username).digest('base64'),
    expires: formatDateTime(ends * 1000),
  };
}

function servicesOf({ more, ...first }: Settings): ExternalService[] {
  return [first, ...Object.values(more)].flatMap(({ uris, secret, credentials_seconds, username, password, name }) =>
    uris.map((text): ExternalService => {
      const address = parseUri(text)!;
      const needsLogin = address.type === 'turn' || address.type === 'turns'; // STUN needs no credentials
      return {
        ...address,
        name: name || undefined,
        access: needsLogin ? JSON.stringify([secret, credentials_seconds, username, password]) : '',
        credentials: (user) => {
          if (!needsLogin) return undefined;
          if (secret !== '')
            return sharedSecretCredentials(secret, user, Math.floor(wall() / 1000 + credentials_seconds));
          return username === '' ? undefined : { username, password, expires: undefined };
        },
      };
    }),
  );
}

interface Change {
  readonly action: 'add' | 'delete' | 'modify';
  readonly service: ExternalService;
}

function changesOf(before: readonly ExternalService[], after: readonly ExternalService[]): Change[] {
  const key = ({ type, host, port, transport }: Address) => `${type} ${host} ${port} ${transport}`;
  const old = new Map(before.map((service) => [key(service), service]));
  const now = new Map(after.map((service) => [key(service), service]));
  const gone = [...old]
    .filter(([name]) => !now.has(name))
    .map(([, service]) => ({ action: 'delete' as const, service }));
  const others = [...now].flatMap(([name, service]): Change[] => {
    const known = old.get(name);
    if (known === undefined) return [{ action: 'add', service }];
    return known.access === service.access && known.name === service.name ? [] : [{ action: 'modify', service }];
  });
  return [...gone, ...others];
}

function addressElement({ type, host, port, transport }: Address, action?: Change['action']): Element {
  return el('service', { action, type, host, port: String(port), transport });
}

function serviceElement(service: ExternalService, user: Jid, action?: Change['action']): Element {
  const { username, password, expires } = service.credentials(user) ?? {};
  const element = addressElement(service, action);
  const further = {
    name: service.name,
    restricted: username === undefined ? undefined : 'true',
    username,
    password,
    expires,
  };
  for (const [name, value] of Object.entries(further)) if (value !== undefined) element.attrs[name] = value;
  return element;
}
