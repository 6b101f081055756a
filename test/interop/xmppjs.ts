/** xmpp.js (`@xmpp/client`): STARTTLS, direct TLS, WebSocket; SASL2 with Bind 2, stream management and FAST. */
import { NS } from '../../src/server/stanza/ns.js';
import { type Element, parse } from '../../src/server/xml/element.js';
import { abilities, happenings } from './by-xml.js';
import { type Account, type Device, Inbox } from './device.js';
import { library } from './libraries.js';
import { patience } from './server.js';

type Xml = object;

interface Entity {
  readonly jid: { toString(): string } | null;
  status: string;
  /** Patience with each step of the negotiation, in ms. */
  timeout: number;
  readonly reconnect: { delay: number; stop(): void };
  readonly streamManagement: { on(event: 'resumed', listener: () => void): void };
  readonly fast: { saveToken(token: object): Promise<void>; fetchToken(): Promise<object | undefined> };
  readonly iqCaller: { request(iq: Xml, timeout: number): Promise<Xml> };
  start(): Promise<unknown>;
  stop(): Promise<unknown>;
  send(stanza: Xml): Promise<void>;
  on(event: 'stanza', listener: (stanza: Xml) => void): void;
  on(event: 'element', listener: (element: Xml) => void): void;
  on(event: 'send', listener: (element: Xml) => void): void;
  on(event: 'error', listener: (error: Error) => void): void;
  on(event: 'online', listener: () => void): void;
}

interface XmppJs {
  client(options: Readonly<Record<string, unknown>>): Entity;
  xml(name: string, attributes: object, ...children: (Xml | string)[]): Xml;
}

export interface XmppJsOptions extends Account {
  /** xmpp://host:port (STARTTLS), xmpps://host:port, ws://host:port/path, wss://host:port/path. */
  readonly service: string;
  /** Only this mechanism. Default: the library's preference. */
  readonly only?: string;
  /** The name by which XEP-0388 knows the client again: a UUID. */
  readonly clientId?: string;
  /** Storage for FAST tokens (XEP-0484). With a token, the library does not get the password. */
  readonly tokens?: { token?: object };
  readonly anonymous?: boolean;
}

export async function xmppJs(options: XmppJsOptions): Promise<Device> {
  const { client, xml } = await library<XmppJs>('@xmpp/client');
  // Node 20 lacks it, and the library needs it.
  globalThis.WebSocket ??= (await library<{ default: typeof WebSocket }>('ws')).default;
  const { bare, resource, password, service, only, tokens, anonymous = false } = options;
  const inbox = new Inbox(`${bare}/${resource} (xmpp.js)`);
  const userAgent = xml('user-agent', { id: options.clientId ?? crypto.randomUUID() });
  const secret = { username: bare.split('@')[0], password };
  const entity = client({
    service,
    domain: 'localhost',
    resource,
    userAgent,
    ...(anonymous
      ? {}
      : only === undefined
        ? tokens?.token === undefined
          ? secret
          : { username: secret.username }
        : {
            credentials: (authenticate: (...args: unknown[]) => Promise<void>) => authenticate(secret, only, userAgent),
          }),
  });
  if (tokens !== undefined) {
    entity.fast.saveToken = async (token) => {
      tokens.token = token;
    };
    entity.fast.fetchToken = async () => tokens.token;
  }
  return deviceOf(entity, xml, inbox);
}

function deviceOf(entity: Entity, xml: XmppJs['xml'], inbox: Inbox): Device {
  let mechanism: string | undefined;
  let isOnline = false;
  const errors: Error[] = [];
  entity.reconnect.delay = 200;
  // 2 s are not enough where the machine has other work.
  entity.timeout = patience;
  entity.on('error', (error) => errors.push(error));
  entity.on('send', (element) => {
    const chosen = /^<auth(?:enticate)? [^>]*mechanism="([^"]+)"/.exec(element.toString())?.[1];
    if (chosen !== undefined) mechanism = chosen;
  });
  entity.on('stanza', (stanza) => {
    for (const happening of happenings(stanza.toString())) inbox.put(happening);
  });
  entity.streamManagement.on('resumed', () => inbox.put({ kind: 'back', resumed: true }));
  entity.on('online', () => {
    if (isOnline) inbox.put({ kind: 'back', resumed: false });
  });
  const converted = (element: Element): Xml =>
    xml(
      element.name,
      element.attrs,
      ...element.children.map((child) => (typeof child === 'string' ? child : converted(child as Element))),
    );
  const ask = async (type: 'get' | 'set', payload: string, to?: string): Promise<Element> =>
    parse((await entity.iqCaller.request(xml('iq', { type, to }, converted(parse(payload))), patience)).toString());
  const send = (stanza: string): Promise<void> => entity.send(converted(parse(stanza, NS.client)));
  const can = abilities(ask, send, inbox);
  return {
    library: 'xmpp.js',
    inbox,
    get jid() {
      return entity.jid?.toString() ?? '';
    },
    get mechanism() {
      return mechanism;
    },
    ...can,
    async online() {
      await entity.start().catch((error: unknown) => {
        throw new Error(`xmpp.js cannot log in: ${error}; ${errors.join('; ')}`, { cause: error });
      });
      await can.roster();
      await send('<presence/>');
      isOnline = true;
    },
    async offline() {
      isOnline = false;
      await entity.stop();
    },
    async destroy() {
      isOnline = false;
      entity.reconnect.stop();
      if (entity.status !== 'offline') await entity.stop().catch(() => {});
    },
  };
}
