/** Errors for unknown senders. */
import { StanzaError } from '../../server/stanza/errors.js';

/** The error for a missing account or client (RFC 6121 §8.5). */
export const absent = (): StanzaError => new StanzaError('service-unavailable');

export const unwanted = (): StanzaError =>
  new StanzaError('policy-violation', 'The recipient does not know you.', { type: 'cancel' });

export const tooMany = (text: string): StanzaError => new StanzaError('policy-violation', text, { type: 'wait' });
