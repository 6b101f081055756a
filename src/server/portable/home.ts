/** What an import asks of the home of an account, where its modules run. */
import { z } from 'zod';
import type { Storage } from '../../storage/contract.js';
import type { Jid } from '../address/jid.js';
import { defineQuestion } from '../module/index.js';
import { type Answerer, answererOf } from '../routing/hooks.js';
import type { LocalHost } from '../routing/host.js';
import { StanzaError } from '../stanza/errors.js';
import { parse } from '../xml/element.js';

/** Persists what is only in memory. */
export const persisting = defineQuestion({ name: 'portable.persist', given: z.null(), answer: z.null() });

/** Before the first part. `replaces`: deletes all data of the account. */
export const beginning = defineQuestion({
  name: 'portable.begin',
  given: z.object({ replaces: z.boolean() }),
  answer: z.null(),
});

const refused = z.object({ what: z.string(), why: z.string() });

/** Imports some parts with one module. */
export const taking = defineQuestion({
  name: 'portable.take',
  given: z.object({ module: z.string(), parts: z.array(z.string()), memo: z.string().optional() }),
  answer: z.object({ refused: z.array(refused), memo: z.string().optional() }),
});

/** After the last part. */
export const ending = defineQuestion({ name: 'portable.end', given: z.null(), answer: z.null() });

/** Stores with the existence of accounts, which a replacement keeps. */
const kept: readonly string[] = ['accounts', 'passing'];

interface Parts {
  readonly storage: Storage;
  /** The quota of an account may have changed. */
  changed(bare: string): void;
}

export function portableAnswers(host: LocalHost, { storage, changed }: Parts): readonly Answerer[] {
  const only = ({ bare }: Jid) => ({ concerns: (other: string) => other === bare });
  return [
    answererOf(persisting, async (_, owner) => {
      await host.emit('leaving', only(owner));
      return null;
    }),
    answererOf(beginning, async ({ replaces }, owner) => {
      await host.emit('leaving', only(owner));
      if (replaces) {
        const stores = await storage.stores();
        const left = stores.filter(({ name }) => !kept.includes(name));
        await Promise.all(left.map(({ shape, name }) => storage[shape](name).forget(owner.bare)));
      }
      await host.emit('moved', only(owner));
      changed(owner.bare);
      return null;
    }),
    answererOf(taking, async ({ module, parts, memo }, owner) => {
      const portable = host.hooks.portables.get(module);
      if (portable === undefined) throw new StanzaError('item-not-found', `module ${module} does not run here`);
      const imported = await portable.import(
        owner,
        parts.map((xml) => parse(xml)),
        memo,
      );
      return { refused: [...(imported?.refused ?? [])], ...(imported?.memo !== undefined && { memo: imported.memo }) };
    }),
    answererOf(ending, async (_, owner) => {
      await host.emit('moved', only(owner));
      changed(owner.bare);
      return null;
    }),
  ];
}
