import { type TestContext, test } from 'node:test';

/** Steps that build on those before them: where one failed, the others are not tried. `timeout`: of each, in ms. */
export function steps(
  timeout = 180_000,
): (title: string, work: (t: TestContext) => Promise<void>, skip?: string | false) => void {
  let isBroken = false;
  return (title, work, skip = false) =>
    void test(title, { timeout, skip }, async (t) => {
      if (isBroken) return t.skip('a step before failed');
      isBroken = true;
      await work(t);
      isBroken = false;
    });
}
