/** A storage that can be made to wait. */
import type { Storage } from '../../src/storage/contract.js';

/** Writes are done at once, and said to be done when the gate is open. */
export class Gate {
  #waiting: (() => void)[] = [];
  #isOpen = true;

  close(): void {
    this.#isOpen = false;
  }
  open(): void {
    this.#isOpen = true;
    for (const go of this.#waiting.splice(0)) go();
  }
  #pass(): Promise<void> {
    return this.#isOpen ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve));
  }

  around(storage: Storage): Storage {
    const guard = <S extends object>(store: S): S =>
      new Proxy(store, {
        get: (target, name) => {
          const method = Reflect.get(target, name) as (...parameters: unknown[]) => Promise<unknown>;
          if (!['append', 'set', 'compareAndSet', 'delete', 'remove'].includes(String(name))) return method;
          return async (...parameters: unknown[]) => {
            const result = await method.call(target, ...parameters);
            await this.#pass();
            return result;
          };
        },
      });
    return {
      document: <T>(name: string) => guard(storage.document<T>(name)),
      map: <T>(name: string) => guard(storage.map<T>(name)),
      log: (name) => guard(storage.log(name)),
      stores: () => storage.stores(),
      join: (node, epoch) => storage.join(node, epoch),
      fence: (node, epoch) => storage.fence(node, epoch),
      look: () => storage.look(),
      flush: () => storage.flush(),
      close: () => storage.close(),
    };
  }
}
