/** Makes a server the node of a cluster that its configuration says. */
import { TlsNetwork } from './cluster/tls-network.js';
import { parseListenAddress } from './config/address.js';
import { readProof } from './config/cluster.js';
import { isEnabled } from './config/load.js';
import type { Config } from './config/schema.js';
import { ListenError } from './listeners.js';
import type { Logs } from './logging.js';
import type { ClusterOptions } from './membership.js';

/**
 * Opens the port for links. Undefined if the configuration names no node. Rejects with ConfigError or ListenError.
 */
export async function nodeOfCluster({ cluster }: Config, logs: Logs): Promise<ClusterOptions | undefined> {
  const { node, listen, advertise, unreachable_seconds } = cluster;
  if (node === '') return undefined;
  const { host, port } = parseListenAddress(listen)!;
  const log = logs.area('cluster');
  const network = await TlsNetwork.open({
    host,
    port,
    advertised: advertise === '' ? undefined : advertise,
    proof: readProof(cluster),
    warn: (message) => log.warn(message),
  }).catch((error: NodeJS.ErrnoException) => {
    if (error.name === 'ConfigError' || error.code === undefined) throw error;
    throw new ListenError(`cluster.listen ${listen}: cannot listen (${error.code})`, { cause: error });
  });
  return {
    node,
    address: network.address,
    network,
    unreachableMs: unreachable_seconds * 1000,
    close: () => network.close(),
  };
}

/** What has to be alike at all nodes. */
export const settingsOfAll = ({
  hosts,
  components,
  storage: { files, s3 },
}: Config): Readonly<Record<string, string>> => ({
  hosts: Object.keys(hosts).sort().join(' '),
  components: Object.keys(components).sort().join(' '),
  // Endpoints may have other names from other places.
  ...(files.driver === 's3' && { 'storage.s3': `${s3.bucket}/${s3.prefix}` }),
});

/** The folder of uploaded files, which has to be one at all nodes. Undefined if there are none. */
export const sharedFolderOf = (config: Config): string | undefined =>
  isEnabled(config, 'upload') && config.storage.files.driver === 'folder' ? config.storage.files.folder : undefined;
