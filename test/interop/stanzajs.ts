/** StanzaJS (`stanza`): WebSocket; SCRAM-SHA-256, SCRAM-SHA-1, PLAIN; stream management. */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { type Account, type Device, Inbox } from './device.js';
import { library } from './libraries.js';

interface Presence {
  readonly from: string;
  readonly type?: string;
}

interface Message {
  readonly from?: string;
  readonly type?: string;
  readonly body?: string;
  readonly delay?: object;
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
  getVCard(jid: string): Promise<{ readonly fullName?: string }>;
  setPrivateData(key: 'bookmarks', data: object): Promise<object>;
  getPrivateData(key: 'bookmarks'): Promise<{ readonly rooms?: readonly { readonly name?: string }[] }>;
  ping(jid: string): Promise<object>;
  getSoftwareVersion(jid: string): Promise<{ readonly name?: string }>;
  getDiscoInfo(jid: string): Promise<{ readonly features: readonly string[] }>;
  block(jid: string): Promise<void>;
  unblock(jid: string): Promise<void>;
  getBlocked(): Promise<{ readonly jids: readonly string[] }>;
  searchHistory(options: object): Promise<{
    readonly results?: readonly { readonly item: { readonly message?: Message } }[];
  }>;
  getCommands(jid: string): Promise<{ readonly items: readonly { readonly node?: string }[] }>;
}

export interface StanzaJsOptions extends Account {
  /** ws://host:port/path or wss://… */
  readonly service: string;
  /** Not these mechanisms. */
  readonly without?: readonly string[];
}

export async function stanzaJs(options: StanzaJsOptions): Promise<Device> {
  const { bare, resource, password, service, without = [] } = options;
  const { createClient } = await library<{ createClient(options: object): Agent }>('stanza');
  const inbox = new Inbox(`${bare}/${resource} (StanzaJS)`);
  const agent = createClient({
    jid: bare,
    resource,
    password,
    server: 'localhost',
    transports: { websocket: service, bosh: false },
    autoReconnect: true,
    maxReconnectBackoff: 0.2,
  });
  for (const name of without) agent.sasl.disable(name);
  let mechanism: string | undefined;
  let isKnown = false;
  const tell = (message: Message, carbon: 'sent' | 'received' | undefined): void => {
    const { from = '', type, body, delay } = message;
    if (body === undefined || type === 'error') return;
    inbox.put({ kind: 'message', from, body, carbon, delayed: carbon === undefined && delay !== undefined });
  };
  // What it writes while the connection breaks fails in nobody's hands, and then it does not notice that the connection
  // is gone.
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
    const chosen = /^<auth [^>]*mechanism="([^"]+)"/.exec(xml)?.[1];
    if (chosen !== undefined) mechanism = chosen;
  });
  // What a carbon copies is emitted as a message too: it is told once, as a carbon.
  const copied = new WeakSet<Message>();
  for (const direction of ['sent', 'received'] as const)
    agent.on(`carbon:${direction}`, ({ carbon }: Message) => {
      const message = carbon!.forward.message;
      copied.add(message);
      tell(message, direction);
    });
  agent.on('message', (message: Message) => {
    if (message.carbon === undefined && !copied.has(message)) tell(message, undefined);
  });
  agent.on('presence', ({ from, type = 'available' }: Presence) => inbox.put({ kind: 'presence', from, type }));
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
      const gone = once(agent, 'disconnected');
      await agent.disconnect();
      await gone;
    },
    async destroy() {
      await agent.disconnect();
    },
    say: async (to, body) => void agent.sendMessage({ to, body, type: 'chat' }),
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
    archive: async (peer) =>
      ((await agent.searchHistory({ with: peer, paging: { max: 50 } })).results ?? []).map(
        ({ item }) => item.message?.body ?? '',
      ),
    ping: async (to) => void (await agent.ping(to)),
    version: async (of) => (await agent.getSoftwareVersion(of)).name ?? '',
    features: async (of) => (await agent.getDiscoInfo(of)).features,
    block: (jid) => agent.block(jid),
    unblock: (jid) => agent.unblock(jid),
    blocked: async () => (await agent.getBlocked()).jids,
    commands: async (of) => (await agent.getCommands(of)).items.map(({ node = '' }) => node),
  };
}
