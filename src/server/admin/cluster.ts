/** `waxwing cluster …`: the nodes of the cluster. */

import type { MemberData } from '../nodes.js';
import type { Server } from '../server.js';
import { columns, count, duration, megabytes } from '../words.js';
import { CommandError, localCommand, serverCommand } from './command.js';
import { withoutLossy } from './without-lossy.js';

const { setTimeout } = globalThis;

/** Ms between two looks at a node that hands over its accounts. */
const pause = 200;

/** Throws CommandError if the server is no node of a cluster. */
function demandNode({ node }: Server): NonNullable<Server['node']> {
  if (node !== undefined) return node;
  throw new CommandError('failed', 'the server is not a node of a cluster: cluster.node is not set');
}

export const status = serverCommand({
  name: 'cluster status',
  summary: 'Lists the nodes of the cluster',
  reads: true,
  async run({ server }) {
    const { name, view } = demandNode(server);
    return { node: name.id, cluster: view.cluster, version: view.version, members: await server.nodes.members() };
  },
  text({ node, version, members }) {
    const total = members.reduce((sum, { slots }) => sum + slots, 0);
    const rows = members.map(({ node: id, state, slots, address, version: program, about }) => [
      id === node ? `${id} (this one)` : id,
      state,
      `${Math.round((100 * slots) / Math.max(1, total))} %`,
      about === null ? '' : String(about.sessions),
      about === null ? '' : String(about.connections),
      about === null ? '' : duration(about.uptimeSeconds),
      about === null ? '' : megabytes(about.rss),
      program,
      address,
    ]);
    const head = ['NODE', 'STATE', 'ACCOUNTS', 'SESSIONS', 'CONNECTIONS', 'RUNNING', 'MEMORY', 'VERSION', 'ADDRESS'];
    return `${columns(rows, head)}\n${count(members.length, 'node')}, view ${version}.`;
  },
});

const name = { type: 'text', positional: true, description: 'Name of the node (cluster.node).' } as const;

async function marked(
  server: Server,
  id: string,
  isLeaving: boolean,
  isDone: (member: MemberData) => boolean,
  report: (slots: number) => void,
): Promise<{ readonly node: string }> {
  const node = demandNode(server);
  const { members } = node.view;
  if (!members.some((one) => one.id === id))
    throw new CommandError('not-found', `no node of the cluster is named ${id}`);
  if (isLeaving && members.every((one) => one.isLeaving || one.id === id))
    throw new CommandError('failed', `${id} is the only node that serves: nobody could take over its accounts`);
  await node.mark(id, isLeaving);
  for (;;) {
    const member = (await server.nodes.members()).find((one) => one.node === id);
    if (member === undefined) throw new CommandError('failed', `${id} has left the cluster`);
    if (isDone(member)) return { node: id };
    report(member.slots);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

export const drain = serverCommand({
  name: 'cluster drain',
  summary: 'Moves all accounts and rooms of a node to the others, before it is stopped',
  details:
    'Their clients notice nothing: those that are connected to the node stay connected, and are served by the others through it. /readyz of the node reports 503, so that a load balancer sends it no more clients. Then stop it (waxwing stop); its clients resume through other nodes. When it is started again it takes its share. To undo this without stopping it: waxwing cluster join.',
  parameters: { node: { ...name, required: true } },
  run: ({ server, progress }, { node }) =>
    marked(
      server,
      node,
      true,
      ({ slots }) => slots === 0,
      (slots) => progress(`${count(slots, 'slot')} of 4096 to move`),
    ),
  text: ({ node }) => `${node} is drained: it can be stopped.`,
});

export const join = serverCommand({
  name: 'cluster join',
  summary: 'Lets a node that was drained take its share again',
  parameters: { node: { ...name, required: true } },
  run: ({ server, progress }, { node }) =>
    marked(
      server,
      node,
      false,
      ({ slots }) => slots > 0,
      () => progress('waiting for its share'),
    ),
  text: ({ node }) => `${node} serves again.`,
});

export const remove = localCommand({
  name: 'cluster remove',
  summary: 'Removes a node that is gone for good, while no node runs',
  details:
    'Running nodes remove one that is gone by themselves. Only if no node runs, and one of them cannot be started again nor its machine be reached, the others wait for it when they start: this removes it. If it is running after all, it can write nothing any more, and stops.',
  parameters: { node: { ...name, required: true } },
  async run(terminal, { node }) {
    const { loadConfiguration } = await import('./configuration.js');
    const { file } = await terminal.places();
    const { config } = await loadConfiguration(file, terminal.given.data);
    if (config.cluster.node === '') throw new CommandError('configuration', 'cluster.node is not set');
    const { openStorage } = await import('../../storage/open.js');
    const { removeMember } = await import('../cluster/remove.js');
    const storage = await openStorage(withoutLossy(config), {
      observe: () => {},
      warn: (message) => terminal.progress(message),
    });
    try {
      if (await removeMember(storage, node)) return { node };
      throw new CommandError('not-found', `no node of the cluster is named ${node}`);
    } finally {
      await storage.close();
    }
  },
  text: ({ node }) => `${node} is removed.`,
});
