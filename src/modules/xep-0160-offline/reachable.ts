/** Who is there to take a message. */
import type { MessagePassage } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';

/** Messages to the bare address go there (RFC 6121 §8.5.2.1.1). */
export const isReachable = ({ available, priority }: Session): boolean => available && priority >= 0;

/** Everybody who could get a message is away, and has so much to come that it is stored until one of them is back. */
export const isBacklogged = (sessions: readonly Session[]): boolean => {
  let count = 0;
  for (const session of sessions) {
    if (!isReachable(session)) continue;
    if (!session.isBacklogged) return false;
    count++;
  }
  return count > 0;
};

/** Not for the one resource that gets only what is addressed to it. */
export const isForReachable = ({ stanza, sessions }: MessagePassage): boolean => {
  const addressed = sessions.find(({ jid }) => jid.resource === stanza.to?.resource);
  return addressed === undefined || isReachable(addressed);
};
