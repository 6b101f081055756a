/** XEP-0513: the owners' settings for mentions in a room. */
export const mentionKinds = ['individual', 'channel', 'space', 'server', 'associations', 'hats'] as const;
export type MentionKind = (typeof mentionKinds)[number];
export type MentionLevel = 'participants' | 'moderators' | 'none';

export interface MentionRights extends Readonly<Record<MentionKind, MentionLevel>> {
  /** Maximum number of mentions in one message. */
  readonly count: number;
}
