/** slixmpp (Python): STARTTLS and direct TLS; SCRAM, with channel binding where Python can. A process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Account, type Device, type Happening, Inbox, type Pep, type Rooms } from './device.js';
import { installed, sources } from './libraries.js';
import { patience, within } from './server.js';

export interface SlixmppOptions extends Account {
  readonly port: number;
  readonly tls: 'starttls' | 'direct';
  /** The certificate to trust, in PEM. */
  readonly certificate: string;
  /** Only this mechanism. Default: the library's preference. */
  readonly only?: string;
  /** No TLS 1.3. */
  readonly tls12?: boolean;
  /** It encrypts by OMEMO, and trusts whom it sees first. */
  readonly omemo?: boolean;
}

type Said = { readonly id: number; readonly result?: unknown; readonly error?: string };

const python = join(installed, 'venv/bin/python');
const program = join(sources, 'slixmpp_device.py');

export function slixmpp(options: SlixmppOptions): Device {
  const inbox = new Inbox(`${options.bare}/${options.resource} (slixmpp)`);
  const waiting = new Map<number, (sent: Said) => void>();
  const complaints: string[] = [];
  let child: ChildProcess | undefined;
  let requests = 0;
  let known: { readonly jid: string; readonly mechanism: string } | undefined;

  const start = (): ChildProcess => {
    const started = spawn(python, [program, JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    createInterface(started.stdout).on('line', (line) => {
      const sent = JSON.parse(line) as Said | { readonly happening: Happening };
      if ('happening' in sent) {
        inbox.put(sent.happening);
        return;
      }
      waiting.get(sent.id)?.(sent);
      waiting.delete(sent.id);
    });
    createInterface(started.stderr).on('line', (line) => complaints.push(line));
    return started;
  };

  const ask = <T>(what: string, ...args: readonly unknown[]): Promise<T> => {
    child ??= start();
    const id = ++requests;
    const answered = new Promise<T>((resolve, reject) => {
      waiting.set(id, ({ result, error }) =>
        error === undefined
          ? resolve(result as T)
          : reject(new Error(`slixmpp: ${what}: ${error}\n${complaints.slice(-20).join('\n')}`)),
      );
    });
    child.stdin!.write(`${JSON.stringify({ id, do: what, args })}\n`);
    return within(patience, `slixmpp: ${what}`, () => answered).catch((error: unknown) => {
      throw new Error(`${error}\n${complaints.slice(-20).join('\n')}`, { cause: error });
    });
  };

  return {
    library: 'slixmpp',
    inbox,
    get jid() {
      return known?.jid ?? '';
    },
    get mechanism() {
      return known?.mechanism;
    },
    async online() {
      known = await ask('online');
    },
    offline: () => ask('offline'),
    async destroy() {
      if (child === undefined || child.exitCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
    say: (to, body, id) => ask('say', to, body, id ?? null),
    ...(options.omemo === true && {
      sayEncrypted: (to: string, body: string, people?: readonly string[]) =>
        ask<void>('sayEncrypted', to, body, people ?? null),
    }),
    retract: (to, id) => ask('retract', to, id),
    subscribe: (to) => ask('subscribe', to),
    accept: (from) => ask('accept', from),
    roster: () => ask('roster'),
    setContact: (jid, name, groups) => ask('setContact', jid, name, groups),
    removeContact: (jid) => ask('removeContact', jid),
    enableCarbons: () => ask('enableCarbons'),
    setCard: (name) => ask('setCard', name),
    card: (of) => ask('card', of),
    setPrivate: (text) => ask('setPrivate', text),
    private: () => ask('private'),
    history: ({ start, ...query }, of) => ask('history', { ...query, start: start?.toISOString() }, of ?? null),
    preferences: () => ask('preferences'),
    setPreferences: (preferences) => ask('setPreferences', preferences),
    ping: (to) => ask('ping', to),
    version: (of) => ask('version', of),
    features: (of) => ask('features', of),
    block: (jid) => ask('block', jid),
    unblock: (jid) => ask('unblock', jid),
    blocked: () => ask('blocked'),
    commands: (of) => ask('commands', of),
    rooms: roomsOf(ask),
    pep: pepOf(ask),
  };
}

type Ask = <T>(what: string, ...args: readonly unknown[]) => Promise<T>;

/** Bookmarks as XEP-0048 has them, by PEP. */
function pepOf(ask: Ask): Pep {
  return {
    setAvatar: (mediaType, base64) => ask('setAvatar', mediaType, base64),
    avatar: (of) => ask('avatar', of),
    bookmark: (room, name) => ask('bookmark', room, name),
    unbookmark: (room) => ask('unbookmark', room),
    bookmarks: () => ask('bookmarks'),
    setCard4: (name) => ask('setCard4', name),
    card4: (of) => ask('card4', of),
  };
}

function roomsOf(ask: Ask): Rooms {
  return {
    enter: (room, nick, { max, since } = {}) => ask('enter', room, nick, max ?? null, since?.toISOString() ?? null),
    leave: (room, nick) => ask('leave', room, nick),
    say: (room, body) => ask('sayInRoom', room, body),
    whisper: (room, nick, body) => ask('say', `${room}/${nick}`, body),
    rename: (room, nick) => ask('rename', room, nick),
    setSubject: (room, subject) => ask('setSubject', room, subject),
    configure: (room, values) => ask('configure', room, values),
    configuration: (room) => ask('configuration', room),
    invite: (room, jid, reason) => ask('invite', room, jid, reason),
    inviteDirectly: (room, jid, reason) => ask('inviteDirectly', room, jid, reason),
    kick: (room, nick, reason) => ask('kick', room, nick, reason),
    affiliate: (room, jid, affiliation, reason = '') => ask('affiliate', room, jid, affiliation, reason),
    affiliated: (room, affiliation) => ask('affiliated', room, affiliation),
    moderate: (room, id, reason) => ask('moderate', room, id, reason),
    isIn: (room, nick) => ask('isIn', room, nick),
    name: (room) => ask('name', room),
    list: (service) => ask('list', service),
    setPhoto: (room, mediaType, base64) => ask('setPhoto', room, mediaType, base64),
    photo: (room) => ask('photo', room),
    destroy: (room, reason) => ask('destroyRoom', room, reason),
  };
}
