/** Questions of modules to the homes of addresses, answered there by the same modules. */
import { z } from 'zod';
import type { Jid } from '../address/jid.js';
import type { Maybe } from '../maybe.js';
import type { Question, QuestionHandler } from '../module/index.js';
import { isStanzaErrorCondition, StanzaError } from '../stanza/errors.js';
import type { Answerer } from './hooks.js';
import type { Router, WrittenQuestion } from './router.js';

const timeoutMs = 30_000;

/** What questions need of the host. */
export interface Questioning {
  readonly domain: string;
  readonly jid: Jid;
  readonly hooks: { readonly questions: ReadonlyMap<string, Answerer> };
}

export class Questions {
  readonly #host: Questioning;
  readonly #router: Router;

  constructor(host: Questioning, router: Router) {
    this.#host = host;
    this.#router = router;
  }

  /** As `Host.askHome`. */
  atHome<Given, Answer>(question: Question<Given, Answer>, owner: Jid, given: Given): Maybe<Answer> {
    const away = this.#router.wayToAsk(owner);
    if (away === undefined) return this.#here(question, owner, given);
    return this.#router
      .consult(away, this.#written(question, given), owner, timeoutMs)
      .then((answer) => readAnswer(question, answer));
  }

  /** As `Host.askNodes`. */
  atNodes<Given, Answer>(question: Question<Given, Answer>, given: Given): Maybe<readonly Answer[]> {
    const { jid } = this.#host;
    const others = this.#router.consultOthers(() => this.#written(question, given), jid, timeoutMs);
    const own = this.#here(question, jid, given);
    if (others.length > 0)
      return Promise.all([own, ...others.map(async (answer) => readAnswer(question, await answer))]);
    return own instanceof Promise ? own.then((one) => [one]) : [own];
  }

  #here<Given, Answer>({ name }: Question<Given, Answer>, owner: Jid, given: Given): Maybe<Answer> {
    const answerer = this.#host.hooks.questions.get(name);
    if (answerer === undefined) throw new Error(`no module answers the question ${name}`);
    return (answerer.handler as QuestionHandler<Given, Answer>)(given, owner);
  }

  #written<Given>({ name, given: schema }: Question<Given, unknown>, given: Given): WrittenQuestion {
    return { domain: this.#host.domain, name, given: JSON.stringify(z.encode(schema, given)) };
  }
}

const writtenAnswer = z.union([
  z.object({ answer: z.unknown() }),
  z.object({ refused: z.string(), text: z.string().optional() }),
]);

/** Answers a question of another node. Rejects only with internal errors, for the log of this node. */
export async function answerWritten(
  answerers: ReadonlyMap<string, Answerer>,
  { name, given }: WrittenQuestion,
  owner: Jid,
): Promise<string> {
  const answerer = answerers.get(name);
  if (answerer === undefined) throw new Error(`another node asked ${name}, which no module answers`);
  const { question, handler } = answerer;
  try {
    const answer = await handler(z.decode(question.given, JSON.parse(given)), owner);
    return JSON.stringify({ answer: z.encode(question.answer, answer) });
  } catch (error) {
    if (!(error instanceof StanzaError)) throw error;
    return JSON.stringify({ refused: error.condition, text: error.text });
  }
}

function readAnswer<Answer>({ answer: schema }: Pick<Question<never, Answer>, 'answer'>, written: string): Answer {
  const read = writtenAnswer.parse(JSON.parse(written));
  if ('refused' in read)
    throw new StanzaError(isStanzaErrorCondition(read.refused) ? read.refused : 'undefined-condition', read.text);
  return z.decode(schema, read.answer as z.input<typeof schema>);
}
