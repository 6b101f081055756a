/** Any request to a room from any user: each is answered once, nothing fails, and the room keeps working. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import presence from '../../src/modules/rfc-6121-presence/index.js';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import disco from '../../src/modules/xep-0030-disco.js';
import muc from '../../src/modules/xep-0045-muc/index.js';
import adhoc from '../../src/modules/xep-0050-adhoc.js';
import blocking from '../../src/modules/xep-0191-blocking.js';
import mam from '../../src/modules/xep-0313-mam/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { escapeAttribute } from '../../src/server/xml/element.js';
import { startHost } from '../unit/module-host.js';

const rounds = 4000;
const service = 'conference.example.org';

/** Numbers that look random and are the same each time (xorshift). */
function seeded(seed: number): <T>(from: readonly T[]) => T {
  let state = seed;
  return (from) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return from[(state >>> 0) % from.length]!;
  };
}

test('no request to a room makes it fail', async () => {
  const pick = seeded(45_313);
  const { host, connect, stop } = await startHost([disco, roster, blocking, presence, adhoc, mam, muc], {
    config: { modules: { muc: { lock_new_rooms: false, rooms_per_user: 20, presences_per_minute: 'unlimited' } } },
  });
  const clients = ['owner', 'member', 'guest', 'witch'].map((name) => connect(`${name}@example.org/desktop`));
  const rooms = ['one', 'two', 'three', 'three#', ''].map((name) => (name === '' ? service : `${name}@${service}`));
  const nicks = ['', '/owner', '/member', '/guest', '/Guest', '/\u202e', `/${'n'.repeat(300)}`, '/a b'];
  const jids = [
    'owner@example.org',
    'guest@example.org/x',
    'far@elsewhere.example',
    'elsewhere.example',
    '@',
    '',
    'a@b@c',
  ];
  const texts = [
    '',
    '1',
    '0',
    'true',
    'anyone',
    'none',
    '-1',
    '1e9',
    '99999999999',
    'é\u0301',
    'x'.repeat(3000),
    '<&"\'',
  ];
  const words = ['owner', 'admin', 'member', 'none', 'outcast', 'moderator', 'participant', 'visitor', 'king', ''];
  const attribute = (name: string, values: readonly string[]): string =>
    pick([true, false, true]) ? ` ${name}='${escapeAttribute(pick(values)).replaceAll("'", '&apos;')}'` : '';
  const fieldNames = [
    'FORM_TYPE',
    'muc#roomconfig_roomname',
    'muc#roomconfig_whois',
    'muc#roomconfig_maxusers',
    'muc#roomconfig_presencebroadcast',
    'muc#roomconfig_roomadmins',
    'muc#roomconfig_roomowners',
    'muc#roomconfig_membersonly',
    'muc#roomconfig_moderatedroom',
    'muc#roomconfig_roomsecret',
    'muc#roomconfig_passwordprotectedroom',
    'muc#maxhistoryfetch',
    'muc#register_roomnick',
    'muc#register_allow',
    'muc#role',
    'muc#jid',
    'muc#request_allow',
    'hats#uri',
    'hats#title',
    'hats#jid',
    'mentions#count',
    'with',
    'ids',
    'after-id',
    'q',
  ];
  const formTypes = [NS.mucRoomConfig, NS.mucRegister, NS.mucRequest, NS.mam, NS.hatsCommands, 'nothing'];
  const some = (one: () => string): string => Array.from({ length: pick([0, 1, 1, 2, 3]) }, one).join('');
  const value = (): string => `<value>${escapeAttribute(pick([...texts, ...words, ...jids, ...formTypes]))}</value>`;
  const form = (): string =>
    `<x xmlns='${NS.dataForms}'${attribute('type', ['submit', 'submit', 'submit', 'cancel', 'form', 'x'])}>
      ${some(() => `<field${attribute('var', fieldNames)}>${some(value)}</field>`)}</x>`;
  const set = (): string =>
    `<set xmlns='${NS.rsm}'>${some(() => `<${pick(['max', 'after', 'before', 'index'])}>${escapeAttribute(pick(texts))}</${'@'}>`)}</set>`.replace(
      /<(\w+)>([^<]*)<\/@>/g,
      '<$1>$2</$1>',
    );
  const item = (): string =>
    `<item${attribute('affiliation', words)}${attribute('role', words)}${attribute('jid', jids)}${attribute('nick', texts)}>${some(() => '<reason>why</reason>')}</item>`;
  const inside = (): string =>
    pick([form, set, item, item, () => `<destroy${attribute('jid', jids)}/>`, () => '<remove/>'])();
  const payloads = [
    () =>
      `<query xmlns='${pick([NS.mucAdmin, NS.mucOwner, NS.register, NS.mam, NS.explicitMentions])}'>${some(inside)}</query>`,
    () =>
      `<query xmlns='${pick([NS.discoInfo, NS.discoItems])}'${attribute('node', ['x-roomuser-item', NS.mucTraffic, NS.commands])}>${some(set)}</query>`,
    () =>
      `<moderate xmlns='${NS.moderate}'${attribute('id', texts)}>${some(() => `<retract xmlns='${NS.retract}'/>`)}</moderate>`,
    () =>
      `<apply-to xmlns='${NS.fasten}'${attribute('id', texts)}><moderate xmlns='${NS.moderateOld}'><retract xmlns='${NS.retractOld}'/></moderate></apply-to>`,
    () => `<search xmlns='${NS.channelSearchQuery}'>${some(form)}${some(set)}</search>`,
    () =>
      `<${pick(['request', 'tokens', 'revoke'])} xmlns='${NS.mucToken}'${attribute('counter', texts)}${attribute('delay', texts)}/>`,
    () =>
      `<command xmlns='${NS.commands}'${attribute(
        'node',
        ['create', 'assign', 'list', 'destroy', 'unassign', 'list-assigned'].map(
          (node) => `${NS.hatsCommands}:${node}`,
        ),
      )}>${some(form)}</command>`,
    () => `<vCard xmlns='${NS.vcardTemp}'>${some(() => '<PHOTO><BINVAL>AAAA</BINVAL></PHOTO>')}</vCard>`,
    () => `<ping xmlns='${NS.ping}'/>`,
    () => `<metadata xmlns='${NS.mam}'/>`,
  ];
  const sent = [
    () => '<body>hail</body>',
    () => `<subject>${escapeAttribute(pick(texts))}</subject>`,
    () => `<x xmlns='${NS.mucUser}'>${some(() => `<${pick(['invite', 'decline'])}${attribute('to', jids)}/>`)}</x>`,
    form,
    () => `<retract xmlns='${NS.retract}'${attribute('id', texts)}/>`,
    () => `<replace xmlns='${NS.correct}'${attribute('id', texts)}/>`,
    () => `<mention xmlns='${NS.explicitMentions}'${attribute('occupantid', texts)}${attribute('mentions', texts)}/>`,
    () =>
      `<reference xmlns='${NS.reference}' type='mention'${attribute('uri', ['xmpp:%', 'xmpp:one@conference.example.org/x', 'x'])}/>`,
    () => `<error type='cancel'><${pick(['gone', 'item-not-found', 'forbidden'])} xmlns='${NS.stanzas}'/></error>`,
  ];
  const entering = (): string =>
    `<x xmlns='${NS.muc}'>${some(() =>
      pick([
        `<history${attribute('maxstanzas', texts)}${attribute('maxchars', texts)}${attribute('seconds', texts)}${attribute('since', texts)}/>`,
        `<password>${escapeAttribute(pick(texts))}</password>`,
        `<mav xmlns='${NS.mav}'${attribute('since', texts)}/>`,
      ]),
    )}</x>`;
  const stanzas = [
    () =>
      `<presence${attribute('type', ['unavailable', 'unavailable', 'error', 'probe'])} to='@'>${some(() => '<show>away</show>')}</presence>`,
    () => `<presence to='@'>${entering()}</presence>`,
    () => `<presence to='@'>${entering()}</presence>`,
    () =>
      `<message${attribute('type', ['groupchat', 'groupchat', 'chat', 'error', 'headline'])} to='@' id='m'>${some(pick(sent))}${some(pick(sent))}</message>`,
    () => `<iq type='${pick(['get', 'set'])}' id='q' to='@'>${pick(payloads)()}</iq>`,
    () => `<iq type='${pick(['get', 'set'])}' id='q' to='@'>${pick(payloads)()}</iq>`,
    () => `<iq type='${pick(['result', 'error'])}' id='q' to='@'/>`,
  ];
  for (let round = 0; round < rounds; round++) {
    const client = pick(clients);
    const stanza = pick(stanzas)();
    const to = pick(rooms) + pick(stanza.startsWith('<iq') ? ['', '', '', '/owner'] : nicks);
    const xml = stanza.replace("to='@'", `xmlns='${NS.client}' to='${escapeAttribute(to)}'`);
    client.received.length = 0;
    try {
      await client.says(xml);
    } catch (error) {
      if ((error as Error).name === 'JidError') continue;
      throw error;
    }
    const answers = client.received.filter((answer) => answer.startsWith('<iq') && answer.includes(' id="q"'));
    assert.ok(answers.length <= 1, xml);
    for (const one of clients) {
      const failure = one.received.find((text) => text.includes('internal-server-error'));
      assert.equal(failure, undefined, xml);
    }
  }
  // and it works
  const fresh = connect('fresh@example.org/desktop');
  await fresh.says(`<presence xmlns='${NS.client}' to='fresh@${service}/fresh'><x xmlns='${NS.muc}'/></presence>`);
  assert.ok(fresh.received.some((xml) => xml.includes('code="201"')));
  await host.emit('stopping', {});
  stop();
});
