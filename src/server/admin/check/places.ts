/** Whether addresses that DNS leads to accept connections. */
import { connect } from 'node:net';
import type { Finding } from './finding.js';

export interface Place {
  readonly address: string;
  readonly port: number;
}

/** Connects, and returns the code of the error if that fails. */
export type Reach = (address: string, port: number) => Promise<string | undefined>;

/** Most places to connect to, and the time limit of a connection in ms. */
const mostPlaces = 16;
const connectMs = 3000;

/** `who`: who is led to these places, such as "Clients". */
export async function reachability(
  area: Finding['area'],
  who: string,
  places: readonly Place[],
  reach: Reach = tryToReach,
): Promise<Finding[]> {
  const each = new Map(places.map((place) => [nameOf(place), place]));
  const findings = [...each.values()].slice(0, mostPlaces).map(async (place): Promise<Finding> => {
    const code = await reach(place.address, place.port);
    if (code === undefined) return { area, level: 'ok', what: `${nameOf(place)} accepts connections` };
    return {
      area,
      level: 'warning',
      what: `${nameOf(place)} cannot be reached from this machine (${code})`,
      why: `${who} are led there by DNS, and may not reach it either.`,
      advice:
        'Open the port in the firewall, and forward it in the router. Some routers only forward connections from outside: then test from another network.',
    };
  });
  return Promise.all(findings);
}

const nameOf = ({ address, port }: Place): string => `${address.includes(':') ? `[${address}]` : address}:${port}`;

function tryToReach(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const done = (code: string | undefined) => {
      socket.destroy();
      resolve(code);
    };
    socket.setTimeout(connectMs, () => done('no answer'));
    socket.once('connect', () => done(undefined));
    socket.once('error', ({ code, message }: NodeJS.ErrnoException) => done(code ?? message));
  });
}
