/**
 * XEP-0363: HTTP File Upload. A client asks the service for a slot, uploads the file to the address it gets, and sends
 * the other address to whom it likes. Also answers requests of version 0.2. Slots are in slots.ts, what an account may
 * upload in account.ts, HTTP in uploading.ts and downloading.ts, expiry in retention.ts.
 */
import { randomBytes } from 'node:crypto';
import type { Accounts } from '../../server/accounts/index.js';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import {
  answers,
  command,
  type DiscoQuery,
  defineModule,
  disco,
  event,
  every,
  HttpError,
  http,
  type IqHandler,
  iq,
  metric,
  moves,
  service,
} from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { form } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import { AccountFiles, claiming, deleting, largestFile, releasing, storing } from './account.js';
import { cli } from './cli.js';
import { fileCommands } from './commands.js';
import { downloading } from './downloading.js';
import { encodeName } from './names.js';
import { purposeFeatures, readRequest, refusalError, slotElement, tooLarge, unsupported } from './request.js';
import { expiry, orphans, stepMs } from './retention.js';
import type { Uploads } from './services.js';
import { settings } from './settings.js';
import { newId, purposes, secretBytes, sign } from './slots.js';
import { expiryOf, type FileRecord, filesOf, findFile, stores } from './stored.js';
import { hasSpace, idIn, newShared, noSpace, type Shared, slotParameter, uploading } from './uploading.js';

const path = '/upload';
const tidyMs = 60_000;

/** One per server, keyed by an object that its hosts share. */
const ofServers = new WeakMap<Accounts, Shared>();

export default defineModule({
  cli,
  name: 'upload',
  summary: 'Users upload files and send their addresses.',
  implements: { 'XEP-0363': '1.2.0' },
  features: { service: [NS.upload, NS.uploadOld] },
  config: settings,
  stores,
  provides: ['uploads'],

  start: async ({ host, config, stores, provide, log }) => {
    const own = Jid.parse(`${config.subdomain}.${host.domain}`);
    const shared = ofServers.get(host.accounts) ?? newShared(config);
    ofServers.set(host.accounts, shared);
    const account = new AccountFiles(host, config, stores);
    const counts = { uploads: 0, uploadedBytes: 0, downloads: 0 };

    const found = { secret: randomBytes(secretBytes).toString('base64'), since: wall() };
    await stores.hosts.compareAndSet(host.domain, undefined, found);
    const { secret: text, since } = (await stores.hosts.get(host.domain)) ?? found;
    const secret = Buffer.from(text, 'base64');
    shared.secrets.set(host.domain, secret);
    shared.hosts.set(host.domain, host);

    /** Without a slash at the end. */
    const base = () => (config.public_url === '' ? host.publicUrl : config.public_url.replace(/\/+$/, ''));
    const urlOf = (id: string, name: string) => `${base() ?? ''}${path}/${id}/${encodeName(name)}`;

    /** §4. */
    const request: IqHandler = async ({ from, to, payload }) => {
      if (!to.equals(own)) throw new StanzaError('service-unavailable');
      if (from.local === undefined || from.domain !== host.domain || host.isAnonymous(from.bare))
        throw new StanzaError('forbidden', `Only users of ${host.domain} may upload files.`);
      if (base() === undefined) throw new StanzaError('service-unavailable', 'The server has no port for uploads.');
      const ns = payload.getNS()!;
      const now = wall();
      const wanted = readRequest(payload, now);
      const owner = from.toBare();
      const largest = largestFile(await account.limitsOf(owner), wanted.purpose, config);
      if (largest === 0) throw unsupported();
      if (wanted.size > largest) throw tooLarge(ns, largest);
      if (!(await hasSpace(host, shared, stores.contents, wanted.size)))
        throw new StanzaError('resource-constraint', noSpace);
      const slot = { ...wanted, id: newId(), owner: owner.bare, until: now + config.slot_seconds * 1000 };
      const refused = await host.askHome(claiming, owner, { slot, begins: false });
      if (refused !== null) throw refusalError(ns, refused);
      const get = urlOf(slot.id, slot.name);
      return slotElement(ns, `${get}?${slotParameter}=${sign(slot, secret)}`, get);
    };

    /** §3. */
    const isOwn = ({ to }: DiscoQuery) => to.equals(own);
    const limitsFor = ({ from }: DiscoQuery) => account.limitsOf(from.toBare());

    const described = (id: string, file: FileRecord) => {
      const expires = expiryOf(file, account.retention);
      const { name, size, type, at, purpose } = file;
      const end = expires === Number.POSITIVE_INFINITY ? undefined : expires;
      return { id, name, size, type, at, expires: end, purpose, url: urlOf(id, name) };
    };
    const uploads: Uploads = {
      list: async (owner, range) =>
        (await stores.files.page(owner.bare, range)).map(([id, file]) => described(id, file)),
      latest: async (owner, limit) => {
        let latest: (readonly [string, FileRecord])[] = [];
        let total = 0;
        for await (const entries of filesOf(stores.files, owner.bare)) {
          total += entries.length;
          latest = [...latest, ...entries].sort(([, one], [, other]) => other.at - one.at).slice(0, limit);
        }
        return { files: latest.map(([id, file]) => described(id, file)), total };
      },
      delete: async (owner, ids) => host.askHome(deleting, owner, { ids: [...ids] }),
      find: async (text) => {
        const id = idIn(`/${text.replace(/[?#].*$/s, '').replace(/^.*\/upload\//s, '')}`);
        const record = id === undefined ? undefined : await findFile(stores, id, account.retention, wall());
        const owner = record && Jid.parse(record.owner);
        return owner?.domain === host.domain ? { owner, file: described(id!, record!.file) } : undefined;
      },
      owners: (range) => stores.files.owners({ ...range, suffix: `@${host.domain}` }),
      usage: async (owner) => {
        const sum = { files: 0, bytes: 0 };
        for await (const entries of filesOf(stores.files, owner))
          for (const [, { size }] of entries) {
            sum.files++;
            sum.bytes += size;
          }
        return sum;
      },
    };
    provide('uploads', uploads);

    const expireStep = expiry({
      stores,
      domain: host.domain,
      retention: account.retention,
      deleteExpired: (owner) => host.askHome(deleting, owner, { ids: null }),
      log,
    });
    // Contents are not sorted by host: one of them looks at all.
    const orphanStep =
      Object.keys(host.config.hosts)[0] === host.domain ? orphans(stores, since, log) : () => Promise.resolve();

    const cors = { origins: '*', headers: ['Authorization', 'Content-Type'] } as const;
    const put = uploading({
      host,
      config,
      shared,
      contents: stores.contents,
      log,
      stored: ({ size }) => {
        counts.uploads++;
        counts.uploadedBytes += size;
      },
    });
    const get = downloading(stores, account.retention, () => {
      counts.downloads++;
    });

    return [
      service({ subdomain: config.subdomain }),
      disco('service', {
        identities: (query) => (isOwn(query) ? [{ category: 'store', type: 'file', name: 'HTTP File Upload' }] : []),
        features: async (query) => {
          if (!isOwn(query)) return [];
          const limits = await limitsFor(query);
          return purposeFeatures(purposes.filter((purpose) => largestFile(limits, purpose, config) > 0));
        },
        forms: async (query) => {
          if (!isOwn(query)) return [];
          const size = largestFile(await limitsFor(query), 'message', config);
          const field = { var: 'max-file-size', type: 'text-single', value: size } as const;
          return [NS.upload, NS.uploadOld].map((formType) => form({ type: 'result', formType, fields: [field] }));
        },
      }),
      iq.get('service', NS.upload, 'request', request),
      iq.get('service', NS.uploadOld, 'request', request),
      http('PUT', path, put, { below: true, body: 'stream', cors }),
      http('GET', path, get, { below: true, cors: { ...cors, exposed: ['Content-Range', 'Content-Disposition'] } }),
      answers(claiming, ({ slot, begins }, owner) => account.claim(owner, slot, begins)),
      answers(storing, ({ slot, isFound }, owner) => account.store(owner, slot, isFound)),
      answers(releasing, (slot, owner) => {
        account.release(owner, slot);
        return null;
      }),
      answers(deleting, ({ ids }, owner) => account.delete(owner.bare, ids)),
      ...fileCommands(uploads).map(command),
      event('accountDeleting', ({ jid }) => account.forget(jid.bare)),
      event('moved', ({ concerns }) => account.moved(concerns)),
      moves(account.memory),
      event('stopping', async () => {
        const running = [...shared.uploads.values()];
        for (const upload of running) upload.cancel(new HttpError(503, 'The server is shutting down.'));
        await Promise.all(running.map(({ done }) => done));
      }),
      every(tidyMs, () => account.tidy()),
      every(stepMs, () => expireStep(), { job: 'upload expiry' }),
      every(stepMs, () => orphanStep(), { job: 'upload orphans' }),
      metric({
        name: 'waxwing_uploads_total',
        help: 'Files uploaded',
        read: () => counts.uploads,
      }),
      metric({
        name: 'waxwing_uploaded_bytes_total',
        help: 'Bytes of uploaded files',
        read: () => counts.uploadedBytes,
      }),
      metric({
        name: 'waxwing_downloads_total',
        help: 'Answers with an uploaded file or a part of it',
        read: () => counts.downloads,
      }),
    ];
  },
});
