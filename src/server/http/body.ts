/** Reading request bodies. */
import { Readable } from 'node:stream';
import { HttpError } from '../module/http.js';
import type { BodyGate } from '../routing/hooks.js';
import { cut, type Incoming, type Outgoing } from './message.js';
import type { SlowClients, Transfer } from './slow-clients.js';

/** The client disconnected within a body. */
export class Disconnected extends Error {
  override readonly name = 'Disconnected';
  constructor() {
    super('the client disconnected');
  }
}

/** RFC 9110 §10.1.1: the client waits for this before it sends the body. */
function continueBody(request: Incoming, response: Outgoing): void {
  if (request.headers.expect?.toLowerCase() === '100-continue') response.writeContinue();
}

/**
 * Reads a whole body. Rejects with HttpError if it is longer than `limit` bytes or too slow, and the rest is not read;
 * with Disconnected if the client disconnects.
 */
export function readBody(
  request: Incoming,
  response: Outgoing,
  slowClients: SlowClients,
  limit: number,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const refuse = (error: HttpError) => {
      chunks.length = 0;
      request.off('data', take);
      request.pause();
      reject(error);
    };
    const tooLong = () => refuse(new HttpError(413, `The body may have at most ${limit} bytes.`));
    const take = (chunk: Buffer) => {
      transfer.bytes += chunk.length;
      if (transfer.bytes > limit) tooLong();
      else chunks.push(chunk);
    };
    const chunks: Buffer[] = [];
    if (Number(request.headers['content-length'] ?? 0) > limit) {
      tooLong();
      return;
    }
    continueBody(request, response);
    const transfer = slowClients.watchBody(request, refuse);
    request.on('data', take);
    request.once('end', () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
    request.once('error', () => reject(new Disconnected()));
    request.once('close', () => reject(new Disconnected()));
  });
}

/**
 * Reads a body into its gate. Resolves when it is complete, or the gate takes no more. Rejects with HttpError if it is
 * too slow; with Disconnected if the client disconnects.
 */
export function collectBody(
  request: Incoming,
  response: Outgoing,
  slowClients: SlowClients,
  gate: BodyGate,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      request.off('data', take);
      request.pause();
    };
    const take = (chunk: Buffer) => {
      transfer.bytes += chunk.length;
      if (gate.takes(chunk)) return;
      stop();
      resolve();
    };
    continueBody(request, response);
    const transfer = slowClients.watchBody(request, (error) => {
      stop();
      reject(error);
    });
    request.on('data', take);
    request.once('end', () => resolve());
    request.once('error', () => reject(new Disconnected()));
    request.once('close', () => reject(new Disconnected()));
  });
}

/** Reads the rest of a short body that nobody wants, as slowly as the client may send it. */
export function discardBody(request: Incoming, response: Outgoing, slowClients: SlowClients): void {
  const transfer = slowClients.watchBody(request, () => cut(response));
  request.on('data', (chunk: Buffer) => {
    transfer.bytes += chunk.length;
  });
}

/**
 * A body as it arrives. Separate from Node's request, because destroying that would also end the connection: a handler
 * may destroy this one and still answer.
 */
export class BodyStream extends Readable {
  readonly #request: Incoming;
  readonly #response: Outgoing;
  readonly #slowClients: SlowClients;
  #transfer: Transfer | undefined;

  constructor(request: Incoming, response: Outgoing, slowClients: SlowClients) {
    super();
    this.#request = request;
    this.#response = response;
    this.#slowClients = slowClients;
    // It may fail while its handler does not read it. Who reads it still gets the error.
    this.on('error', () => {});
  }

  override _read(): void {
    if (this.#transfer === undefined) this.#transfer = this.#start();
    else this.#request.resume();
  }

  #start(): Transfer {
    const request = this.#request;
    continueBody(request, this.#response);
    const transfer = this.#slowClients.watchBody(request, (error) => this.destroy(error));
    request.on('data', (chunk: Buffer) => {
      transfer.bytes += chunk.length;
      if (!this.push(chunk)) request.pause();
    });
    request.once('end', () => this.push(null));
    request.once('error', () => this.destroy(new Disconnected()));
    request.once('close', () => {
      if (!request.readableEnded) this.destroy(new Disconnected());
    });
    return transfer;
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    if (!this.#request.readableEnded) this.#request.pause();
    callback(error);
  }
}
