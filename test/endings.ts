/**
 * What a module that several test files share has to undo at the end of each of them: `npm test` runs many files in one
 * process (scripts/test.mjs), where such a module is loaded once, and a hook of its own would belong to the first file.
 */
import { after } from 'node:test';

const endings: (() => unknown)[] = [];

/** Calls `end` when all tests of the running file are over, and so for each later file of this process. */
export function atEndOfFile(end: () => unknown): void {
  endings.push(end);
}

export async function endFile(): Promise<void> {
  for (const end of endings) await end();
}

// The end of a file that has the process for itself.
after(endFile);
