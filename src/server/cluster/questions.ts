/** Pending questions of this node to others. */
import { type Parcel, ParcelError } from './parcel.js';

const { setTimeout } = globalThis;

interface Question {
  resolve(payload: string): void;
  reject(error: ParcelError): void;
  readonly timer: NodeJS.Timeout;
  readonly isPatient: boolean;
  parcel?: Parcel;
}

export class Questions {
  readonly #most: number;
  readonly #pending = new Map<number, Question>();
  #patient = 0;
  #id = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#pending.size;
  }

  /**
   * Calls `send` with the id of the question; it returns the parcel before that is sent. Resolves with the answer.
   * Rejects with ParcelError, also on timeout. Patient questions are not bounded here.
   */
  ask(timeoutMs: number, isPatient: boolean, send: (id: number) => Parcel): Promise<string> {
    if (!isPatient && this.#pending.size - this.#patient >= this.#most) return Promise.reject(new ParcelError('full'));
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.unanswered(id, 'lost'), timeoutMs);
      const question: Question = { resolve, reject, timer, isPatient };
      this.#pending.set(id, question);
      if (isPatient) this.#patient++;
      question.parcel = send(id);
    });
  }

  /** The peer of a link is gone: it answers nothing more. */
  lost(link: object): void {
    for (const [id, { parcel }] of [...this.#pending]) if (parcel?.link === link) this.unanswered(id, 'lost');
  }

  answered(id: number, payload: string): void {
    this.#end(id)?.resolve(payload);
  }

  unanswered(id: number, reason: ParcelError['reason']): void {
    this.#end(id)?.reject(new ParcelError(reason));
  }

  close(): void {
    for (const id of [...this.#pending.keys()]) this.unanswered(id, 'closed');
  }

  #end(id: number): Question | undefined {
    const question = this.#pending.get(id);
    if (question === undefined) return undefined;
    this.#pending.delete(id);
    if (question.isPatient) this.#patient--;
    clearTimeout(question.timer);
    return question;
  }
}
