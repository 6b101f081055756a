/** What an administrator has to know about the cluster: for `waxwing check`. Changes nothing. */
import { storageError } from './errors.js';
import { inspect } from './schema.js';
import { Session } from './session.js';
import { type Settings, sessionOf } from './settings.js';

interface Node {
  readonly address: string;
  readonly version: string | undefined;
}

export interface Examined {
  /** Names the cluster and the keyspace. */
  readonly where: string;
  readonly up: readonly Node[];
  readonly down: readonly Node[];
  readonly isKeyspace: boolean;
  /** Copies by datacenter; empty if the keyspace does not exist. */
  readonly replication: readonly (readonly [datacenter: string, copies: number])[];
  readonly isDurable: boolean;
  /** Why the server cannot use the keyspace. */
  readonly problems: readonly string[];
}

/** Rejects with StorageError if no node can be reached. */
export async function examine(settings: Settings): Promise<Examined> {
  const session = await Session.open(await sessionOf(settings, () => {}));
  try {
    const { isKeyspace, problems } = await inspect(session);
    const [row] = await session.read(
      'SELECT replication, durable_writes FROM system_schema.keyspaces WHERE keyspace_name = ?',
      [settings.keyspace],
    );
    const { class: _, ...factors } = (row?.replication ?? {}) as Record<string, string>;
    const { hosts } = session;
    return {
      where: session.where,
      up: hosts.filter(({ isUp }) => isUp),
      down: hosts.filter(({ isUp }) => !isUp),
      isKeyspace,
      replication: Object.entries(factors).map(([name, copies]) => [name, Number.parseInt(copies, 10) || 0]),
      isDurable: row?.durable_writes !== false,
      problems,
    };
  } catch (error) {
    throw storageError(error, session.where);
  } finally {
    await session.close();
  }
}
