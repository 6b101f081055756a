/**
 * Uploading (§7): one PUT for each slot. The content is streamed into the blob storage at its own pace, and becomes a
 * file once it is durable. A second PUT for a slot ends the first one if that is still going on, because its client has
 * lost the connection; it never replaces a stored file.
 */
import type { Logger } from 'pino';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { Portions } from '../../server/limits/portions.js';
import { type Host, type HttpAnswer, HttpError, type HttpRequest } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { BlobExists, WrongSize } from '../../storage/blobs.js';
import { StorageError } from '../../storage/contract.js';
import { claiming, deleting, type Refusal, releasing, storing } from './account.js';
import { essenceOf, inertHeaders, storedHeaders } from './names.js';
import { refusalTexts } from './request.js';
import type { Settings } from './settings.js';
import { type Slot, verify } from './slots.js';
import type { FileStores } from './stored.js';

interface Upload {
  cancel(reason: HttpError): void;
  /** Never rejects. */
  readonly done: Promise<unknown>;
}

/** What the hosts of a server have in common: a client may reach any of them under the address of another. */
export interface Shared {
  readonly secrets: Map<string, Buffer>;
  readonly hosts: Map<string, Host>;
  /** By id of the slot. */
  readonly uploads: Map<string, Upload>;
  /** Running uploads by account. */
  readonly places: Portions;
  /** Announced bytes of all running uploads. */
  bytes: number;
}

/** Running uploads of one account. */
const eachAccount = 10;

export const noSpace = 'The server has no space for more files at present.';

/** When to try again, in seconds: an outage of the storage is looked at more often. */
const outageSeconds = 10;

const unavailable = (cause: StorageError): HttpError =>
  new HttpError(503, 'The storage of files does not work at present.', {
    headers: { 'retry-after': String(outageSeconds) },
    cause,
  });

/** Rejects with HttpError 503 while the storage does not work, which is logged there. */
export async function available<R>(work: () => Promise<R>): Promise<R> {
  try {
    return await work();
  } catch (error) {
    const isOut = error instanceof StorageError && (error.failure === 'busy' || error.failure === 'unavailable');
    throw isOut ? unavailable(error) : error;
  }
}

export const newShared = ({ uploads }: Settings): Shared => ({
  secrets: new Map(),
  hosts: new Map(),
  uploads: new Map(),
  places: new Portions(() => ({ all: uploads, each: eachAccount })),
  bytes: 0,
});

/** Whether the disk has space for a file besides all running uploads. */
export async function hasSpace(
  host: Host,
  shared: Shared,
  contents: FileStores['contents'],
  size: number,
): Promise<boolean> {
  const free = await contents.free();
  if (free === undefined || free - shared.bytes - size >= host.config.storage.low_space_bytes) return true;
  host.limitHit('upload.low_space');
  return false;
}

export interface UploadingParts {
  readonly host: Host;
  readonly config: Settings;
  readonly shared: Shared;
  readonly contents: FileStores['contents'];
  readonly log: Logger;
  /** A file has been stored. */
  stored(slot: Slot): void;
}

/** The id in the path of a file: `/ID` or `/ID/NAME`. The name is decoration. */
export const idIn = (rest: string): string | undefined => /^\/([0-9a-f]{32})(?:\/[^/]*)?$/.exec(rest)?.[1];

/** The parameter of the address that has the signed slot. */
export const slotParameter = 'slot';

/** Returns the handler of PUT. */
export function uploading({ host, config, shared, contents, log, stored }: UploadingParts) {
  /** The slot of a request. Throws HttpError if the request does not fit it. */
  const slotOf = ({ rest, query, headers, length }: HttpRequest): Slot => {
    const secretOf = (owner: string) => shared.secrets.get(Jid.tryParse(owner)?.domain ?? '');
    const slot = verify(query.get(slotParameter) ?? '', secretOf);
    if (slot === undefined || slot.id !== idIn(rest)) throw new HttpError(403, 'This address has no valid slot.');
    if (slot.until <= wall()) throw new HttpError(403, 'The slot has expired. Request a new one.');
    // §7
    if (length === undefined) throw new HttpError(411, 'The request needs a Content-Length.');
    if (length !== slot.size)
      throw new HttpError(length > slot.size ? 413 : 400, `The slot is for a file of ${slot.size} bytes.`);
    const type = headers['content-type'];
    if (slot.type !== undefined && type !== undefined && essenceOf(type) !== slot.type)
      throw new HttpError(415, 'The slot is for a file of another type.');
    return slot;
  };

  const fill = async (home: Host, owner: Jid, slot: Slot, { stream }: HttpRequest): Promise<void> => {
    let isFound = false;
    try {
      await contents.put(slot.id, stream, slot.size, storedHeaders(inertHeaders(slot.name, slot.type)));
    } catch (error) {
      // A complete content without a record is from an upload at another node, or from a node that stopped in between.
      if (!(error instanceof BlobExists) || (await contents.stat(slot.id))?.size !== slot.size) throw error;
      isFound = true;
    }
    const refused = await home.askHome(storing, owner, { slot, isFound });
    if (refused === null) return;
    if (refused.kind !== 'stored') {
      await home.askHome(deleting, owner, { ids: [slot.id] });
      await contents.delete([slot.id]);
    }
    throw refusalAnswer(refused);
  };

  const release = async (home: Host, owner: Jid, slot: Slot): Promise<void> => {
    try {
      await home.askHome(releasing, owner, slot);
    } catch (error) {
      log.warn({ err: error, owner: owner.bare }, 'a failed upload counts as running until it would have ended');
    }
  };

  const store = async (slot: Slot, request: HttpRequest): Promise<void> => {
    const home = shared.hosts.get(Jid.parse(slot.owner).domain);
    if (home === undefined) throw new HttpError(403, 'This address has no valid slot.');
    const owner = Jid.parse(slot.owner);
    if (!(await hasSpace(host, shared, contents, slot.size))) throw new HttpError(507, noSpace);
    shared.bytes += slot.size;
    try {
      const refused = await home.askHome(claiming, owner, { slot, begins: true });
      if (refused !== null) throw refusalAnswer(refused);
      try {
        await fill(home, owner, slot, request);
      } catch (error) {
        await release(home, owner, slot);
        throw error;
      }
    } finally {
      shared.bytes -= slot.size;
    }
  };

  /** Errors of the client or of the storage as answers; other errors as they are. */
  const asAnswer = (error: unknown): unknown => {
    if (error instanceof WrongSize) return new HttpError(400, error.message);
    if (error instanceof StanzaError)
      return new HttpError(503, 'The server cannot store the file at present.', { cause: error });
    if (!(error instanceof StorageError)) return error;
    if (error.failure === 'busy') return unavailable(error);
    if (error.failure === 'unavailable' || error.failure === 'read-only') {
      log.error({ err: error }, 'could not store an uploaded file');
      return unavailable(error);
    }
    if (error.failure !== 'full') return error;
    log.error({ err: error }, 'could not store an uploaded file');
    return new HttpError(507, noSpace, { cause: error });
  };

  return async (request: HttpRequest): Promise<HttpAnswer> => {
    const slot = slotOf(request);
    for (let other = shared.uploads.get(slot.id); other !== undefined; other = shared.uploads.get(slot.id)) {
      other.cancel(new HttpError(409, 'Another upload for this slot has begun.'));
      await other.done;
    }
    const full = shared.places.take(slot.owner);
    if (full !== undefined) {
      host.limitHit(full === 'each' ? 'upload.uploads_each' : 'upload.uploads');
      throw new HttpError(429, 'Too many files are being uploaded.', { headers: { 'retry-after': '10' } });
    }
    const { stream } = request;
    const cancel = (reason: HttpError) => void stream.destroy(reason);
    const timer = setTimeout(
      () => cancel(new HttpError(408, 'The upload took too long.')),
      config.upload_seconds * 1000,
    ).unref();
    const running = store(slot, request);
    const done = running
      .catch(() => {})
      .finally(() => {
        clearTimeout(timer);
        shared.places.give(slot.owner);
        shared.uploads.delete(slot.id);
      });
    shared.uploads.set(slot.id, { cancel, done });
    try {
      await running;
    } catch (error) {
      throw asAnswer(error);
    } finally {
      await done;
    }
    stored(slot);
    return { status: 201 };
  };
}

function refusalAnswer({ kind, retry }: Refusal): HttpError {
  const status = { stored: 409, gone: 403, slots: 429, files: 507, space: 507, day: 429 }[kind];
  const seconds = retry === undefined ? undefined : Math.max(1, Math.ceil((retry - wall()) / 1000));
  return new HttpError(
    status,
    refusalTexts[kind],
    seconds === undefined ? {} : { headers: { 'retry-after': String(seconds) } },
  );
}
