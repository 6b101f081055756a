/** One HTTP request to the store: no more than that, without signature and repetition. */
import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';

export interface Body {
  readonly length: number;
  /** Writes and ends the request. `isWanted`: the store has not answered yet. Rejects with the error of a content. */
  write(request: ClientRequest, isWanted: () => boolean): Promise<void>;
  /** It waits for somebody else, and not for the store. */
  readonly isWaiting?: boolean;
}

export interface Sent {
  readonly method: string;
  /** With its query, encoded. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Body | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Place {
  readonly protocol: 'http:' | 'https:';
  readonly hostname: string;
  readonly port: string;
  readonly ca?: string | undefined;
}

/** Looks at a request in one `timeout`. */
const looks = 5;
/** Connections that are kept for later. All others belong to a request of a client, and are bounded as those are. */
const keptConnections = 32;

// Captured here: a test may replace the timers.
const { clearInterval, setInterval } = globalThis;

/**
 * Calls `late` when nothing has moved for `ms`: by ticks of a timer, so that a process that was stopped does not blame the
 * store. `moved` returns a value that differs if something has. Returns a function that ends it.
 */
export function watch(ms: number, moved: () => unknown, late: () => void): () => void {
  let last: unknown;
  let still = 0;
  const timer = setInterval(() => {
    const now = moved();
    still = now === last ? still + 1 : 0;
    last = now;
    if (still >= looks) late();
  }, ms / looks).unref();
  return () => clearInterval(timer);
}

export class Exchanges {
  readonly #place: Place;
  readonly #agent: HttpAgent;
  /** In ms. */
  readonly #timeout: number;

  constructor(place: Place, timeout: number) {
    this.#place = place;
    this.#timeout = timeout;
    const kept = { keepAlive: true, maxFreeSockets: keptConnections, scheduling: 'lifo' } as const;
    this.#agent =
      place.protocol === 'https:'
        ? new HttpsAgent({ ...kept, ...(place.ca !== undefined && { ca: place.ca }) })
        : new HttpAgent(kept);
  }

  get timeout(): number {
    return this.#timeout;
  }

  /** Resolves with the answer, whose body has to be read or destroyed. Rejects with the error of connection or body. */
  send({ method, path, headers, body, signal }: Sent): Promise<IncomingMessage> {
    const { protocol, hostname, port } = this.#place;
    const request = protocol === 'https:' ? requestHttps : requestHttp;
    return new Promise((resolve, reject) => {
      const asked = request({
        hostname,
        port,
        method,
        path,
        headers: { ...headers, ...(body !== undefined && { 'content-length': body.length }) },
        agent: this.#agent,
        ...(signal !== undefined && { signal }),
      });
      let isDone = false;
      let turn = 0;
      const moved = () => {
        if (body?.isWaiting === true) turn++;
        return `${turn} ${asked.socket?.bytesWritten} ${asked.socket?.bytesRead} ${asked.socket?.writableLength}`;
      };
      const end = watch(this.#timeout, moved, () => asked.destroy(new Error('no answer in time')));
      const done = (): boolean => {
        const first = !isDone;
        isDone = true;
        end();
        return first;
      };
      asked.on('response', (answer) => {
        if (!done()) {
          answer.destroy();
          return;
        }
        // A connection whose request is incomplete cannot be used again.
        if (!asked.writableEnded) answer.once('close', () => asked.destroy());
        resolve(answer);
      });
      asked.on('error', (error) => {
        if (done()) reject(error);
      });
      asked.on('close', () => {
        if (done()) reject(new Error('the connection was closed before an answer came'));
      });
      if (body === undefined) asked.end();
      else
        body
          .write(asked, () => !isDone)
          .catch((error: unknown) => {
            if (done()) reject(error);
            asked.destroy();
          });
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Bytes that are given to the connection at a time. */
const pieceBytes = 524_288;

/** Resolves when more can be written, or nothing more is wanted. */
export function writable(request: ClientRequest): Promise<void> {
  if (!request.writableNeedDrain || request.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      request.off('drain', done).off('close', done).off('response', done);
      resolve();
    };
    request.on('drain', done).on('close', done).on('response', done);
  });
}

/** Writes chunks, many at a time. */
export async function writeAll(
  request: ClientRequest,
  chunks: readonly Uint8Array[],
  isWanted: () => boolean,
): Promise<void> {
  let bytes = 0;
  request.cork();
  for (const chunk of chunks) {
    if (!isWanted()) break;
    request.write(chunk);
    bytes += chunk.length;
    if (bytes < pieceBytes) continue;
    bytes = 0;
    request.uncork();
    await writable(request);
    request.cork();
  }
  request.uncork();
  await writable(request);
}

/** A body that is in memory, and can be sent again. */
export const inMemory = (chunks: readonly Uint8Array[], length: number): Body => ({
  length,
  async write(request, isWanted) {
    await writeAll(request, chunks, isWanted);
    if (isWanted()) request.end();
  },
});
