/** Pending questions of this node to others. */
import { ParcelError } from './parcel.js';

const { setTimeout } = globalThis;

interface Question {
  resolve(payload: string): void;
  reject(error: ParcelError): void;
  readonly timer: NodeJS.Timeout;
}

export class Questions {
  readonly #most: number;
  readonly #pending = new Map<number, Question>();
  #id = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#pending.size;
  }

  /** Calls `send` with the id of the question. Resolves with the answer. Rejects with ParcelError, also on timeout. */
  ask(timeoutMs: number, send: (id: number) => void): Promise<string> {
    if (this.#pending.size >= this.#most) return Promise.reject(new ParcelError('full'));
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.unanswered(id, 'lost'), timeoutMs);
      this.#pending.set(id, { resolve, reject, timer });
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
    for (const id of [...this.#pending.keys()]) this.unanswered(id, 'closed');
  }

  #end(id: number): Question | undefined {
    const question = this.#pending.get(id);
    if (question === undefined) return undefined;
    this.#pending.delete(id);
    clearTimeout(question.timer);
    return question;
  }
}
