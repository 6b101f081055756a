/** StanzaJS (`stanza`): WebSocket and BOSH; SCRAM-SHA-256, SCRAM-SHA-1, PLAIN; stream management. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import {
  type Account,
  type Device,
  Inbox,
  type Occupant,
  type Pep,
  type Preferences,
  type Query,
  type Rooms,
} from './device.js';
import { library } from './libraries.js';
import { patience } from './server.js';

interface StanzaError {
  readonly condition?: string;
}

interface MucInfo {
  readonly affiliation?: string;
  readonly role?: string;
  readonly nick?: string;
  readonly reason?: string;
  readonly statusCodes?: readonly string[];
  readonly destroy?: { readonly reason?: string };
}

interface Presence {
  readonly from: string;
  readonly type?: string;
  readonly muc?: MucInfo;
  readonly occupantId?: string;
  readonly error?: StanzaError;
}

interface Message {
  readonly from?: string;
  readonly type?: string;
  readonly body?: string;
  readonly delay?: object;
  readonly muc?: MucInfo;
  readonly stanzaIds?: readonly { readonly id: string; readonly by: string }[];
  readonly occupantId?: string;
  readonly error?: StanzaError;
  readonly carbon?: { readonly forward: { readonly message: Message } };
}

interface RosterItem {
  readonly jid: string;
  readonly subscription?: string;
  readonly name?: string;
  readonly groups?: readonly string[];
}

interface Agent extends NodeJS.EventEmitter {
  readonly jid: string;
  readonly sasl: { disable(mechanism: string): void };
  readonly transport?: Duplex & { send(...what: readonly unknown[]): Promise<void> };
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  sendPresence(presence?: object): string;
  sendMessage(message: object): string;
  subscribe(jid: string): void;
  acceptSubscription(jid: string): void;
  getRoster(): Promise<{ readonly items: readonly RosterItem[] }>;
  updateRosterItem(item: RosterItem): Promise<void>;
  removeRosterItem(jid: string): Promise<void>;
  enableCarbons(): Promise<void>;
  publishVCard(card: object): Promise<void>;
  getVCard(jid: string): Promise<{ readonly fullName?: string; readonly records?: readonly Photo[] }>;
  setPrivateData(key: 'bookmarks', data: object): Promise<object>;
  getPrivateData(key: 'bookmarks'): Promise<{ readonly rooms?: readonly { readonly name?: string }[] }>;
  ping(jid: string): Promise<object>;
  getSoftwareVersion(jid: string): Promise<{ readonly name?: string }>;
  getDiscoInfo(jid: string): Promise<{
    readonly features: readonly string[];
    readonly identities: readonly { readonly name?: string }[];
  }>;
  block(jid: string): Promise<void>;
  unblock(jid: string): Promise<void>;
  getBlocked(): Promise<{ readonly jids: readonly string[] }>;
  searchHistory(options: object): Promise<{
    readonly complete?: boolean;
    readonly results?: readonly { readonly id: string; readonly item: { readonly message?: Message } }[];
  }>;
  getHistoryPreferences(): Promise<Partial<Preferences>>;
  setHistoryPreferences(preferences: Preferences): Promise<object>;
  getCommands(jid: string): Promise<{ readonly items: readonly { readonly node?: string }[] }>;
  joinRoom(room: string, nick: string, options?: object): Promise<Presence>;
  leaveRoom(room: string, nick: string): Promise<object>;
  changeNick(room: string, nick: string): Promise<object>;
  setSubject(room: string, subject: string): void;
  getRoomConfig(room: string): Promise<DataForm>;
  configureRoom(room: string, form: object): Promise<object>;
  invite(room: string, invitation: object): void;
  directInvite(room: string, to: string, invitation: object): void;
  kick(room: string, nick: string, reason: string): Promise<object>;
  setRoomAffiliation(room: string, jid: string, affiliation: string, reason?: string): Promise<object>;
  getRoomMembers(
    room: string,
    wanted: object,
  ): Promise<{ readonly muc: { readonly users?: readonly { readonly jid?: string }[] } }>;
  getDiscoItems(jid: string): Promise<{ readonly items: readonly { readonly jid?: string }[] }>;
  destroyRoom(room: string, options: object): Promise<object>;
  sendIQ(iq: object): Promise<object>;
  publishAvatar(id: string, data: Buffer): Promise<object>;
  useAvatars(versions: readonly object[]): Promise<object>;
  getAvatar(of: string, id: string): Promise<PepItem>;
  getItems(of: string, node: string): Promise<{ readonly items?: readonly PepItem[] }>;
  addBookmark(bookmark: object): Promise<object>;
  removeBookmark(room: string): Promise<object>;
  getBookmarks(): Promise<readonly { readonly jid: string; readonly name?: string }[]>;
}

interface PepItem {
  readonly content?: { readonly data?: Buffer; readonly versions?: readonly { readonly id: string }[] };
}

interface AvatarEvent {
  readonly jid: string;
  readonly source: 'pubsub' | 'vcard';
  readonly avatars: readonly { readonly id: string }[];
}

interface DataForm {
  readonly fields?: readonly { readonly name?: string; readonly value?: unknown }[];
}

interface Photo {
  readonly type: string;
  /** In base64. */
  readonly data?: string;
}

export interface StanzaJsOptions extends Account {
  /** ws://host:port/path or wss://…, or http:// for BOSH. */
  readonly service: string;
  /** Not these mechanisms. */
  readonly without?: readonly string[];
}

export async function stanzaJs(options: StanzaJsOptions): Promise<Device> {
  const { bare, resource, password, service, without = [] } = options;
  const { createClient } = await library<{ createClient(options: object): Agent }>('stanza');
  const isBosh = service.startsWith('http');
  const inbox = new Inbox(`${bare}/${resource} (StanzaJS)`);
  const agent = createClient({
    jid: bare,
    resource,
    password,
    server: 'localhost',
    transports: isBosh ? { websocket: false, bosh: service } : { websocket: service, bosh: false },
    autoReconnect: true,
    maxReconnectBackoff: 0.2,
    // Of requests, in seconds.
    timeout: patience / 1000,
  });
  for (const name of without) agent.sasl.disable(name);
  let mechanism: string | undefined;
  let isKnown = false;
  const report = (message: Message, carbon: 'sent' | 'received' | undefined): void => {
    const { from = '', type = 'normal', body, delay, stanzaIds = [], occupantId: occupant } = message;
    if (type === 'error') {
      inbox.put({ kind: 'refused', from, condition: message.error?.condition ?? '' });
      return;
    }
    if (body === undefined) return;
    const ids = Object.fromEntries(stanzaIds.map(({ id, by }) => [by, id]));
    const delayed = carbon === undefined && delay !== undefined;
    inbox.put({ kind: 'message', from, type, body, carbon, delayed, ids, occupant });
  };
  // A write during the disconnection is an unhandled rejection, and then the library does not detect that the
  // connection is closed.
  agent.on('connected', () => {
    const { transport } = agent;
    if (transport === undefined) return;
    const send = transport.send.bind(transport);
    transport.send = (...what) => send(...what).catch(() => {});
    let isEnded = false;
    transport.once('end', () => {
      isEnded = true;
    });
    transport.once('close', () => {
      if (!isEnded && agent.transport === transport) agent.emit('--transport-disconnected');
    });
  });
  agent.on('raw:outgoing', (xml: string) => {
    const chosen = /<auth [^>]*mechanism="([^"]+)"/.exec(xml)?.[1];
    if (chosen !== undefined) mechanism = chosen;
  });
  // The content of a carbon is emitted as a message too; report it once, as a carbon.
  const copied = new WeakSet<Message>();
  for (const direction of ['sent', 'received'] as const)
    agent.on(`carbon:${direction}`, ({ carbon }: Message) => {
      const message = carbon!.forward.message;
      copied.add(message);
      report(message, direction);
    });
  agent.on('message', (message: Message) => {
    if (message.carbon === undefined && !copied.has(message)) report(message, undefined);
  });
  agent.on('presence', (presence: Presence) => {
    const { from, type = 'available', muc, error } = presence;
    if (type === 'error') inbox.put({ kind: 'refused', from, condition: error?.condition ?? '' });
    else inbox.put(muc !== undefined ? occupantOf(presence, muc) : { kind: 'presence', from, type });
  });
  agent.on('muc:topic', ({ from, topic }: { readonly from: string; readonly topic: string }) =>
    inbox.put({ kind: 'subject', from, subject: topic }),
  );
  agent.on('muc:invite', ({ from: by, room, reason = '', type }: Record<'from' | 'room' | 'reason' | 'type', string>) =>
    inbox.put({ kind: 'invited', room, by, reason, isDirect: type === 'direct' }),
  );
  agent.on('avatar', ({ jid: from, source, avatars: [now] }: AvatarEvent) => {
    if (now !== undefined)
      inbox.put({ kind: 'avatar', from, id: now.id, by: source === 'pubsub' ? 'pep' : 'presence' });
  });
  agent.on('muc:other', ({ from = '', muc }: Message) => {
    const codes = (muc?.statusCodes ?? []).map(Number);
    if (codes.length > 0) inbox.put({ kind: 'changed', from, codes });
  });
  agent.on('roster:update', ({ roster }: { readonly roster: { readonly items?: readonly RosterItem[] } }) => {
    for (const { jid, subscription = 'none', name = '' } of roster.items ?? [])
      inbox.put({ kind: 'contact', jid, subscription, name });
  });
  agent.on('stream:management:resumed', () => inbox.put({ kind: 'back', resumed: true }));
  agent.on('session:started', () => {
    if (isKnown) inbox.put({ kind: 'back', resumed: false });
    isKnown = true;
  });
  return {
    library: 'StanzaJS',
    inbox,
    get jid() {
      return agent.jid;
    },
    get mechanism() {
      return mechanism;
    },
    async online() {
      isKnown = false;
      const failed = once(agent, 'auth:failed').then(() => {
        throw new Error('StanzaJS cannot log in');
      });
      const started = once(agent, 'session:started');
      void agent.connect();
      await Promise.race([started, failed]);
      failed.catch(() => {});
      await agent.getRoster();
      agent.sendPresence();
    },
    async offline() {
      isKnown = false;
      if (isBosh) {
        // The library writes once more after the end, and then reports no disconnection.
        const ended = once(agent, 'bosh:terminate');
        void agent.disconnect();
        await ended;
        return;
      }
      const gone = once(agent, 'disconnected');
      await agent.disconnect();
      await gone;
    },
    async destroy() {
      await agent.disconnect();
    },
    say: async (to, body, id) => void agent.sendMessage({ to, body, type: 'chat', ...(id !== undefined && { id }) }),
    subscribe: async (to) => agent.subscribe(to),
    accept: async (from) => agent.acceptSubscription(from),
    roster: async () =>
      (await agent.getRoster()).items.map(({ jid, subscription = 'none', name = '', groups = [] }) => ({
        jid,
        subscription,
        name,
        groups,
      })),
    setContact: (jid, name, groups) => agent.updateRosterItem({ jid, name, groups }),
    removeContact: (jid) => agent.removeRosterItem(jid),
    enableCarbons: () => agent.enableCarbons(),
    setCard: (fullName) => agent.publishVCard({ fullName }),
    card: async (of) => (await agent.getVCard(of)).fullName ?? '',
    setPrivate: async (name) => {
      await agent.setPrivateData('bookmarks', { rooms: [{ jid: 'room@conference.localhost', name }] });
    },
    private: async () => (await agent.getPrivateData('bookmarks')).rooms?.[0]?.name ?? '',
    history: async (query, to) => {
      const { results = [], complete = false } = await agent
        .searchHistory({ ...(to !== undefined && { to }), ...asked(query) })
        .catch(refused);
      const messages = results.map(({ id, item: { message = {} } }) => ({
        id,
        from: message.from ?? '',
        body: message.body ?? '',
        // It does not know of these.
        isTombstone: false,
      }));
      return { messages, isLast: complete };
    },
    preferences: async () => {
      const { default: usual = '', always = [], never = [] } = await agent.getHistoryPreferences();
      return { default: usual, always, never };
    },
    setPreferences: async (preferences) => {
      await agent.setHistoryPreferences(preferences).catch(refused);
    },
    ping: async (to) => void (await agent.ping(to)),
    version: async (of) => (await agent.getSoftwareVersion(of)).name ?? '',
    features: async (of) => (await agent.getDiscoInfo(of)).features,
    block: (jid) => agent.block(jid),
    unblock: (jid) => agent.unblock(jid),
    blocked: async () => (await agent.getBlocked()).jids,
    commands: async (of) => (await agent.getCommands(of)).items.map(({ node = '' }) => node),
    rooms: roomsOf(agent),
    pep: pepOf(agent),
  };
}

/** Errors of this library are stanzas. */
function refused(error: unknown): never {
  const { error: why } = error as { readonly error?: StanzaError };
  throw why?.condition === undefined ? error : new Error(why.condition);
}

function asked({ with: peer, start, text, after, before, max }: Query): object {
  const fields = text === undefined ? [] : [{ name: '{urn:xmpp:fulltext:0}fulltext', value: text }];
  return {
    ...(peer !== undefined && { with: peer }),
    ...(start !== undefined && { start }),
    form: { fields },
    paging: { max, ...(after !== undefined && { after }), ...(before !== undefined && { before }) },
  };
}

function occupantOf({ from, type = 'available', occupantId }: Presence, muc: MucInfo): Occupant {
  return {
    kind: 'occupant',
    from,
    type,
    affiliation: muc.affiliation ?? '',
    role: muc.role ?? '',
    codes: (muc.statusCodes ?? []).map(Number),
    nick: muc.nick,
    reason: muc.destroy?.reason ?? muc.reason,
    occupant: occupantId,
    isDestroyed: muc.destroy !== undefined,
  };
}

/** Bookmarks as XEP-0049 has them. */
function pepOf(agent: Agent): Pep {
  return {
    setAvatar: async (mediaType, base64) => {
      const data = Buffer.from(base64, 'base64');
      const id = createHash('sha1').update(data).digest('hex');
      await agent.publishAvatar(id, data).catch(refused);
      await agent.useAvatars([{ id, mediaType, bytes: data.length }]).catch(refused);
    },
    avatar: async (of) => {
      const { items = [] } = await agent.getItems(of, 'urn:xmpp:avatar:metadata').catch(refused);
      const { content } = await agent.getAvatar(of, items[0]?.content?.versions?.[0]?.id ?? '').catch(refused);
      return content?.data?.toString('base64') ?? '';
    },
    bookmark: async (jid, name) => void (await agent.addBookmark({ jid, name }).catch(refused)),
    unbookmark: async (jid) => void (await agent.removeBookmark(jid).catch(refused)),
    bookmarks: async () =>
      Object.fromEntries((await agent.getBookmarks().catch(refused)).map(({ jid, name = '' }) => [jid, name])),
  };
}

function roomsOf(agent: Agent): Rooms {
  const done = async (work: Promise<object>): Promise<void> => void (await work.catch(refused));
  return {
    enter: async (room, nick, { max: maxStanzas, since } = {}) => {
      const history = { ...(maxStanzas !== undefined && { maxStanzas }), ...(since !== undefined && { since }) };
      const presence = await agent.joinRoom(room, nick, { muc: { history } }).catch(refused);
      return occupantOf(presence, presence.muc!);
    },
    leave: (room, nick) => done(agent.leaveRoom(room, nick)),
    say: async (to, body) => void agent.sendMessage({ to, body, type: 'groupchat' }),
    whisper: async (room, nick, body) =>
      void agent.sendMessage({ to: `${room}/${nick}`, body, type: 'chat', muc: { type: 'info' } }),
    rename: (room, nick) => done(agent.changeNick(room, nick)),
    setSubject: async (room, subject) => agent.setSubject(room, subject),
    configure: (room, values) => {
      const fields = Object.entries(values).map(([name, value]) => ({ name, value }));
      return done(agent.configureRoom(room, { fields }));
    },
    configuration: async (room) => {
      const { fields = [] } = await agent.getRoomConfig(room).catch(refused);
      return Object.fromEntries(
        fields.map(({ name = '', value }) => [
          name,
          value === true ? '1' : value === false ? '0' : String(value ?? ''),
        ]),
      );
    },
    invite: async (room, to, reason) => agent.invite(room, { to, reason }),
    inviteDirectly: async (room, to, reason) => agent.directInvite(room, to, { reason }),
    kick: (room, nick, reason) => done(agent.kick(room, nick, reason)),
    affiliate: (room, jid, affiliation, reason) => done(agent.setRoomAffiliation(room, jid, affiliation, reason)),
    affiliated: async (room, affiliation) =>
      (await agent.getRoomMembers(room, { affiliation }).catch(refused)).muc.users?.map(({ jid = '' }) => jid) ?? [],
    isIn: (room, nick) =>
      agent.ping(`${room}/${nick}`).then(
        () => true,
        (error: { readonly error?: StanzaError }) => {
          if (error.error?.condition === 'not-acceptable') return false;
          throw error;
        },
      ),
    name: async (room) => (await agent.getDiscoInfo(room).catch(refused)).identities[0]?.name ?? '',
    list: async (service) => (await agent.getDiscoItems(service)).items.map(({ jid = '' }) => jid),
    setPhoto: (to, mediaType, base64) => {
      const photo = { type: 'photo', mediaType, data: base64 };
      return done(agent.sendIQ({ to, type: 'set', vcard: { records: [photo] } }));
    },
    photo: async (room) => {
      const { records = [] } = await agent.getVCard(room).catch(refused);
      return records.find(({ type }) => type === 'photo')?.data ?? '';
    },
    destroy: (room, reason) => done(agent.destroyRoom(room, { reason })),
  };
}
