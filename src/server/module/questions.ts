/**
 * Questions of a module to the home of an address. Sessions and caches of an account exist only there, so the module
 * asks its own instance there and gets a copy as the answer. Within one process it is a function call.
 */

import type { z } from 'zod';
import type { Jid } from '../address/jid.js';
import type { Maybe } from '../maybe.js';

export interface Question<Given, Answer> {
  /** Unique within a host; begins with the name of the module. */
  readonly name: string;
  /** JSON schemas for transfer to another node. */
  readonly given: z.ZodType<Given>;
  readonly answer: z.ZodType<Answer>;
}

/** Answers at the home of `owner`, about what lives there. `owner` is the host's own address if all nodes are asked. */
export type QuestionHandler<Given, Answer> = (given: Given, owner: Jid) => Maybe<Answer>;

export const defineQuestion = <Given, Answer>(question: Question<Given, Answer>): Question<Given, Answer> => question;
