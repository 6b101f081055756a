/** HTTPS requests to addresses that others have named (reach.ts). Late and long answers are cut. */
import type { OutgoingHttpHeaders } from 'node:http';
import { Agent } from 'node:https';
import type { Reach } from './reach.js';
import { type Answer, ask } from './request.js';

/** From the connection to the last byte, in ms. */
export const timeoutMs = 10_000;
/** Answers only say what was wrong. */
export const mostBytes = 16_384;
/** Connections of one server, and in all. Idle ones are closed. */
const connectionsOfOne = 8;
const connections = 256;
const idleMs = 30_000;

export class Poster {
  readonly #reach: Reach;
  readonly #agent: Agent;

  /** `ca`: trusted authorities in PEM. Those of Node if undefined. */
  constructor(reach: Reach, ca?: readonly string[] | undefined) {
    this.#reach = reach;
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: connectionsOfOne,
      maxTotalSockets: connections,
      maxFreeSockets: connectionsOfOne,
      timeout: idleMs,
      lookup: reach.lookup,
      ...(ca && { ca: [...ca] }),
    });
  }

  /** Rejects with UnreachableError, or another error if there is no complete answer in time. */
  async post(text: string, headers: OutgoingHttpHeaders, body: Buffer | string): Promise<Answer> {
    const url = this.#reach.check(text);
    return ask(url, { method: 'POST', headers, body, agent: this.#agent, timeoutMs, mostBytes, isCut: true });
  }

  /** Closes all connections. */
  close(): void {
    this.#agent.destroy();
  }
}
