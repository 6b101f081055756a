/** XEP-0045 §5: the rights of roles and affiliations, as tables. */

/** Lasts as long as the occupant stays; by increasing power. */
export const roles = ['none', 'visitor', 'participant', 'moderator'] as const;
export type Role = (typeof roles)[number];

/** A permanent relation of a user to a room; by increasing power. */
export const affiliations = ['outcast', 'none', 'member', 'admin', 'owner'] as const;
export type Affiliation = (typeof affiliations)[number];

export const isRole = (text: string | undefined): text is Role => roles.includes(text as Role);
export const isAffiliation = (text: string | undefined): text is Affiliation =>
  affiliations.includes(text as Affiliation);

/** Whether a role or affiliation is at least `least`. */
export const hasRole = (role: Role, least: Role): boolean => roles.indexOf(role) >= roles.indexOf(least);
export const isAtLeast = (affiliation: Affiliation, least: Affiliation): boolean =>
  affiliations.indexOf(affiliation) >= affiliations.indexOf(least);

/** §5.1.2: the role on entering; outcasts cannot enter. */
const entering: Readonly<Record<'moderated' | 'unmoderated', Readonly<Record<Affiliation, Role>>>> = {
  moderated: { outcast: 'none', none: 'visitor', member: 'participant', admin: 'moderator', owner: 'moderator' },
  unmoderated: { outcast: 'none', none: 'participant', member: 'participant', admin: 'moderator', owner: 'moderator' },
};

export const defaultRole = (affiliation: Affiliation, isModerated: boolean): Role =>
  entering[isModerated ? 'moderated' : 'unmoderated'][affiliation];

/**
 * §5.1.3: the role of an occupant after a change of affiliation: raised to the default of the new affiliation, and
 * lowered to it if the occupant was an admin or owner and no longer is.
 */
export function roleAfter(role: Role, before: Affiliation, after: Affiliation, isModerated: boolean): Role {
  const given = defaultRole(after, isModerated);
  const lostPower = isAtLeast(before, 'admin') && !isAtLeast(after, 'admin');
  return lostPower || hasRole(given, role) ? given : role;
}

export interface Standing {
  readonly role: Role;
  readonly affiliation: Affiliation;
}

/** `forbidden` if the actor lacks the right altogether, `not-allowed` if only this target is protected. */
export type Verdict = 'allowed' | 'forbidden' | 'not-allowed';

/** §5.1.3, §8.2-8.4, §9.6-9.7: whether one occupant may give another a role. */
export function judgeRole(actor: Standing, target: Standing, role: Role): Verdict {
  if (!hasRole(actor.role, 'moderator')) return 'forbidden';
  const touchesModerators = role === 'moderator' || target.role === 'moderator';
  if (touchesModerators && !isAtLeast(actor.affiliation, 'admin'))
    return role === 'moderator' ? 'forbidden' : 'not-allowed';
  if (role === 'moderator') return 'allowed';
  // Admins and owners stay moderators as long as they have the affiliation (§8.4, §9.7).
  if (role !== 'none') return isAtLeast(target.affiliation, 'admin') ? 'not-allowed' : 'allowed';
  // §8.2: users with a higher affiliation cannot be kicked
  return isAtLeast(actor.affiliation, target.affiliation) ? 'allowed' : 'not-allowed';
}

/** §5.2.2: whether an actor may change another user's affiliation. The caller ensures that an owner remains. */
export function judgeAffiliation(actor: Affiliation, before: Affiliation, after: Affiliation): Verdict {
  if (actor === 'owner') return 'allowed';
  if (actor !== 'admin') return 'forbidden';
  if (isAtLeast(after, 'admin')) return 'forbidden';
  return isAtLeast(before, 'admin') ? 'not-allowed' : 'allowed';
}
