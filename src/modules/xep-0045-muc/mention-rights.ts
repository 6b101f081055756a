/** XEP-0513: what the owners of a room can set of mentions. */
export const mentionKinds = ['individual', 'channel', 'space', 'server', 'associations', 'hats'] as const;
export type MentionKind = (typeof mentionKinds)[number];
export type Whoever = 'participants' | 'moderators' | 'none';

export interface MentionRights extends Readonly<Record<MentionKind, Whoever>> {
  /** Mentions that one message can have. */
  readonly count: number;
}
