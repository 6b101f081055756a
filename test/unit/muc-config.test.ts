/** Room configurations: those stored by earlier versions, and forms that are returned as they were offered. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  configured,
  isPubliclyLogged,
  isRegistrationOpen,
  offered,
  type RoomConfig,
  restored,
  roomForms,
} from '../../src/modules/xep-0045-muc/room-config.js';
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

test('a form that is returned as it was offered changes nothing, and is accepted under smaller limits', () => {
  const limits = { occupants: 500, history: 100 };
  const configs: Partial<RoomConfig>[] = [
    {},
    { name: 'x'.repeat(200), description: '<&>\n', lang: 'en', pubsub: 'xmpp:x', password: ' x ' },
    { persistent: true, public: false, membersOnly: true, moderated: true, memberInvites: true, subjectByAll: true },
    { membersOnly: true, registration: true, approval: true },
    { registration: false, approval: true, lockNicks: true, publicOccupants: true, archived: false, publicLog: true },
    { whois: 'anyone', privateMessages: 'none', presenceOf: [], memberListFor: ['visitor'] },
    { maxUsers: 1, historyLength: 0, slowMode: 86_400, forwardMentions: true },
    { maxUsers: 333, historyLength: 100 },
  ];
  for (const changes of configs) {
    const config = { ...defaults, ...changes };
    const returned = (bounds: typeof limits) => {
      const forms = roomForms(bounds);
      const form = offered(forms, config, bounds);
      for (const field of form.getChildren('field').filter(({ attrs }) => attrs.type === 'list-single')) {
        const options = field.getChildren('option').map((option) => option.getChildText('value'));
        assert.ok(options.includes(field.getChildText('value')), `${field}`);
      }
      form.attrs.type = 'submit';
      return configured(config, forms.first.read(form)!, bounds);
    };
    assert.deepEqual(returned(limits), config);
    const { maxUsers } = config;
    const historyLength = Math.min(config.historyLength, 5);
    assert.deepEqual(returned({ occupants: 15, history: 5 }), {
      ...config,
      maxUsers: maxUsers === null || maxUsers > 15 ? null : maxUsers,
      historyLength,
    });
  }
});
