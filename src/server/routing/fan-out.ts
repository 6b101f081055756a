/** The limit of what one stanza may cost in all (`limits.fan_out_bytes`). */
import type { Host } from '../module/index.js';
import { StanzaError } from '../stanza/errors.js';
import { isLonger } from './admission.js';

/** A stanza of up to this size may go to any number of recipients, in bytes. */
const alwaysFansOut = 16_384;

/** Throws StanzaError if the content is too large for so many recipients. */
export function demandFanOut(host: Pick<Host, 'config' | 'limitHit'>, content: string, recipients: number): void {
  const limit = Math.max(alwaysFansOut, Math.floor(host.config.limits.fan_out_bytes / Math.max(1, recipients)));
  if (!isLonger(content, limit)) return;
  host.limitHit('fan_out_bytes');
  const text = `With this many recipients, a stanza may have at most ${limit} bytes.`;
  throw new StanzaError('policy-violation', text, { bare: true, type: 'modify' });
}
