import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Affiliation,
  affiliations,
  defaultRole,
  judgeAffiliation,
  judgeRole,
  type Role,
  roleAfter,
  type Standing,
  type Verdict,
} from '../../src/modules/xep-0045-muc/privileges.js';

test('XEP-0045 §5.1.2: the role on joining', () => {
  const table: [Affiliation, Role, Role][] = [
    // affiliation, moderated room, unmoderated room
    ['outcast', 'none', 'none'],
    ['none', 'visitor', 'participant'],
    ['member', 'participant', 'participant'],
    ['admin', 'moderator', 'moderator'],
    ['owner', 'moderator', 'moderator'],
  ];
  for (const [affiliation, moderated, unmoderated] of table) {
    assert.equal(defaultRole(affiliation, true), moderated, affiliation);
    assert.equal(defaultRole(affiliation, false), unmoderated, affiliation);
  }
});

test('§5.1.3: a role after a change of affiliation', () => {
  const table: [Role, Affiliation, Affiliation, boolean, Role][] = [
    ['visitor', 'none', 'member', true, 'participant'],
    ['participant', 'none', 'admin', false, 'moderator'],
    ['moderator', 'admin', 'none', false, 'participant'],
    ['moderator', 'owner', 'member', true, 'participant'],
    ['moderator', 'owner', 'none', true, 'visitor'],
    ['moderator', 'owner', 'admin', true, 'moderator'],
    // a moderator by role stays one
    ['moderator', 'none', 'member', true, 'moderator'],
    ['moderator', 'member', 'none', true, 'moderator'],
    ['participant', 'member', 'none', true, 'participant'],
  ];
  for (const [role, before, after, isModerated, expected] of table)
    assert.equal(roleAfter(role, before, after, isModerated), expected, `${role} ${before} → ${after}`);
});

test('§8.2-8.4, §9.6-9.7: who may grant which role', () => {
  const who = (role: Role, affiliation: Affiliation): Standing => ({ role, affiliation });
  const table: [Standing, Standing, Role, Verdict][] = [
    // kicking
    [who('participant', 'none'), who('participant', 'none'), 'none', 'forbidden'],
    [who('visitor', 'none'), who('visitor', 'none'), 'none', 'forbidden'],
    [who('moderator', 'none'), who('visitor', 'none'), 'none', 'allowed'],
    [who('moderator', 'none'), who('participant', 'none'), 'none', 'allowed'],
    [who('moderator', 'none'), who('participant', 'member'), 'none', 'not-allowed'],
    [who('moderator', 'none'), who('moderator', 'none'), 'none', 'not-allowed'],
    [who('moderator', 'none'), who('moderator', 'owner'), 'none', 'not-allowed'],
    [who('moderator', 'admin'), who('moderator', 'admin'), 'none', 'allowed'],
    [who('moderator', 'admin'), who('moderator', 'owner'), 'none', 'not-allowed'],
    [who('moderator', 'owner'), who('moderator', 'admin'), 'none', 'allowed'],
    // voice
    [who('participant', 'member'), who('visitor', 'none'), 'participant', 'forbidden'],
    [who('moderator', 'none'), who('visitor', 'none'), 'participant', 'allowed'],
    [who('moderator', 'none'), who('participant', 'none'), 'visitor', 'allowed'],
    [who('moderator', 'none'), who('moderator', 'admin'), 'visitor', 'not-allowed'],
    [who('moderator', 'owner'), who('moderator', 'admin'), 'visitor', 'not-allowed'],
    // moderators
    [who('moderator', 'none'), who('participant', 'none'), 'moderator', 'forbidden'],
    [who('moderator', 'member'), who('participant', 'none'), 'moderator', 'forbidden'],
    [who('moderator', 'admin'), who('participant', 'none'), 'moderator', 'allowed'],
    [who('moderator', 'none'), who('moderator', 'none'), 'participant', 'not-allowed'],
    [who('moderator', 'admin'), who('moderator', 'none'), 'participant', 'allowed'],
    [who('moderator', 'admin'), who('moderator', 'owner'), 'participant', 'not-allowed'],
  ];
  for (const [actor, target, role, expected] of table)
    assert.equal(
      judgeRole(actor, target, role),
      expected,
      `${JSON.stringify(actor)} makes ${JSON.stringify(target)} a ${role}`,
    );
});

test('§5.2.2: who may change which affiliation', () => {
  for (const before of affiliations) {
    for (const after of affiliations) {
      const label = `${before} → ${after}`;
      assert.equal(judgeAffiliation('owner', before, after), 'allowed', label);
      for (const actor of ['member', 'none', 'outcast'] as const)
        assert.equal(judgeAffiliation(actor, before, after), 'forbidden', label);
      const isHigh = (one: Affiliation) => one === 'admin' || one === 'owner';
      const expected = isHigh(after) ? 'forbidden' : isHigh(before) ? 'not-allowed' : 'allowed';
      assert.equal(judgeAffiliation('admin', before, after), expected, label);
    }
  }
});
