/** The module whose answers `http.ts` measures: a script of 40 KB from a folder, and a short text. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAssets } from '../src/server/http/assets.js';
import { defineModule, HttpError, http } from '../src/server/module/index.js';

export default defineModule({
  name: 'page',
  summary: 'Serves what the benchmark requests.',
  implements: {},
  start: async () => {
    const folder = mkdtempSync(join(tmpdir(), 'waxwing-bench-'));
    const lines = Array.from({ length: 1000 }, (_, n) => `export const value${n} = ${n * n};`);
    writeFileSync(join(folder, 'main-1a2b3c4d.js'), lines.join('\n'));
    const assets = await loadAssets(folder, { isHashed: () => true });
    const asset = (request: Parameters<typeof assets.answer>[0] & { readonly rest: string }) => {
      const answer = assets.answer(request, request.rest.slice(1));
      if (answer === undefined) throw new HttpError(404);
      return answer;
    };
    return [http('GET', '/assets', asset, { below: true }), http('GET', '/text', () => ({ body: 'a short text\n' }))];
  },
});
