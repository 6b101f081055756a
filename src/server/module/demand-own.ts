import { StanzaError } from '../stanza/errors.js';
import type { IqRequest } from './requests.js';

/** Throws `forbidden` unless the account is asked by its owner. */
export function demandOwn({ isOwn }: Pick<IqRequest, 'isOwn'>): void {
  if (!isOwn) throw new StanzaError('forbidden');
}
