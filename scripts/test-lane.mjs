/**
 * A process of scripts/test.mjs. Runs the test files that it is sent, each as a suite named by the file, and ends
 * when it is sent null. Its reporter is test-report.mjs.
 */
import { after, describe } from 'node:test';
import { pathToFileURL } from 'node:url';
import { endFile } from '../dist/test/endings.js';
import { closed, openNow } from '../dist/test/left-open.js';

let before;

process.on('message', (file) => {
  if (file === null) return process.channel.unref();
  before ??= openNow();
  describe(file, async () => {
    await import(pathToFileURL(file).href);
    after(endFile);
    // It would keep this process alive at its end, when nobody knows any more which file it was.
    after(() => closed(before));
  });
});
