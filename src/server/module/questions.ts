/**
 * What a module asks at the home of an address. Sessions and caches of an account are known there alone, so the module asks
 * itself there, and gets an answer that is a copy. In one process it is a function call.
 */
import type { z } from 'zod';
import type { Jid } from '../stanza/jid.js';

export interface Question<Given, Answer> {
  /** Unique in a host; begins with the name of the module that asks and answers. */
  readonly name: string;
  /** How both are written for another node, in JSON. */
  readonly given: z.ZodType<Given>;
  readonly answer: z.ZodType<Answer>;
}

/** Answers at the home of `owner`, about what lives there; `owner` is the host's own address where all nodes are asked. */
export type QuestionHandler<Given, Answer> = (given: Given, owner: Jid) => Answer | Promise<Answer>;

export const defineQuestion = <Given, Answer>(question: Question<Given, Answer>): Question<Given, Answer> => question;
