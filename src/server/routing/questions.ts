/** Questions of modules to the homes of addresses, answered by the same modules there. */
import type { Maybe } from '../maybe.js';
import type { Question, QuestionHandler } from '../module/index.js';
import type { Jid } from '../stanza/jid.js';

export type Answerers = ReadonlyMap<string, QuestionHandler<unknown, unknown>>;

/** Answers for an address that lives here. */
export function answerHere<Given, Answer>(
  answerers: Answerers,
  { name }: Question<Given, Answer>,
  owner: Jid,
  given: Given,
): Maybe<Answer> {
  const handler = answerers.get(name) as QuestionHandler<Given, Answer> | undefined;
  if (handler === undefined) throw new Error(`nobody answers the question ${name}`);
  return handler(given, owner);
}
