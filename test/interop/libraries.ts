/** Finds the client libraries, which are installed beside this folder's package.json and not with the server. */
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The sources of this folder: what is installed lies there, and what is not TypeScript. */
export const folder = fileURLToPath(new URL('../../../test/interop/', import.meta.url));

const require = createRequire(`${folder}package.json`);

/** The caller knows what the library exports. */
export async function library<T>(name: string): Promise<T> {
  return (await import(pathToFileURL(require.resolve(name)).href)) as T;
}
