/** How somebody at a terminal calls this program. */
import { accessSync, constants, realpathSync } from 'node:fs';
import { basename, delimiter, join, relative } from 'node:path';

/** `waxwing` where that is found on the path, else the file that runs, from the current folder. */
export function programName(script = process.argv[1], path = process.env.PATH ?? '', folder = process.cwd()): string {
  if (script === undefined || basename(script) === 'waxwing') return 'waxwing';
  const real = realPath(script);
  const isOnPath = path.split(delimiter).some((place) => place !== '' && realPath(join(place, 'waxwing')) === real);
  if (isOnPath) return 'waxwing';
  const short = relative(folder, script);
  return short === '' || short.startsWith('..') ? script : short;
}

/** undefined: there is no such program. */
function realPath(file: string): string | undefined {
  try {
    accessSync(file, constants.X_OK);
    return realpathSync(file);
  } catch {
    return undefined;
  }
}
