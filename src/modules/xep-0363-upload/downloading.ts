/** Downloading: whoever knows the address of a file gets it (§2). A browser runs nothing of it (§11.1). */
import type { OutgoingHttpHeaders } from 'node:http';
import { wall } from '../../server/clock.js';
import { fileAnswer } from '../../server/http/files.js';
import { type HttpAnswer, HttpError, type HttpRequest } from '../../server/module/index.js';
import { inertHeaders, storedHeaders } from './names.js';
import { expiryOf, type FileStores, findFile } from './stored.js';
import { available, idIn } from './uploading.js';

/** How long a client may use its copy without asking, in ms: a deleted file may be seen for as long. */
const cachedMs = 86_400_000;

/** Returns the handler of GET and HEAD. `retention` in ms. */
export function downloading(stores: FileStores, retention: number, sent: () => void) {
  return async (request: HttpRequest): Promise<HttpAnswer> => {
    const id = idIn(request.rest);
    const now = wall();
    const found = id === undefined ? undefined : await findFile(stores, id, retention, now);
    if (found === undefined) throw new HttpError(404);
    const { file } = found;
    const age = Math.floor(Math.min(cachedMs, expiryOf(file, retention) - now) / 1000);
    const facts = (headers: OutgoingHttpHeaders) => ({ etag: `"${id}"`, modified: new Date(file.at), headers });
    const cached = (seconds: number) => `private, max-age=${seconds}`;
    const inert = inertHeaders(file.name, file.type);
    const { link } = stores.contents;
    if (link !== undefined) {
      // Whether the client has it already is decided here; the rest of the request is the store's.
      const { range: _, ...headers } = request.headers;
      const known = fileAnswer({ method: 'HEAD', headers }, { ...facts(inert), size: file.size, read: nothing });
      if (known.status === 304) return known;
      const { url, seconds = age } = await link(id!, {
        method: request.method === 'HEAD' ? 'HEAD' : 'GET',
        headers: storedHeaders(inert),
      });
      sent();
      // Whoever follows it late gets another one.
      return {
        status: 302,
        headers: { location: url, 'cache-control': cached(Math.min(age, Math.floor(seconds / 2))) },
      };
    }
    const blob = await available(() => stores.contents.get(id!));
    if (blob === undefined) throw new HttpError(404);
    let isRead = false;
    try {
      return fileAnswer(request, {
        ...facts({ ...inert, 'cache-control': `${cached(age)}, immutable` }),
        size: blob.size,
        read: (start, end) => {
          isRead = true;
          sent();
          return blob.read({ start, end: end - 1 });
        },
      });
    } finally {
      if (!isRead) await blob.close();
    }
  };
}

const nothing = () => new Uint8Array();
