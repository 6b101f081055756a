/** `waxwing component …`: external components (XEP-0114) and their connections. */
import { columns, time } from '../words.js';
import { CommandError, serverCommand } from './command.js';

export const list = serverCommand({
  name: 'component list',
  summary: 'Lists external components and their connections',
  reads: true,
  run: ({ server }) => ({
    components: server.components.figures.map(({ connections, ...rest }) => ({
      ...rest,
      connections: connections.map(({ address, since }) => ({ address, since: new Date(since).toISOString() })),
    })),
  }),
  text({ components }) {
    if (components.length === 0) return 'The configuration has no components.';
    const rows = components.flatMap(({ domain, connections, received, sent, waitingBytes }) => {
      const counts = [String(received), String(sent), String(waitingBytes)];
      if (connections.length === 0) return [[domain, 'not connected', '', ...counts]];
      return connections.map(({ address, since }, at) =>
        at === 0 ? [domain, address, time(since), ...counts] : ['', address, time(since), '', '', ''],
      );
    });
    return columns(rows, ['COMPONENT', 'FROM', 'SINCE', 'RECEIVED', 'SENT', 'BYTES QUEUED']);
  },
});

export const kick = serverCommand({
  name: 'component kick',
  summary: 'Closes the connections of an external component',
  details: 'The component can connect again. To prevent this, change its secret and reload.',
  parameters: {
    domain: { type: 'text', positional: true, required: true, description: 'Domain of the component.' },
  },
  run({ server }, { domain }) {
    const ended = server.components.kick(domain);
    if (ended === undefined) throw new CommandError('not-found', `the configuration has no component ${domain}`);
    return { domain, ended };
  },
  text: ({ domain, ended }) =>
    ended === 0
      ? `${domain} was not connected.`
      : `${ended} ${ended === 1 ? 'connection' : 'connections'} of ${domain} ended.`,
});
