/**
 * What federation costs, on the parts of the interop tests (test/interop/federation): CPU time of both servers for a
 * message between them, for Waxwing, Prosody and ejabberd in all combinations, compared with a local message of Waxwing;
 * CPU time of setting up a stream and memory of a link; messages to a room with occupants on 200 servers; delays of local users while many servers are talked to.
 *
 *     node dist/bench/federation.js [--seconds 1.2] [--rounds 3] [--only messages|floor|links|rooms|delays]
 *
 * All servers run at the same time, take turns, and are without archives, debug logs and limits on rates. Takes less than
 * six minutes and prints the tables of RESULTS.md. Servers that are not installed are left out.
 */
import { execFile } from 'node:child_process';
import { parseArgs, promisify } from 'node:util';
import { Authority } from '../test/interop/federation/authority.js';
import { ejabberd } from '../test/interop/federation/ejabberd.js';
import { domainOf, type Peer, type PeerOptions, type Way } from '../test/interop/federation/peer.js';
import { prosody } from '../test/interop/federation/prosody.js';
import { waxwing } from '../test/interop/federation/waxwing.js';
import { measureDelays } from './federation/delays.js';
import { certified, startDoubles } from './federation/doubles.js';
import { measureFloor } from './federation/floor.js';
import { measureLinks, type Program } from './federation/links.js';
import { bytes, measureMessages, pairCounts, type Row, window } from './federation/messages.js';
import { measureRooms } from './federation/rooms.js';
import { yardstick } from './yardstick.js';

/** The whole run ends after this, in ms, whatever happens. */
const longest = 6 * 60_000;

const { values: given } = parseArgs({
  options: {
    seconds: { type: 'string', default: '1.2' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
  },
});
const rounds = Number(given.rounds);

const programs = { Waxwing: waxwing, Prosody: prosody, ejabberd };
const commands = { Waxwing: 'node', Prosody: 'prosody', ejabberd: 'ejabberdctl' };
const password = 'pencil';
const measuredWays: readonly Way[] = ['external', 'bidi', 'managed'];

const open = new Set<Peer>();
const doubles = startDoubles();
const resolver = startDoubles();
const deadline = setTimeout(() => {
  console.error(`the run took longer than ${longest / 60_000} minutes`);
  void closeAll().finally(() => process.exit(1));
}, longest);

async function closeAll(): Promise<void> {
  await Promise.all([...open].map((peer) => peer.close()));
  open.clear();
  doubles.end();
  resolver.end();
}

const authority = new Authority();
let dns = '';
let servers = 0;

/** Starts a server of its own name and address, with `users` accounts in each domain. */
async function start(program: Program, users: number, more: Partial<PeerOptions> = {}): Promise<Peer> {
  const number = ++servers;
  const name = `${program.toLowerCase()}${number}`;
  const accounts = Object.fromEntries(
    measuredWays.flatMap((way) =>
      Array.from({ length: users }, (_, n) => [`user${n}@${domainOf(name, way)}`, password] as const),
    ),
  );
  const address = `127.0.1.${10 + number}`;
  const peer = await programs[program]({ dns, authority, accounts, name, address, isLean: true, ...more });
  open.add(peer);
  await resolver.publish(
    peer.s2s,
    measuredWays.map((way) => domainOf(name, way)),
  );
  await peer.start();
  return peer;
}

async function stop(peer: Peer): Promise<void> {
  open.delete(peer);
  await peer.close();
}

async function installed(): Promise<Program[]> {
  const found: Program[] = [];
  for (const program of Object.keys(programs) as Program[]) {
    const isThere = await promisify(execFile)('sh', ['-c', `command -v ${commands[program]}`]).then(
      () => true,
      () => false,
    );
    if (isThere) found.push(program);
    else console.error(`${program} is not installed`);
  }
  return found;
}

/** Pairs of servers, and the ways between them. */
async function messageRows(those: readonly Program[]): Promise<Row[]> {
  const ours = await start('Waxwing', 20);
  const second = await start('Waxwing', 10);
  const oneWay = await start('Waxwing', 10, { isBidirectional: false });
  // Streams between two Waxwings are always managed. Whether they are bidirectional is a matter of their configuration.
  const rows: Row[] = [
    { title: 'Waxwing, local', isLocal: true, ends: { external: [ours, ours] } },
    { title: 'Waxwing to Waxwing', ends: { managed: [ours, oneWay], bidi: [ours, second] } },
  ];
  for (const program of those) {
    if (program === 'Waxwing') continue;
    const [one, other] = [await start(program, 10), await start(program, 10)];
    const between = (from: Peer, to: Peer): Row['ends'] =>
      Object.fromEntries(
        measuredWays.filter((way) => from.ways.has(way) && to.ways.has(way)).map((way) => [way, [from, to]]),
      );
    rows.push(
      { title: `Waxwing to ${program}`, ends: between(ours, one) },
      { title: `${program} to Waxwing`, ends: between(one, ours) },
      { title: `${program} to ${program}`, ends: between(one, other) },
    );
  }
  return rows;
}

const isWanted = (part: string): boolean => given.only === '' || given.only === part;

try {
  dns = await resolver.resolve();
  const place = await doubles.serve(authority.issue([certified]));
  const publish = (domains: readonly string[]): Promise<void> => resolver.publish(place, domains);
  const those = await installed();
  const times = yardstick();
  if (isWanted('messages')) {
    const rows = await messageRows(those);
    await measureMessages(rows, { seconds: Number(given.seconds), rounds, password });
    await Promise.all([...open].map(stop));
  }
  if (isWanted('floor'))
    await measureFloor({ authority, seconds: Number(given.seconds), rounds, window, bytes, counts: pairCounts });
  if (isWanted('links'))
    await measureLinks(those, { start: (program) => start(program, 1), stop, publish, doubles, password });
  if (isWanted('rooms')) {
    const peer = await start('Waxwing', 1, { isLean: false });
    await measureRooms(peer, { rounds, publish, doubles, password });
    await stop(peer);
  }
  if (isWanted('delays')) {
    const peer = await start('Waxwing', 40);
    await measureDelays(peer, { rounds, publish, doubles, password });
  }
  for (const { title, times: slower } of [...times, ...yardstick()])
    console.log(`${title}: ${slower.toFixed(2)} times the reference`);
} finally {
  clearTimeout(deadline);
  await closeAll();
}
