/** Downloading: whoever knows the address of a file gets it (§2). A browser runs nothing of it (§11.1). */
import { wall } from '../../server/clock.js';
import { fileAnswer } from '../../server/http/files.js';
import { type HttpAnswer, HttpError, type HttpRequest } from '../../server/module/index.js';
import { inertHeaders } from './names.js';
import { expiryOf, type FileStores, findFile } from './stored.js';
import { idIn } from './uploading.js';

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
    const blob = await stores.contents.get(id!);
    if (blob === undefined) throw new HttpError(404);
    const age = Math.floor(Math.min(cachedMs, expiryOf(file, retention) - now) / 1000);
    let isRead = false;
    try {
      return fileAnswer(request, {
        size: blob.size,
        etag: `"${id}"`,
        modified: new Date(file.at),
        headers: { ...inertHeaders(file.name, file.type), 'cache-control': `private, max-age=${age}, immutable` },
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
