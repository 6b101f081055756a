/** `npm start`: makes the clone runnable, then runs `waxwing start` in this process, so that signals reach it. */
import { fileURLToPath } from 'node:url';
import { setupOrExit } from './setup.mjs';

await setupOrExit('server');
const program = new URL('../bin/waxwing.js', import.meta.url);
process.argv = [process.execPath, fileURLToPath(program), 'start', ...process.argv.slice(2)];
await import(program.href);
