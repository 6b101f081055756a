/** XEP-0124 §17: errors of a session, as conditions of a `<body/>` or, for old clients, as codes of HTTP. */
import { wrap } from './wrapper.js';

/** §17.2: terminal binding conditions. */
export type Condition =
  | 'bad-request'
  | 'host-unknown'
  | 'improper-addressing'
  | 'item-not-found'
  | 'other-request'
  | 'policy-violation'
  | 'remote-connection-failed'
  | 'remote-stream-error'
  | 'system-shutdown';

export interface Reply {
  readonly status: number;
  /** The `<body/>`; empty for a code of HTTP. */
  readonly body: string;
}

/** §17.1. */
const codes: Partial<Record<Condition, number>> = {
  'bad-request': 400,
  'policy-violation': 403,
  'item-not-found': 404,
};

export function errorReply(condition: Condition, isLegacy: boolean): Reply {
  const code = isLegacy ? codes[condition] : undefined;
  return code === undefined
    ? { status: 200, body: wrap({ type: 'terminate', condition }, '') }
    : { status: code, body: '' };
}
