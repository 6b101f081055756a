/** What the settings of engines have in common. */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { StorageError } from './contract.js';

export type TlsMode = 'auto' | 'verify-full' | 'require' | 'disable';

/** Whether the connection is encrypted, and the certificate verified. `isHere`: the engine is on this machine. */
export function securityOf(
  tls: TlsMode,
  isHere: boolean,
): { readonly isEncrypted: boolean; readonly isVerified: boolean } {
  const isVerified = tls === 'verify-full' || (tls === 'auto' && !isHere);
  return { isEncrypted: isVerified || tls === 'require', isVerified };
}

/** Whether a host is this machine. */
export const isThisMachine = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/** Reads the file that a setting names. Rejects with StorageError, whose message has the `key`. */
export async function readNamed(key: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new StorageError('unavailable', `${key}: ${(error as Error).message}`, { cause: error });
  }
}

/** The same for a secret: without the end of its line. */
export const readSecret = async (key: string, file: string): Promise<string> =>
  (await readNamed(key, file)).replace(/\r?\n$/, '');
