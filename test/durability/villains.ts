/**
 * Accounts at their limits in their own process: `node villains.js ORDERS`, where ORDERS is JSON. Each runs one manner
 * after another, chosen by the seed, until the time is over; then the process reports its progress with each, and
 * exits. It runs at a low priority, unless NICE sets another.
 */
import { constants, setPriority } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { manners } from './manners.js';
import { randomFrom } from './random.js';
import { type Orders, type Tally, Villain } from './villain.js';

const orders = JSON.parse(process.argv[2]!) as Orders;
setPriority(Number(process.env.NICE ?? constants.priority.PRIORITY_LOW));
// The parent process is gone.
process.on('disconnect', () => process.exit(2));
const over = performance.now() + orders.seconds * 1000;
// Whatever hangs. On a busy machine a process of this priority hardly runs.
setTimeout(() => process.exit(3), orders.seconds * 1000 + 60_000).unref();

const tallies: Record<string, Tally> = {};

async function rage(n: number): Promise<void> {
  const random = randomFrom(orders.seed + n);
  for (let turn = 0; performance.now() < over; turn++) {
    // At first each has another, so that a short run sees them all.
    const name = turn === 0 ? orders.manners[n % orders.manners.length]! : random.pick(orders.manners);
    const until = Math.min(over, performance.now() + random.between(...orders.turn));
    const tally = (tallies[name] ??= { turns: 0, said: 0, bytes: 0, connections: 0, failures: 0 });
    tally.turns++;
    const villain = new Villain(n, turn, orders, random, tally, until);
    try {
      await manners[name]!(villain);
    } catch {
      // The server may refuse them anything.
      tally.failures++;
      await pause(200);
    } finally {
      villain.leave();
    }
  }
}

await Promise.all(Array.from({ length: orders.count }, (_, n) => rage(n)));
process.send!(tallies, () => process.exit(0));
