/** What reports offer other modules. */
import type { Jid } from '../../server/stanza/jid.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import type { Element } from '../../server/xml/element.js';

/** A complaint of an address or a room (XEP-0377), as it comes. */
export interface NewReport {
  /** Who complains: an account, or the server that passes it on. */
  readonly by: Jid;
  readonly about: Jid;
  /** The room in which it happened. Such a report is the room's business: nobody is told of it, and it stays here. */
  readonly room?: Jid | undefined;
  /** `<report/>`. */
  readonly element: Element;
  /** The messages that it names; undefined: they are looked for in the archive of who complains. */
  readonly messages?: readonly Stanza[] | undefined;
}

/** A complaint, as it is kept. */
export interface KeptReport {
  readonly id: string;
  /** Ms since 1970. */
  readonly at: number;
  readonly by: string;
  readonly jid: string;
  readonly room: string | undefined;
  readonly reason: string;
  readonly text: string;
  /** XEP-0359 ids. */
  readonly messages: readonly string[];
  /** Those of the messages that were found, as XML. */
  readonly evidence: readonly string[];
}

export interface Reports {
  /** Whether it was kept: not beyond what one may report in a day. Resolves once it is on disk. */
  add(report: NewReport): Promise<boolean>;
  /** The latest first, those before `before`. */
  list(range: { readonly limit: number; readonly before?: string | undefined }): Promise<KeptReport[]>;
  get(id: string): Promise<KeptReport | undefined>;
  /** Of these ids, or all of them; how many there were. */
  forget(ids: readonly string[] | 'all'): Promise<number>;
}

declare module '../../server/module/index.js' {
  interface Services {
    reports: Reports;
  }
}
