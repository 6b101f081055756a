/** Errors of RFC 6120: what a stanza is refused with (§8.3) and what a stream is closed with (§4.9). */
import { type Element, el } from '../xml/element.js';
import { NS } from './ns.js';

export type ErrorType = 'auth' | 'cancel' | 'continue' | 'modify' | 'wait';

/** RFC 6120 §8.3.3: each condition with the type that the RFC gives it, and the legacy code of XEP-0086. */
const conditions = {
  'bad-request': ['modify', 400],
  conflict: ['cancel', 409],
  'feature-not-implemented': ['cancel', 501],
  forbidden: ['auth', 403],
  gone: ['cancel', 302],
  'internal-server-error': ['cancel', 500],
  'item-not-found': ['cancel', 404],
  'jid-malformed': ['modify', 400],
  'not-acceptable': ['modify', 406],
  'not-allowed': ['cancel', 405],
  'not-authorized': ['auth', 401],
  'policy-violation': ['modify', 400],
  'recipient-unavailable': ['wait', 404],
  redirect: ['modify', 302],
  'registration-required': ['auth', 407],
  'remote-server-not-found': ['cancel', 404],
  'remote-server-timeout': ['wait', 504],
  'resource-constraint': ['wait', 500],
  'service-unavailable': ['cancel', 503],
  'subscription-required': ['auth', 407],
  'undefined-condition': ['cancel', 500],
  'unexpected-request': ['wait', 400],
} as const satisfies Record<string, readonly [ErrorType, number]>;

export type StanzaErrorCondition = keyof typeof conditions;

export const isStanzaErrorCondition = (name: string): name is StanzaErrorCondition => Object.hasOwn(conditions, name);

export interface StanzaErrorOptions {
  /** Where a specification asks for another type than RFC 6120's. */
  readonly type?: ErrorType | undefined;
  /** Application-specific conditions (RFC 6120 §8.3.4), put after the condition. */
  readonly extra?: readonly Element[] | undefined;
  /** Character data of the condition itself: the new address of `gone` and `redirect`. */
  readonly uri?: string | undefined;
  /** Who refuses (`by`), where it is not the addressee. */
  readonly by?: string | undefined;
  /** The answer does not repeat what is refused: there is a password in it. */
  readonly bare?: boolean | undefined;
  /** What the answer carries in the place of what is refused. */
  readonly instead?: Element | undefined;
  /** The sender must not learn that the account exists: IQs are answered as for one that does not. */
  readonly hides?: boolean | undefined;
}

/** The peer asked something that we refuse. Thrown by handlers; the dispatcher answers it. */
export class StanzaError extends Error {
  override readonly name = 'StanzaError';
  readonly type: ErrorType;

  constructor(
    readonly condition: StanzaErrorCondition,
    readonly text?: string,
    readonly options: StanzaErrorOptions = {},
  ) {
    // It is an answer, not a fault. A stack trace makes it ten times as expensive, and clients choose how often it is made.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(text === undefined ? condition : `${condition}: ${text}`);
    Error.stackTraceLimit = stackTraceLimit;
    this.type = options.type ?? conditions[condition][0];
  }

  /** The `<error/>` child (RFC 6120 §8.3.2), with the legacy code that older clients read. */
  toElement(): Element {
    const { by, uri, extra = [] } = this.options;
    return el(
      'error',
      { type: this.type, code: String(conditions[this.condition][1]), by },
      el(this.condition, { xmlns: NS.stanzas }, uri),
      this.text === undefined ? undefined : el('text', { xmlns: NS.stanzas, 'xml:lang': 'en' }, this.text),
      ...extra,
    );
  }
}

/** RFC 6120 §4.9.3. */
export type StreamErrorCondition =
  | 'bad-format'
  | 'bad-namespace-prefix'
  | 'conflict'
  | 'connection-timeout'
  | 'host-gone'
  | 'host-unknown'
  | 'improper-addressing'
  | 'internal-server-error'
  | 'invalid-from'
  | 'invalid-namespace'
  | 'invalid-xml'
  | 'not-authorized'
  | 'not-well-formed'
  | 'policy-violation'
  | 'remote-connection-failed'
  | 'reset'
  | 'resource-constraint'
  | 'restricted-xml'
  | 'see-other-host'
  | 'system-shutdown'
  | 'undefined-condition'
  | 'unsupported-encoding'
  | 'unsupported-feature'
  | 'unsupported-stanza-type'
  | 'unsupported-version';

/** The peer broke the stream, or we end it: it is told and closed. */
export class StreamError extends Error {
  override readonly name = 'StreamError';

  constructor(
    readonly condition: StreamErrorCondition,
    readonly text?: string,
    readonly extra: readonly Element[] = [],
  ) {
    super(text === undefined ? condition : `${condition}: ${text}`);
  }

  /** The content of `<stream:error/>`. */
  toElements(): Element[] {
    return [
      el(this.condition, { xmlns: NS.streams }),
      ...(this.text === undefined ? [] : [el('text', { xmlns: NS.streams, 'xml:lang': 'en' }, this.text)]),
      ...this.extra,
    ];
  }
}
