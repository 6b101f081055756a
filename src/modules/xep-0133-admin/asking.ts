/** Building blocks for the commands of XEP-0133: with a form to fill in, or with an immediate answer. */
import type { Command, CommandResult, IqRequest, Maybe } from '../../server/module/index.js';
import {
  defineForm,
  type FieldDeclaration,
  type FormValues,
  type Submission,
} from '../../server/stanza/define-form.js';
import { NS } from '../../server/stanza/ns.js';
import type { Element } from '../../server/xml/element.js';

type Fields = Readonly<Record<string, FieldDeclaration>>;

export interface Outcome {
  readonly payload?: readonly Element[];
  readonly note?: { readonly type: 'info' | 'warn'; readonly text: string };
}

export interface Question<F extends Fields> {
  /** The part of its node after the `#`. */
  readonly node: string;
  readonly name: string;
  readonly instructions: string;
  readonly fields: F;
  /** Initial values of the form. */
  values?(): Maybe<FormValues<F>>;
  run(given: Submission<F>, request: IqRequest): Maybe<Outcome | void>;
}

const admins = { target: 'server', access: 'admins' } as const;

export function asking<const F extends Fields>(question: Question<F>): Command {
  const { node, name, instructions } = question;
  const form = defineForm(NS.admin, question.fields);
  return {
    ...admins,
    node: `${NS.admin}#${node}`,
    name,
    run: async (step): Promise<CommandResult> => {
      if (step.state === undefined) {
        const values = (await question.values?.()) ?? {};
        return { status: 'executing', state: 'asked', payload: [form.form(values, { title: name, instructions })] };
      }
      const given = form.read(step.form);
      if (given === undefined) return { status: 'completed', note: { type: 'info', text: 'Nothing was done.' } };
      return { status: 'completed', ...(await question.run(given, step.request)) };
    },
  };
}

export function answering(node: string, name: string, run: () => Maybe<Outcome | void>): Command {
  return {
    ...admins,
    node: `${NS.admin}#${node}`,
    name,
    run: async () => ({ status: 'completed', ...(await run()) }),
  };
}
