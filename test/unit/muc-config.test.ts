/** What becomes of room configurations that were stored by earlier versions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPubliclyLogged, isRegistrationOpen, restored } from '../../src/modules/xep-0045-muc/room-config.js';
import { defaultsOf, settings } from '../../src/modules/xep-0045-muc/settings.js';

const defaults = defaultsOf(settings.parse({}));

test('a room whose log and archive were one setting keeps both', () => {
  const { archived, publicLog, ...rest } = defaults;
  assert.deepEqual([archived, publicLog], [true, false]);
  for (const logging of [true, false]) {
    const config = restored(defaults, { ...rest, logging });
    assert.deepEqual(config, { ...rest, archived: logging, publicLog: false });
    assert.ok(!('logging' in config));
  }
  const own = { ...defaults, archived: false, publicLog: true };
  assert.deepEqual(restored(defaults, own), own);
});

test('a log is public if outsiders can read it', () => {
  const open = { ...defaults, publicLog: true };
  assert.equal(isPubliclyLogged(open), true);
  for (const closed of [{ publicLog: false }, { archived: false }, { membersOnly: true }, { password: 'x' }])
    assert.equal(isPubliclyLogged({ ...open, ...closed }), false, JSON.stringify(closed));
});

test('registration is inactive in members-only rooms, unless admins decide', () => {
  assert.equal(isRegistrationOpen(defaults), true);
  assert.equal(isRegistrationOpen({ ...defaults, membersOnly: true }), false);
  assert.equal(isRegistrationOpen({ ...defaults, membersOnly: true, approval: true }), true);
  assert.equal(isRegistrationOpen({ ...defaults, registration: false }), false);
});
