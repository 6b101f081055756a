/** The files of the web client, which scripts/web.mjs packs into a folder named after their content. */
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { type Assets, loadAssets } from '../../server/http/assets.js';

export interface Packed {
  /** The first part of all paths; changes with any file. */
  readonly version: string;
  readonly assets: Assets;
}

const folder = fileURLToPath(new URL('../../../web/', import.meta.url));

async function load(): Promise<Packed | undefined> {
  const [version] = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return version === undefined ? undefined : { version, assets: await loadAssets(folder, { isHashed: () => true }) };
}

/** They are part of the program, so all hosts share what is read of them. */
let packed: Promise<Packed | undefined> | undefined;

/** Resolves with undefined if they were not packed. */
export const packedFiles = (): Promise<Packed | undefined> => {
  packed ??= load();
  return packed;
};
