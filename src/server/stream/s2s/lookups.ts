/** DNS queries for streams to other servers and for `waxwing check`. */
import { Resolver, type SrvRecord } from 'node:dns';
import { Turns } from '../../limits/turns.js';
import { settledSoon } from './soon.js';

/** Each query resolves with an empty list if there is no such record, and rejects if DNS does not answer. */
export interface DnsResolver {
  srv(name: string): Promise<readonly SrvRecord[]>;
  /** IPv6 and IPv4 addresses alternately, IPv6 first (RFC 8305 §4). Rejects only if both queries fail. */
  addresses(name: string): Promise<readonly string[]>;
}

/** One that can be ended: pending queries, and all later ones, reject. */
export interface OwnResolver extends DnsResolver {
  cancel(): void;
}

/** The timeout of one try of a query, in ms, and the number of tries. */
const timeout = 2000;
const tries = 2;
/**
 * RFC 8305 §3: how long to wait for IPv6 addresses when there are IPv4 ones, in ms. The other way round it is longer:
 * without IPv4 addresses a machine whose IPv6 is broken would reach nobody.
 */
const resolutionDelay = 50;
const otherDelay = 1000;
/** How many queries may be pending; others wait, and their timeout begins with their turn. */
const mostQueries = 100;

/** Queries these servers ("192.0.2.1", "192.0.2.1:53"), or those of the system if the list is empty. */
export function dnsResolver(servers: readonly string[] = []): OwnResolver {
  const resolver = new Resolver({ timeout, tries });
  if (servers.length > 0) resolver.setServers(servers);
  const turns = new Turns({ most: () => mostQueries, pauseMs: 0, longestMs: 2 * tries * timeout });
  let isOver = false;
  const ask = <T>(look: (done: (error: NodeJS.ErrnoException | null, found: T[]) => void) => void) =>
    new Promise<T[]>((resolve, reject) =>
      turns.take('', (answered) => {
        if (isOver) {
          answered();
          reject(new Error('DNS queries have ended'));
          return;
        }
        look((error, found) => {
          answered();
          if (error === null) resolve(found);
          else if (error.code === 'ENODATA' || error.code === 'ENOTFOUND') resolve([]);
          else reject(error);
        });
      }),
    );
  return {
    cancel() {
      isOver = true;
      resolver.cancel();
    },
    srv: (name) => ask((done) => resolver.resolveSrv(name, done)),
    addresses: async (name) => {
      const v4 = ask<string>((done) => resolver.resolve4(name, done));
      // Some DNS servers fail for one of the two record types, or do not answer.
      const [six, four] = await settledSoon([ask<string>((done) => resolver.resolve6(name, done)), v4], (found, at) =>
        found.length === 0 ? undefined : at === 0 ? otherDelay : resolutionDelay,
      );
      if (six === undefined && four === undefined) return v4;
      return inTurn(six ?? [], four ?? []);
    },
  };
}

function inTurn(first: readonly string[], second: readonly string[]): string[] {
  const length = Math.max(first.length, second.length);
  return Array.from({ length }, (_, at) => [first[at], second[at]])
    .flat()
    .filter((address) => address !== undefined);
}
