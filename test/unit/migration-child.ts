/** Another process that migrates, to be killed: run by the migration tests as `node migration-child.js FROM TO`. */
import { migrate } from '../../src/storage/migrate.js';
import { openSqlite } from '../../src/storage/sqlite/index.js';
import { around } from '../../src/storage/wrappers.js';

const [from, to] = process.argv.slice(2) as [string, string];
const source = await openSqlite({ file: from });
const target = await openSqlite({ file: to });
// A line for each write that is durable.
const seen = around(target, async (_, run) => {
  const done = await run();
  process.stdout.write('.\n');
  return done;
});
try {
  const { differences } = await migrate(source, seen, { name: 'the source' });
  process.exitCode = differences.length === 0 ? 0 : 1;
} catch (error) {
  // An earlier process was killed after it had completed the migration.
  if (!/already has data/.test(String(error))) throw error;
}
await source.close();
await target.close();
