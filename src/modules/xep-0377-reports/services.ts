/** The service that this module provides to others. */
import type { Jid } from '../../server/address/jid.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import type { Element } from '../../server/xml/element.js';

/** A report of an address (XEP-0377), as received. */
export interface NewReport {
  /** The reporter: an account, or the server that forwards the report. */
  readonly by: Jid;
  readonly about: Jid;
  /**
   * The room in which it happened. Such a report concerns the room only: no message is sent, and it is not forwarded.
   */
  readonly room?: Jid | undefined;
  /** `<report/>`. */
  readonly element: Element;
  /** The messages that it names. If undefined, they are read from the reporter's archive. */
  readonly messages?: readonly Stanza[] | undefined;
}

/** A report, as stored. */
export interface KeptReport {
  readonly id: string;
  /** In ms since 1970. */
  readonly at: number;
  readonly by: string;
  readonly jid: string;
  readonly room: string | undefined;
  readonly reason: string;
  readonly text: string;
  /** XEP-0359 ids. */
  readonly messages: readonly string[];
  /** The messages that were found, as XML. */
  readonly evidence: readonly string[];
}

export interface Reports {
  /** Resolves once the report is durable, with whether it was stored: false above the daily limits. */
  add(report: NewReport): Promise<boolean>;
  /** The latest first, those before `before`. */
  list(range: { readonly limit: number; readonly before?: string | undefined }): Promise<KeptReport[]>;
  get(id: string): Promise<KeptReport | undefined>;
  /** Deletes these reports, or all. Returns how many there were. */
  forget(ids: readonly string[] | 'all'): Promise<number>;
}

declare module '../../server/module/index.js' {
  interface Services {
    reports: Reports;
  }
  interface Events {
    /** A report was stored. `by`: the reporter, or the host instead of an anonymous one. */
    reported: {
      readonly id: string;
      readonly by: Jid;
      readonly about: Jid;
      readonly room: Jid | undefined;
      readonly reason: string;
    };
  }
}
