/** `npm start`: makes the clone runnable, then is `waxwing start` in this very process, so that signals reach it. */
import { fileURLToPath } from 'node:url';
import { setupOrExit } from './setup.mjs';

setupOrExit();
const program = new URL('../bin/waxwing.js', import.meta.url);
process.argv = [process.execPath, fileURLToPath(program), 'start', ...process.argv.slice(2)];
await import(program.href);
