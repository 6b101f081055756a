/** `waxwing session …`: connected clients. */
import type { Session } from '../routing/session.js';
import { columns, time } from '../words.js';
import { CommandError, serverCommand } from './command.js';

export interface SessionData {
  readonly jid: string;
  /** ISO 8601. */
  readonly since: string;
  /** False if it hibernates (XEP-0198). */
  readonly connected: boolean;
  readonly transport: string | null;
  readonly secure: boolean | null;
  readonly address: string | null;
  /** The SASL mechanism. */
  readonly mechanism: string;
  /** Null if unavailable. */
  readonly priority: number | null;
}

export function describeSession(session: Session): SessionData {
  const { jid, since, connection, mechanism } = session;
  return {
    jid: jid.full,
    since: new Date(since).toISOString(),
    connected: connection !== undefined,
    transport: connection?.kind ?? null,
    secure: connection?.secure ?? null,
    address: connection?.remoteAddress ?? null,
    mechanism,
    priority: session.available ? session.priority : null,
  };
}

export function sessionTable(sessions: readonly SessionData[]): string {
  const rows = sessions.map(({ jid, since, connected, transport, secure, address, mechanism, priority }) => [
    jid,
    time(since),
    connected ? `${transport}${secure ? '' : ' (unencrypted)'}` : 'hibernating',
    address ?? '',
    mechanism,
    priority === null ? '' : String(priority),
  ]);
  return columns(rows, ['SESSION', 'SINCE', 'OVER', 'FROM', 'LOGIN', 'PRIORITY']);
}

export const list = serverCommand({
  name: 'session list',
  summary: 'Lists sessions',
  reads: true,
  parameters: {
    jid: { type: 'account', positional: true, description: 'Only sessions of this account.' },
    limit: { type: 'count', description: 'Most sessions to list (1000).' },
  },
  run({ server: { sessions } }, { jid, limit = 1000 }) {
    const found: SessionData[] = [];
    const all = jid === undefined ? sessions.all() : sessions.of(jid.bare);
    for (const session of all) {
      if (found.length === limit) return { sessions: found, more: true };
      found.push(describeSession(session));
    }
    return { sessions: found, more: false };
  },
  text: ({ sessions, more }) =>
    sessions.length === 0 ? 'No sessions.' : sessionTable(sessions) + (more ? '\nThere are more.' : ''),
});

export const kick = serverCommand({
  name: 'session kick',
  summary: 'Ends a session, or all sessions of an account',
  parameters: {
    jid: {
      type: 'address',
      positional: true,
      required: true,
      description: 'Full JID of a session, or bare JID of an account for all of its sessions.',
    },
    reason: { type: 'text', description: 'The reason sent to the client.' },
  },
  run({ server }, { jid, reason }) {
    const one = server.sessions.find(jid);
    const sessions = jid.isBare ? [...server.sessions.of(jid.bare)] : one === undefined ? [] : [one];
    if (sessions.length === 0) throw new CommandError('not-found', `no session of ${jid.full}`);
    for (const session of sessions) server.kick(session, reason);
    return { kicked: sessions.map((session) => session.jid.full) };
  },
  text: ({ kicked }) => kicked.map((jid) => `Ended ${jid}.`).join('\n'),
});
