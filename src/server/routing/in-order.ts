/** Calls handlers one after the other, without promises for synchronous ones. */
import type { Maybe } from '../maybe.js';
import type { MessageHandler } from '../module/index.js';
import type { MessagePassage, Passage } from './passage.js';

/** Calls one handler after the other; allocates a promise only from the first asynchronous one. */
export function inOrder(
  handlers: readonly ((passage: Passage) => Maybe<void>)[],
  passage: Passage,
): Promise<void> | undefined {
  for (let index = 0; index < handlers.length; index++) {
    const waiting = handlers[index]!(passage);
    if (waiting !== undefined) return waiting.then(() => inOrderFrom(handlers, passage, index + 1));
  }
  return undefined;
}

async function inOrderFrom(
  handlers: readonly ((passage: Passage) => Maybe<void>)[],
  passage: Passage,
  from: number,
): Promise<void> {
  for (let index = from; index < handlers.length; index++) await handlers[index]!(passage);
}

/** Calls handlers in order until one returns 'handled'; allocates a promise only from the first asynchronous one. */
export function untilHandled(
  handlers: readonly MessageHandler[],
  passage: MessagePassage,
): Maybe<'handled' | undefined> {
  for (let index = 0; index < handlers.length; index++) {
    const outcome = handlers[index]!(passage);
    if (outcome === undefined) continue;
    if (outcome === 'handled') return outcome;
    return runFrom(handlers, passage, index + 1, outcome as Promise<'handled' | undefined>);
  }
  return undefined;
}

async function runFrom(
  handlers: readonly MessageHandler[],
  passage: MessagePassage,
  from: number,
  first: Promise<'handled' | undefined | void>,
): Promise<'handled' | undefined> {
  if ((await first) === 'handled') return 'handled';
  for (let index = from; index < handlers.length; index++)
    if ((await handlers[index]!(passage)) === 'handled') return 'handled';
  return undefined;
}

/** Calls all handlers; one that fails does not stop the others. Never rejects. */
export function callAll<T>(
  handlers: readonly ((argument: T) => Maybe<void>)[],
  argument: T,
  failed: (error: unknown) => void,
): Maybe<void> {
  let waiting: Promise<void>[] | undefined;
  for (const handler of handlers) {
    try {
      const done = handler(argument);
      if (done !== undefined) (waiting ??= []).push(done.catch(failed));
    } catch (error) {
      failed(error);
    }
  }
  return waiting === undefined ? undefined : Promise.all(waiting).then(() => {});
}
