/** What DNS says, as far as streams between servers and `waxwing check` need it. */
import { Resolver, type SrvRecord } from 'node:dns';

/** An empty list is the answer that there is no such record. Rejects where there is no answer. */
export interface DnsResolver {
  srv(name: string): Promise<readonly SrvRecord[]>;
  /** IPv6 and IPv4 in turn, IPv6 first (RFC 8305 §4). Rejects where there is an answer for neither. */
  addresses(name: string): Promise<readonly string[]>;
}

/** Ms that one question may take until it is asked again, and how often it is asked. */
const timeout = 2000;
const tries = 2;

/** Asks these servers ("192.0.2.1", "192.0.2.1:53"); without any, those of the system. */
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
      // Some servers of DNS fail for one of the two.
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
