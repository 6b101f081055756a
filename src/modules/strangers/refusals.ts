/** What strangers are told. */
import { StanzaError } from '../../server/stanza/errors.js';

/** As an account or a client answers that is not there (RFC 6121 §8.5). */
export const absent = (): StanzaError => new StanzaError('service-unavailable');

export const unwanted = (): StanzaError =>
  new StanzaError('policy-violation', 'The recipient does not know you.', { type: 'cancel' });

export const tooMany = (text: string): StanzaError => new StanzaError('policy-violation', text, { type: 'wait' });
