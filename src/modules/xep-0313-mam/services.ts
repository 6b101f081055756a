/** The service that this module provides to others. */

import type { Jid } from '../../server/address/jid.js';
import type { IqHandler, IqRequest, Maybe, Source } from '../../server/module/index.js';
import type { FirstFrame, Origin } from '../../server/routing/passage.js';
import type { ChildName, Stanza } from '../../server/stanza/stanza.js';
import type { Element } from '../../server/xml/element.js';
import type { LogEntry, LogPage, LogQuery, LogStore } from '../../storage/contract.js';

/** How a reader sees an archive. For an account's own: everything. */
export interface ArchiveView {
  /** Transforms a message, as XML: rooms hide what not every reader may see. */
  readonly show?: ((xml: string) => string) | undefined;
  /** Whether the field `with` may be a sender's real address (XEP-0313 §4.1.1), as archived by rooms. */
  readonly knowsSenders: boolean;
  /** Reads messages from here instead of the addressee's archive. Not searchable. */
  readonly source?: Pick<LogStore, 'page' | 'count' | 'supports'> | undefined;
}

/** An owner's archiving preferences (XEP-0441). Synchronous if cached. */
export interface ArchivePreferences {
  /** Whether messages with this peer are archived. */
  wants(owner: Jid, peer: Jid): Maybe<boolean>;
  /** Seconds after which messages may be deleted; Infinity: no limit besides the configuration. */
  keeps(owner: string): Maybe<number>;
}

/** The archives of accounts and rooms, by bare address. The caller must check permissions: this service does not. */
export interface Archives {
  /** Disco features of an address with an archive. */
  readonly features: readonly string[];
  /**
   * Archives a message under an id that is returned at once. `with`: the peer; for rooms, the real address of the
   * sender. `origin`: of the message; if another node may repeat it, the caller asks `archivedFrom` first. The caller must remove forged ids (XEP-0359) and senders first, since readers trust them.
   */
  append(
    owner: Jid,
    stanza: Stanza,
    others: { readonly with?: Jid | undefined; readonly origin?: Origin | undefined },
  ): ArchiveReceipt;
  /**
   * Resolves with the id under which the owner's former home has archived a message that is sent again (see
   * `repeatedFrame`); undefined if it has not. Type and id of `stanza` are those of the archived message.
   */
  archivedFrom(owner: Jid, frame: FirstFrame, stanza: Pick<Stanza, 'type' | 'id'>): Promise<string | undefined>;
  /** Answers `<query/>` (set): sends the results to the requester, then returns `<fin/>`. Throws StanzaError. */
  answer(request: IqRequest, view?: ArchiveView): Source<Element>;
  /**
   * Answers `<query/>` (get): the form with the fields that `answer` supports, for an archive with or without its own
   * source.
   */
  form(view?: Pick<ArchiveView, 'source'>): Element;
  /** `<metadata/>`: the first and the last message. */
  metadata(owner: Jid): Promise<Element>;
  /** `<result/>` around an archived message, as text for `Stanza.plusWritten`. */
  result(entry: LogEntry, queryId: string | undefined): string;
  /** Raw entries: values are messages as XML with their namespace declared; `timeOf` gives the time of an id. */
  read(owner: Jid, query: LogQuery): Promise<LogPage>;
  /**
   * Replaces the content of a message by `retracted` (XEP-0424 §4, XEP-0425), except its header and children selected
   * by `stays`. Resolves with whether the message existed.
   */
  tombstone(owner: Jid, id: string, retracted: Element, stays?: (child: ChildName) => boolean): Promise<boolean>;
  /** Deletes a message and all before it; without an id, all present messages. Throws StanzaError('item-not-found'). */
  trim(owner: Jid, through?: string): Promise<void>;
  /** Installs the preferences; only one module may. */
  prefer(preferences: ArchivePreferences): void;
  /** Installs the handler of queries for archives of nodes of accounts (XEP-0442); only one module may. */
  nodes(handler: IqHandler): void;
}

export interface ArchiveReceipt {
  readonly id: string;
  /** Resolves once the message is durable. */
  readonly durable: Promise<void>;
}

declare module '../../server/module/index.js' {
  interface Services {
    archive: Archives;
  }

  interface Events {
    /** An account's own client has received these messages from its archive. */
    archiveRead: { readonly owner: Jid; readonly ids: readonly string[] };
  }
}
