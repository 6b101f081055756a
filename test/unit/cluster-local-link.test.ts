/** The in-process network: as of TCP, what arrives at an end is a beginning of what the other has written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

test('after a cut nothing arrives, even if its writer has closed the wire', async () => {
  let cuts = 0;
  for (let seed = 0; seed < 200; seed++) {
    const random = mulberry32(seed);
    const network = new LocalNetwork({ random, delays: 0.1, cuts: 0.2 });
    const arrived: Buffer[] = [];
    const ended = new Promise<void>((resolve) => {
      network.listen('b', () => ({ bytes: (bytes) => arrived.push(bytes), ended: () => resolve() }));
    });
    const wire = network.dial('b', { bytes: () => {}, ended: () => {} });
    const written = Array.from({ length: 8 }, (_, at) => Buffer.from(`[write ${at} of ${seed}]`));
    for (const bytes of written) wire.write(bytes);
    wire.close();
    await ended;
    const all = Buffer.concat(written).toString();
    const got = Buffer.concat(arrived).toString();
    assert.ok(all.startsWith(got), `${got} of ${all}`);
    if (network.cutsMade === 0) assert.equal(got, all);
    cuts += network.cutsMade;
  }
  assert.ok(cuts > 50);
});
