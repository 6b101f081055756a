/** Questions of this node to others, until they are answered or their time is over. */
import { ParcelError } from './parcel.js';

const { setTimeout } = globalThis;

interface Question {
  resolve(payload: string): void;
  reject(error: ParcelError): void;
  readonly timer: NodeJS.Timeout;
}

export class Questions {
  readonly #most: number;
  readonly #open = new Map<number, Question>();
  #id = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Calls `send` with the question's id. Resolves with its answer; rejects with ParcelError, also when the time is over. */
  ask(timeoutMs: number, send: (id: number) => void): Promise<string> {
    if (this.#open.size >= this.#most) return Promise.reject(new ParcelError('full'));
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.unanswered(id, 'lost'), timeoutMs);
      this.#open.set(id, { resolve, reject, timer });
      send(id);
    });
  }

  answered(id: number, payload: string): void {
    this.#end(id)?.resolve(payload);
  }

  unanswered(id: number, reason: ParcelError['reason']): void {
    this.#end(id)?.reject(new ParcelError(reason));
  }

  close(): void {
    for (const id of [...this.#open.keys()]) this.unanswered(id, 'closed');
  }

  #end(id: number): Question | undefined {
    const question = this.#open.get(id);
    if (question === undefined) return undefined;
    this.#open.delete(id);
    clearTimeout(question.timer);
    return question;
  }
}
