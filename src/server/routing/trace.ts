import type { Logger } from 'pino';
import type { Stanza } from '../stanza/stanza.js';
import type { Session } from './session.js';

/** Logs the path of a stanza by its id at level debug; never its content. */
export function trace(log: Logger, stanza: Stanza, what: string, sessions?: readonly Session[]): void {
  if (!log.isLevelEnabled('debug')) return;
  const { name, id, type, from, to } = stanza;
  const resources = sessions?.map(({ jid }) => jid.resource);
  log.debug({ stanza: name, id, type, from: from?.full, to: to?.full, resources }, what);
}
