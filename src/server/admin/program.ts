/** How a user calls this program in a terminal. */
import { accessSync, constants, realpathSync } from 'node:fs';
import { basename, delimiter, join, relative } from 'node:path';

/** `waxwing` if the PATH has it, else the running file relative to the current folder. */
export function programName(script = process.argv[1], path = process.env.PATH ?? '', folder = process.cwd()): string {
  if (script === undefined || basename(script) === 'waxwing') return 'waxwing';
  const real = realPath(script);
  const isOnPath = path.split(delimiter).some((place) => place !== '' && realPath(join(place, 'waxwing')) === real);
  if (isOnPath) return 'waxwing';
  const short = relative(folder, script);
  return short === '' || short.startsWith('..') ? script : short;
}

/** The real path of a program. Returns undefined if there is none. */
function realPath(file: string): string | undefined {
  try {
    accessSync(file, constants.X_OK);
    return realpathSync(file);
  } catch {
    return undefined;
  }
}
