/** `waxwing session …`: connected clients. */
import type { SessionData } from '../nodes.js';
import { columns, time } from '../words.js';
import { CommandError, serverCommand } from './command.js';

export function sessionTable(sessions: readonly SessionData[]): string {
  const inCluster = sessions.some(({ node }) => node !== null);
  const rows = sessions.map(({ jid, since, connected, transport, secure, address, mechanism, priority, node }) => [
    jid,
    time(since),
    connected ? `${transport}${secure ? '' : ' (unencrypted)'}` : 'hibernating',
    address ?? '',
    mechanism,
    priority === null ? '' : String(priority),
    ...(inCluster ? [node ?? ''] : []),
  ]);
  return columns(rows, ['SESSION', 'SINCE', 'OVER', 'FROM', 'LOGIN', 'PRIORITY', ...(inCluster ? ['NODE'] : [])]);
}

export const list = serverCommand({
  name: 'session list',
  summary: 'Lists sessions',
  reads: true,
  parameters: {
    jid: { type: 'account', positional: true, description: 'Only sessions of this account.' },
    limit: { type: 'count', description: 'Most sessions to list (1000).' },
  },
  async run({ server: { nodes } }, { jid, limit = 1000 }) {
    const found = await answered(nodes.sessions(jid, limit + 1));
    return { sessions: found.slice(0, limit), more: found.length > limit };
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
  async run({ server }, { jid, reason }) {
    const kicked = await answered(server.nodes.end(jid, reason));
    if (kicked.length === 0) throw new CommandError('not-found', `no session of ${jid.full}`);
    return { kicked };
  },
  text: ({ kicked }) => kicked.map((jid) => `Ended ${jid}.`).join('\n'),
});

/** Rejects with CommandError if a node of the cluster does not answer. */
export async function answered<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'StanzaError') throw error;
    throw new CommandError('failed', 'a node of the cluster did not answer; try again later');
  }
}
