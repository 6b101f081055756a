import { NS } from '../../stanza/ns.js';
import type { Finding, Subject } from './finding.js';

/** Requests by which a component could take over the host. */
const powers: Readonly<Record<string, string>> = {
  [NS.commands]: 'may run the commands of administrators',
  [NS.register]: 'may change passwords and delete accounts',
};

/** Checks what components may do for accounts (XEP-0356): nothing that an administrator is likely to regret. */
export function checkComponents({ config }: Pick<Subject, 'config'>): Finding[] {
  return Object.entries(config.components).flatMap(([component, { privileges, allow_from }]) => {
    const hosts = Object.entries(privileges);
    const found = hosts.flatMap(([host, { iq }]) =>
      Object.entries(powers)
        .filter(([ns]) => iq[ns] === 'set' || iq[ns] === 'both')
        .map(
          ([ns, power]): Finding => ({
            area: 'configuration',
            level: 'warning',
            what: `the component ${component} ${power} of ${host}`,
            why: `Its privileges include requests of ${ns}, as any account of the host.`,
            advice: `Remove ${ns} from components."${component}".privileges."${host}".iq, unless the component needs it.`,
          }),
        ),
    );
    const remote = allow_from.filter((network) => !isLoopback(network));
    if (hosts.length === 0 || remote.length === 0) return found;
    return [
      ...found,
      {
        area: 'configuration',
        level: 'warning',
        what: `the component ${component}, which acts for accounts, may connect from ${remote.join(', ')}`,
        why: 'The stream is not encrypted: anyone on the path can read everything, and act for the accounts.',
        advice: `Use a tunnel, and allow only its end in components."${component}".allow_from.`,
      },
    ];
  });
}

const isLoopback = (network: string): boolean => network.startsWith('127.') || /^::1(\/128)?$/.test(network);
