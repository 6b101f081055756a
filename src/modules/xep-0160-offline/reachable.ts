/** Which sessions can take a message. */
import type { MessagePassage } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';

/** Messages to the bare address go to these (RFC 6121 §8.5.2.1.1). */
export const isReachable = ({ available, priority }: Session): boolean => available && priority >= 0;

/** All reachable sessions are disconnected with long queues: messages are stored until one is resumed. */
export const isBacklogged = (sessions: readonly Session[]): boolean => {
  let count = 0;
  for (const session of sessions) {
    if (!isReachable(session)) continue;
    if (!session.isBacklogged) return false;
    count++;
  }
  return count > 0;
};

/** Whether the message is for all reachable sessions, and not for one resource with a negative priority. */
export const isForReachable = ({ stanza, sessions }: MessagePassage): boolean => {
  const addressed = sessions.find(({ jid }) => jid.resource === stanza.to?.resource);
  return addressed === undefined || isReachable(addressed);
};
