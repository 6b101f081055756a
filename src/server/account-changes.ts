/** What follows when an account changes: its sessions end, its data is deleted, and modules are told. */
import type { Storage } from '../storage/contract.js';
import type { Usages } from '../storage/usage.js';
import type { AccountEvent } from './accounts/index.js';
import type { Jid } from './address/jid.js';
import type { Events } from './module/index.js';
import type { SessionDirectory } from './routing/directory.js';
import type { LocalHost } from './routing/host.js';
import type { Session } from './routing/session.js';
import { StreamError } from './stanza/errors.js';
import type { ClientStream } from './stream/c2s/client.js';

export interface AccountChangesParts {
  readonly hosts: ReadonlyMap<string, LocalHost>;
  readonly directory: SessionDirectory;
  readonly streams: Iterable<ClientStream>;
  readonly storage: Storage;
  readonly usages: Usages;
  end(session: Session, reason: StreamError): void;
}

export class AccountChanges {
  readonly #parts: AccountChangesParts;

  constructor(parts: AccountChangesParts) {
    this.#parts = parts;
  }

  async changed(event: AccountEvent): Promise<void> {
    const { jid, type } = event;
    switch (type) {
      case 'accountDeleted':
        return this.deleteData(jid);
      case 'roleChanged':
        this.#parts.usages.changed(jid.bare);
        return;
      case 'accountDisabled':
        this.#endSessions(jid, 'The account was disabled.');
        break;
      case 'accountCreated':
      case 'passwordChanged':
        break;
      default:
        return;
    }
    await this.#parts.hosts.get(jid.domain)?.emit(type, { jid } as Events[typeof type]);
  }

  /** Deletes all data of an account, except its deletion mark: that goes last, so that a crash leaves no data. */
  async deleteData(jid: Jid, isAnonymous = false): Promise<void> {
    const { hosts, storage, usages } = this.#parts;
    const host = hosts.get(jid.domain);
    await host?.emit('accountDeleting', { jid });
    this.#endSessions(jid, 'The account was deleted.');
    const stores = await storage.stores();
    await Promise.all(
      stores
        .filter(({ name }) => name !== 'accounts' && name !== 'passing')
        .map(({ shape, name }) => storage[shape](name).forget(jid.bare)),
    );
    usages.changed(jid.bare);
    await host?.emit('accountDeleted', { jid, isAnonymous });
  }

  #endSessions(jid: Jid, text: string): void {
    for (const session of this.#parts.directory.of(jid.bare))
      this.#parts.end(session, new StreamError('not-authorized', text));
    // Authenticated streams without a session.
    for (const stream of this.#parts.streams)
      if (stream.account?.sameBare(jid)) stream.close(new StreamError('not-authorized', text));
  }
}
