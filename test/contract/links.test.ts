import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { mulberry32 } from '../../src/storage/wrappers.js';
import { linkContract } from './links.js';

linkContract('nodes of one process', (faults) => {
  const network =
    faults === undefined
      ? new LocalNetwork()
      : new LocalNetwork({ random: mulberry32(faults.seed), delays: 0.2, cuts: 0.05 });
  return { network, addresses: ['a', 'b'], cut: () => network.cut() };
});
