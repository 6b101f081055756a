/** Commands of the administrator over the admin socket of a server in this process. */
import { join } from 'node:path';
import { after } from 'node:test';
import { call } from '../../src/server/admin/client.js';
import type { RawValues } from '../../src/server/admin/command.js';
import { servedCommands } from '../../src/server/admin/served.js';
import { openAdminSocket } from '../../src/server/admin/socket.js';
import type { Server } from '../../src/server/index.js';
import type { Stage } from './dialogue.js';

export interface Admin {
  /** Runs a command. Resolves with its data, rejects with CommandError. */
  ask<T>(command: string, values?: RawValues): Promise<T>;
  /** The same as text for a terminal. */
  read(command: string, values?: RawValues): Promise<string>;
  /** What the command `export` writes. */
  exported(values?: RawValues): Promise<string>;
  /** Progress reports of the commands. */
  readonly progress: readonly string[];
}

let sockets = 0;
const opened = new WeakMap<Server, Promise<Admin>>();

/** The same for each call with a server. */
export function adminOf({ server, folder }: Pick<Stage, 'server' | 'folder'>): Promise<Admin> {
  const known = opened.get(server) ?? open(server, folder);
  opened.set(server, known);
  return known;
}

async function open(server: Server, folder: string): Promise<Admin> {
  // The nodes of a stage share its folder.
  const path = join(folder, `commands-${++sockets}.sock`);
  const socket = await openAdminSocket(
    path,
    {
      server,
      launch: { file: undefined, data: undefined, folder },
      config: server.config,
      modules: server.modules,
      accounts: async () => server.accounts,
      opened: async () => server,
      shutdown: () => server.stop(),
    },
    server.logs.area('admin'),
  );
  after(() => socket.close());
  const progress: string[] = [];
  const ask = (command: string, values: RawValues = {}) => call(path, command, values, (text) => progress.push(text));
  return {
    progress,
    ask: async <T>(command: string, values?: RawValues) => (await ask(command, values)) as T,
    async exported(values = {}) {
      let written = '';
      await call(
        path,
        'export',
        values,
        () => {},
        async (text) => {
          written += text;
        },
      );
      return written;
    },
    async read(command, values) {
      const data = await ask(command, values);
      const { text } = servedCommands(server.modules).find(({ name }) => name === command)!;
      return text(data as never);
    },
  };
}
