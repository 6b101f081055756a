/** CPU time and bytes of messages to a room whose occupants are on many other servers, one on each. */
import { domainOf, type Peer, roomsOf } from '../../test/interop/federation/peer.js';
import { median } from '../measure.js';
import { cpuOf, family } from './cpu.js';
import { domainsOf, type Remote } from './doubles.js';

const domainCount = 200;
/** Messages of a round. */
const messageCount = 100;

export interface RoomOptions {
  readonly rounds: number;
  /** DNS names the doubles for these domains. */
  publish(domains: readonly string[]): Promise<void>;
  readonly doubles: Remote;
  readonly password: string;
}

/** Prints the table. */
export async function measureRooms(peer: Peer, { rounds, publish, doubles, password }: RoomOptions): Promise<void> {
  const home = domainOf(peer.name, 'external');
  const room = `garden@${roomsOf(home)}`;
  const domains = domainsOf('one', peer.name, domainCount);
  const pids = family(peer.pid);
  await publish(domains);
  await doubles.logIn(peer.c2s, [`user0@${home}`], password);
  await doubles.enter(peer.s2s, domains, room);
  await doubles.speak(domains, room, messageCount);
  const found: number[] = [];
  let bytes = 0;
  for (let round = 0; round < rounds; round++) {
    const before = cpuOf(pids);
    bytes = await doubles.speak(domains, room, messageCount);
    found.push((cpuOf(pids) - before) / messageCount / domainCount);
  }
  await doubles.hangUp();
  console.log(
    `\nA room with an occupant on each of ${domainCount} servers, ${messageCount} messages one after the other\n`,
  );
  console.log('| µs of CPU a delivery | bytes a delivery, before TLS |');
  console.log('| ---: | ---: |');
  console.log(`| ${median(found).toFixed(1)} | ${(bytes / messageCount / domainCount).toFixed(0)} |`);
}
