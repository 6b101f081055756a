/** Every library over every transport that it has: how a device of it gets to the server. */
import type { ListenerKind } from '../../src/server/listeners.js';
import type { Account, Device } from './device.js';
import { slixmpp } from './slixmpp.js';
import { certificate } from './stage.js';
import { stanzaJs } from './stanzajs.js';
import { strophe } from './strophe.js';
import { xmppJs } from './xmppjs.js';

export interface Way {
  readonly name: string;
  readonly program: 'javascript' | 'slixmpp';
  readonly listener: ListenerKind;
  /** Its default mechanism. */
  readonly mechanism: string;
  /** It binds by XEP-0386, and so is not sent offline messages but finds them in the archive. */
  readonly readsArchive?: boolean;
  /** It resumes with a count that is too low, and gets stanzas again: xmpp.js does not count answers to its IQs. */
  readonly miscounts?: boolean;
  /** `port`: of the listener, or of a relay to it. */
  device(account: Account, port: number): Device | Promise<Device>;
}

const path = '/xmpp-websocket';

export const ways = {
  xmppJsStartTls: {
    name: 'xmpp.js, STARTTLS',
    program: 'javascript',
    listener: 'c2s',
    mechanism: 'SCRAM-SHA-1',
    readsArchive: true,
    miscounts: true,
    device: (account, port) => xmppJs({ ...account, service: `xmpp://localhost:${port}` }),
  },
  xmppJsTls: {
    name: 'xmpp.js, direct TLS',
    program: 'javascript',
    listener: 'c2s_tls',
    mechanism: 'SCRAM-SHA-1',
    readsArchive: true,
    miscounts: true,
    device: (account, port) => xmppJs({ ...account, service: `xmpps://localhost:${port}` }),
  },
  xmppJsWebSocket: {
    name: 'xmpp.js, WebSocket',
    program: 'javascript',
    listener: 'https',
    mechanism: 'SCRAM-SHA-1',
    readsArchive: true,
    miscounts: true,
    device: (account, port) => xmppJs({ ...account, service: `wss://localhost:${port}${path}` }),
  },
  stanzaJs: {
    name: 'StanzaJS, WebSocket',
    program: 'javascript',
    listener: 'https',
    mechanism: 'SCRAM-SHA-256',
    device: (account, port) => stanzaJs({ ...account, service: `wss://localhost:${port}${path}` }),
  },
  strophe: {
    name: 'Strophe.js, WebSocket',
    program: 'javascript',
    listener: 'https',
    mechanism: 'SCRAM-SHA-512',
    device: (account, port) => strophe({ ...account, service: `wss://localhost:${port}${path}` }),
  },
  slixmppStartTls: {
    name: 'slixmpp, STARTTLS',
    program: 'slixmpp',
    listener: 'c2s',
    mechanism: 'SCRAM-SHA-512',
    device: (account, port) => slixmpp({ ...account, port, tls: 'starttls', certificate }),
  },
  slixmppTls: {
    name: 'slixmpp, direct TLS',
    program: 'slixmpp',
    listener: 'c2s_tls',
    mechanism: 'SCRAM-SHA-512',
    device: (account, port) => slixmpp({ ...account, port, tls: 'direct', certificate }),
  },
} as const satisfies Record<string, Way>;
