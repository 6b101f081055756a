/** What the archive offers other modules. */
import type { IqHandler, IqRequest, Source } from '../../server/module/index.js';
import type { Jid } from '../../server/stanza/jid.js';
import type { ChildName, Stanza } from '../../server/stanza/stanza.js';
import type { Element } from '../../server/xml/element.js';
import type { LogEntry, LogPage, LogQuery, LogStore } from '../../storage/contract.js';

/** What of an archive somebody may see who may see it at all; of an account's: everything. */
export interface ArchiveView {
  /** What is shown of a message, as XML: rooms leave out what not everybody may know. */
  readonly show?: ((xml: string) => string) | undefined;
  /** Whether the field `with` may be a sender's real address (XEP-0313 §4.1.1). Rooms: it is the room's `with`. */
  readonly knowsSenders: boolean;
  /** Where the messages are that are asked for, if not in the archive of the addressee. It is not searched for words. */
  readonly source?: Pick<LogStore, 'page' | 'count'> | undefined;
}

/** What its owner wants of an archive (XEP-0441). Synchronous while it is in memory. */
export interface ArchivePreferences {
  /** Whether what is said with this address is archived. */
  wants(owner: Jid, peer: Jid): boolean | Promise<boolean>;
  /** Seconds after which it may go; Infinity: the configuration alone decides. */
  keeps(owner: string): number | Promise<number>;
}

/**
 * The archives of accounts and rooms, by their bare addresses. Who may read is for the caller to find out: these are
 * not asked twice.
 */
export interface Archives {
  /** Disco features of an address that has an archive. */
  readonly features: readonly string[];
  /**
   * Keeps a message as it is to be shown, under an id that is known at once. `with`: whom it is with, rooms: who really
   * said it. Clean it first: what it claims of ids (XEP-0359) or senders is believed by whoever reads it.
   */
  append(owner: Jid, stanza: Stanza, others: { readonly with?: Jid | undefined }): ArchiveReceipt;
  /** Answers `<query/>` (set): sends the results to who asks, then gives the `<fin/>`. Throws StanzaError. */
  answer(request: IqRequest, view?: ArchiveView): Source<Element>;
  /** Answers `<query/>` (get): the form with the fields that `answer` knows, of an archive with a source of its own or not. */
  form(view?: Pick<ArchiveView, 'source'>): Element;
  /** `<metadata/>`: the first and the last message. */
  metadata(owner: Jid): Promise<Element>;
  /** `<result/>` with a message of the archive in it, as text for `Stanza.plusWritten`. */
  result(entry: LogEntry, queryId: string | undefined): string;
  /** What is kept, as it is: values are messages as XML, their namespace declared; `timeOf` an id is when. */
  read(owner: Jid, query: LogQuery): Promise<LogPage>;
  /**
   * Puts `retracted` in the place of what a message says (XEP-0424 §4, XEP-0425): its header stays, and the children
   * that `stays` is true for. Whether it was there.
   */
  tombstone(owner: Jid, id: string, retracted: Element, stays?: (child: ChildName) => boolean): Promise<boolean>;
  /** Removes a message and all before it; without an id, all that is there now. Throws StanzaError('item-not-found'). */
  trim(owner: Jid, through?: string): Promise<void>;
  /** Asks them from now on; one module does. */
  prefer(preferences: ArchivePreferences): void;
  /** Hands it queries for archives of nodes of accounts (XEP-0442) from now on; one module does. */
  nodes(handler: IqHandler): void;
}

export interface ArchiveReceipt {
  readonly id: string;
  /** Resolves once the message would survive the power going. */
  readonly durable: Promise<void>;
}

declare module '../../server/module/index.js' {
  interface Services {
    archive: Archives;
  }

  interface Events {
    /** An account's own client was given these messages out of its archive. */
    archiveRead: { readonly owner: Jid; readonly ids: readonly string[] };
  }
}
