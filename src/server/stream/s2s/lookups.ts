/** DNS queries for streams to other servers and for `waxwing check`. */
import { Resolver, type SrvRecord } from 'node:dns';

/** Each query resolves with an empty list if there is no such record, and rejects if DNS does not answer. */
export interface DnsResolver {
  srv(name: string): Promise<readonly SrvRecord[]>;
  /** IPv6 and IPv4 addresses alternately, IPv6 first (RFC 8305 §4). Rejects only if both queries fail. */
  addresses(name: string): Promise<readonly string[]>;
}

/** The timeout of one try of a query, in ms, and the number of tries. */
const timeout = 2000;
const tries = 2;

/** Queries these servers ("192.0.2.1", "192.0.2.1:53"), or those of the system if the list is empty. */
export function dnsResolver(servers: readonly string[] = []): DnsResolver {
  const resolver = new Resolver({ timeout, tries });
  if (servers.length > 0) resolver.setServers(servers);
  const ask = <T>(look: (done: (error: NodeJS.ErrnoException | null, found: T[]) => void) => void) =>
    new Promise<T[]>((resolve, reject) =>
      look((error, found) => {
        if (error === null) resolve(found);
        else if (error.code === 'ENODATA' || error.code === 'ENOTFOUND') resolve([]);
        else reject(error);
      }),
    );
  return {
    srv: (name) => ask((done) => resolver.resolveSrv(name, done)),
    addresses: async (name) => {
      // Some DNS servers fail for one of the two record types.
      const [v6, v4] = await Promise.allSettled([
        ask<string>((done) => resolver.resolve6(name, done)),
        ask<string>((done) => resolver.resolve4(name, done)),
      ]);
      if (v6.status === 'rejected' && v4.status === 'rejected') throw v4.reason;
      return inTurn(answered(v6), answered(v4));
    },
  };
}

const answered = (result: PromiseSettledResult<readonly string[]>): readonly string[] =>
  result.status === 'fulfilled' ? result.value : [];

function inTurn(first: readonly string[], second: readonly string[]): string[] {
  const length = Math.max(first.length, second.length);
  return Array.from({ length }, (_, at) => [first[at], second[at]])
    .flat()
    .filter((address) => address !== undefined);
}
