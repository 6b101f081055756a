/** Finds the client libraries, which run.sh installs in a folder of their own and not with the server. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** What run.sh installed and made. */
export const installed = join(root, '.interop');

/** What of this folder is not TypeScript. */
export const sources = join(root, 'test/interop');

const { resolve } = createRequire(join(installed, 'package.json'));

/** The caller knows the exports of the library. */
export async function library<T>(name: string): Promise<T> {
  return (await import(pathToFileURL(resolve(name)).href)) as T;
}
