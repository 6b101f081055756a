/** Errors of RFC 6120: stanza errors (§8.3) and stream errors (§4.9). */
import { type Element, el } from '../xml/element.js';
import { NS } from './ns.js';

export const errorTypes = ['auth', 'cancel', 'continue', 'modify', 'wait'] as const;
export type ErrorType = (typeof errorTypes)[number];

/** RFC 6120 §8.3.3: each condition with its type, and its legacy code from XEP-0086. */
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
  /** Overrides the type of RFC 6120 if a specification requires another. */
  readonly type?: ErrorType | undefined;
  /** Application-specific conditions (RFC 6120 §8.3.4), added after the condition. */
  readonly extra?: readonly Element[] | undefined;
  /** Character data of the condition itself: the new address of `gone` and `redirect`. */
  readonly uri?: string | undefined;
  /** The entity that refuses (`by`), if it is not the addressee. */
  readonly by?: string | undefined;
  /** Whether to omit the refused content from the answer, because it contains a password. */
  readonly bare?: boolean | undefined;
  /** Content of the answer instead of the refused content. */
  readonly instead?: Element | undefined;
  /** Whether to hide that the account exists: IQs are answered as if it did not. */
  readonly hides?: boolean | undefined;
}

/** A request is refused. Thrown by handlers; the dispatcher sends the answer. */
export class StanzaError extends Error {
  override readonly name = 'StanzaError';
  readonly type: ErrorType;

  constructor(
    readonly condition: StanzaErrorCondition,
    readonly text?: string,
    readonly options: StanzaErrorOptions = {},
  ) {
    // A refusal is not a fault: a stack trace would cost ten times as much, and clients could force any number of them.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(text === undefined ? condition : `${condition}: ${text}`);
    Error.stackTraceLimit = stackTraceLimit;
    this.type = options.type ?? conditions[condition][0];
  }

  /** Builds `<error/>` (RFC 6120 §8.3.2), with the legacy code that older clients read. */
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

/** The peer violated the stream protocol, or we end the stream: the error is sent and the stream closed. */
export class StreamError extends Error {
  override readonly name = 'StreamError';

  constructor(
    readonly condition: StreamErrorCondition,
    readonly text?: string,
    readonly extra: readonly Element[] = [],
  ) {
    super(text === undefined ? condition : `${condition}: ${text}`);
  }

  /** Returns the content of `<stream:error/>`. */
  toElements(): Element[] {
    return [
      el(this.condition, { xmlns: NS.streams }),
      ...(this.text === undefined ? [] : [el('text', { xmlns: NS.streams, 'xml:lang': 'en' }, this.text)]),
      ...this.extra,
    ];
  }
}
