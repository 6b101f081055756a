/** The data of two accounts that are not cached is read concurrently when a message needs it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { Storage } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { around, type StoreCall } from '../../src/storage/wrappers.js';
import { Stage } from './dialogue.js';

/** Holds operations while the test says so. `round` releases all that are held, like one round trip to a database. */
function holding() {
  const held: { readonly call: StoreCall; readonly go: () => void }[] = [];
  let isHolding = false;
  const storage: Storage = around(new MemoryStorage(), (call, run) => {
    if (!isHolding) return run();
    return new Promise<void>((go) => held.push({ call, go })).then(() => run());
  });
  return {
    storage,
    hold: (on: boolean) => {
      isHolding = on;
    },
    /** The operations that the server has requested when it starts to wait. */
    asked: async () => {
      while (held.length === 0) await setImmediate();
      for (let turns = 0; turns < 20; turns++) await setImmediate();
      return held.map(({ call: { name, operation } }) => `${name} ${operation}`);
    },
    round: () => {
      for (const { go } of held.splice(0)) go();
    },
  };
}

const writing = ['append', 'set'];

for (const recipient of ['absent', 'present'])
  test(`the first message between two cold accounts, the recipient is ${recipient}`, async () => {
    const { storage, hold, asked, round } = holding();
    const stage = await Stage.open({ storage: () => storage, isTimed: true, alone: true });
    try {
      await stage.account('romeo@localhost');
      await stage.account('juliet@localhost');
      await stage.restart();
      const romeo = await stage.actor('romeo@localhost/orchard');
      const juliet = recipient === 'present' ? await stage.actor('juliet@localhost/balcony') : undefined;
      hold(true);
      await romeo.sends(`<message to='juliet@localhost' type='chat' id='m'><body>hi</body></message>`);
      const reads = await asked();
      assert.ok(
        reads.every((one) => !writing.some((operation) => one.endsWith(` ${operation}`))),
        `reads alone: ${reads}`,
      );
      round();
      const next = await asked();
      assert.deepEqual(
        next.filter((one) => !writing.some((operation) => one.endsWith(` ${operation}`))),
        [],
        'nothing is read after the first round',
      );
      assert.ok(next.filter((one) => one === 'archive append').length === 2, `both archives have it: ${next}`);
      hold(false);
      round();
      await romeo.receivesNothing();
      await juliet?.syncs();
    } finally {
      hold(false);
      round();
      await stage.close();
    }
  });
