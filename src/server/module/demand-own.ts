import { StanzaError } from '../stanza/errors.js';
import type { IqRequest } from './requests.js';

/** Throws `forbidden` where somebody else than its owner asks an account. */
export function demandOwn({ isOwn }: Pick<IqRequest, 'isOwn'>): void {
  if (!isOwn) throw new StanzaError('forbidden');
}
