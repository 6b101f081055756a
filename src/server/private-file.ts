/** Files readable only by the server's own user: they contain personal data. */
import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

export const privateMode = 0o600;

/** Creates the folder if necessary, and removes other users' access to an existing file. */
export function makePrivate(file: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const found = statSync(file, { throwIfNoEntry: false });
  // Not for a terminal, a pipe or /dev/null.
  if (found?.isFile() && (found.mode & 0o077) !== 0) chmodSync(file, privateMode);
}
