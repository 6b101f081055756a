import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { programName } from '../../src/server/admin/program.js';

const root = realpathSync(mkdtempSync(join(tmpdir(), 'waxwing-program-')));
after(() => rmSync(root, { recursive: true }));
const clone = join(root, 'clone');
const script = join(clone, 'bin', 'waxwing.js');
const installed = join(root, 'usr');
for (const folder of [join(clone, 'bin'), installed, join(root, 'other')]) mkdirSync(folder, { recursive: true });
writeFileSync(script, '', { mode: 0o755 });
writeFileSync(join(root, 'other', 'waxwing'), '', { mode: 0o755 });

test('advice names an existing command', () => {
  assert.equal(programName(script, `/nowhere:${join(root, 'other')}`, clone), 'bin/waxwing.js');
  assert.equal(programName(script, '', root), 'clone/bin/waxwing.js');
  assert.equal(programName(script, '', installed), script);
  symlinkSync(script, join(installed, 'waxwing'));
  assert.equal(programName(script, `/nowhere:${installed}`, clone), 'waxwing');
  assert.equal(programName(join(installed, 'waxwing'), '', clone), 'waxwing');
});
