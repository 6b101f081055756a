/**
 * A server as a process of its own, for tests that kill it: `node serve.js SETTINGS`, SETTINGS being JSON with the
 * configuration and the accounts to make. Writes one line of JSON when it is ready; SIGTERM stops it in order.
 */
import { createInterface } from 'node:readline';
import { Jid } from '../../src/server/address/jid.js';
import { createServer } from '../../src/server/index.js';
import { takeClocks } from '../unit/clocks.js';
import { type Ready, restarts, type Settings } from './server.js';

const { config, accounts, clock = 0 } = JSON.parse(process.argv[2]!) as Settings;
const clocks = takeClocks();
clocks.step(clock);
const server = await createServer({
  text: '',
  overrides: config,
  logTo: process.stderr,
  // As a supervisor sees it: whoever wants it to run starts it again.
  halt: async () => {
    await server.stop();
    process.exit(restarts);
  },
});
for (const [address, password] of Object.entries(accounts)) {
  const jid = Jid.parse(address);
  if (!(await server.accounts.exists(jid.bare))) await server.accounts.create(jid, password);
}
await server.start();
// The parent process is gone.
process.stdin.on('end', () => process.exit(2));
// Each line is a step of the wall clock, in ms, or `collect`, and is answered by one.
createInterface(process.stdin).on('line', (line) => {
  if (line === 'collect') for (let n = 0; n < 2; n++) globalThis.gc?.();
  else clocks.step(Number(line));
  console.log(line);
});
process.on('SIGTERM', () => {
  process.stdin.destroy();
  server.stop().catch((error: unknown) => {
    console.error(error);
    process.exitCode = 1;
  });
});
const ready: Ready = { listening: server.listening };
console.log(JSON.stringify(ready));
