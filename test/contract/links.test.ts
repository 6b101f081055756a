import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import type { Proof } from '../../src/server/cluster/proof.js';
import { TlsNetwork } from '../../src/server/cluster/tls-network.js';
import type { Network } from '../../src/server/cluster/wire.js';
import { mulberry32 } from '../../src/storage/wrappers.js';
import { CertificateAuthority } from '../certificate-authority.js';
import { linkContract, type NetworkUnderTest } from './links.js';

linkContract('nodes of one process', (faults) => {
  const network =
    faults === undefined
      ? new LocalNetwork()
      : new LocalNetwork({ random: mulberry32(faults.seed), delays: 0.2, cuts: 0.05 });
  return { network, addresses: ['a', 'b'], cut: () => network.cut() };
});

const authority = new CertificateAuthority('cluster');
const { certificate, key } = authority.issues(['localhost']);
const proofs: Readonly<Record<string, Proof>> = {
  'a secret': { secrets: ['0123456789abcdef0123456789abcdef'] },
  certificates: { certificate, key, authorities: authority.pem.certificate },
};

for (const [what, proof] of Object.entries(proofs))
  linkContract(`TLS with ${what}`, async (): Promise<NetworkUnderTest> => {
    const options = { host: '127.0.0.1', port: 0, advertised: 'localhost', proof, warn: () => {} };
    const ends = [await TlsNetwork.open(options), await TlsNetwork.open(options)] as const;
    const network: Network = {
      listen: (address, ...more) => ends.find((end) => end.address === address)!.listen(address, ...more),
      dial: (...args) => ends[0].dial(...args),
    };
    return {
      network,
      addresses: [ends[0].address, ends[1].address],
      cut: () => ends[0].cut(),
      close: async () => void (await Promise.all(ends.map((end) => end.close()))),
    };
  });
