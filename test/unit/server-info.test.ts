import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import disco from '../../src/modules/xep-0030-disco.js';
import version from '../../src/modules/xep-0092-version.js';
import contact from '../../src/modules/xep-0157-contact.js';
import time from '../../src/modules/xep-0202-time.js';
import limits from '../../src/modules/xep-0478-limits.js';
import { parseDateTime } from '../../src/server/stanza/datetime.js';
import { NS } from '../../src/server/stanza/ns.js';
import { serialize } from '../../src/server/xml/element.js';
import { startHost } from './module-host.js';

const modules = [roster, disco, version, contact, time, limits];
const started = async (config?: Record<string, unknown>) => {
  const server = await startHost(modules, config && { config });
  after(server.stop);
  return server;
};
const asking = (ns: string, name: string) => `<iq type="get" id="1" to="example.org"><${name} xmlns="${ns}"/></iq>`;

test('XEP-0092: name and version; the system only if configured', async () => {
  const alice = (await started()).connect('alice@example.org/a');
  assert.match(
    await alice.asks(asking(NS.version, 'query')),
    /<query xmlns="jabber:iq:version"><name>Waxwing<\/name><version>1.2.3<\/version><\/query>/,
  );
  const open = await started({ modules: { version: { show_version: false, show_system: true } } });
  assert.match(
    await open.connect('alice@example.org/a').asks(asking(NS.version, 'query')),
    /<name>Waxwing<\/name><version><\/version><os>.+<\/os><\/query>/,
  );
});

test('XEP-0202: UTC, without the time zone of the server', async () => {
  const answer = await (await started()).connect('alice@example.org/a').asks(asking(NS.time, 'time'));
  const [, utc] = /<time xmlns="urn:xmpp:time"><tzo>\+00:00<\/tzo><utc>(.*)<\/utc><\/time>/.exec(answer)!;
  assert.match(utc!, /Z$/);
  assert.notEqual(parseDateTime(utc!), undefined);
});

test('XEP-0157: configured contact addresses in disco#info', async () => {
  const none = await (await started()).connect('alice@example.org/a').asks(asking(NS.discoInfo, 'query'));
  assert.doesNotMatch(none, /jabber:x:data/);
  const addresses = {
    abuse: ['mailto:abuse@example.org', 'xmpp:abuse@example.org'],
    status: ['https://status.example'],
  };
  const some = await started({ hosts: { 'example.org': { contact: addresses } } });
  assert.match(
    await some.connect('alice@example.org/a').asks(asking(NS.discoInfo, 'query')),
    new RegExp(
      '<x xmlns="jabber:x:data" type="result"><field var="FORM_TYPE" type="hidden"><value>' +
        'http://jabber.org/network/serverinfo</value></field><field var="abuse-addresses" type="list-multi">' +
        '<value>mailto:abuse@example.org</value><value>xmpp:abuse@example.org</value></field>' +
        '<field var="status-addresses" type="list-multi"><value>https://status.example</value></field></x>',
    ),
  );
});

test('XEP-0478: the limits before and after login', async () => {
  const { host } = await started({
    limits: { stanza_bytes: 20_000, stanza_bytes_unauthenticated: 5000, ping_after_seconds: 90.5 },
  });
  const reported = (wanted: string) =>
    host.hooks.streamFeatures
      .filter(({ phase }) => phase === wanted)
      .flatMap(({ feature }) => feature({ secure: true, remoteAddress: '', kind: 'tls', account: undefined }) ?? [])
      .filter(({ attrs }) => attrs.xmlns === NS.streamLimits)
      .map((feature) => serialize(feature));
  const limitsOf = (bytes: number, seconds: number) => [
    `<limits xmlns="urn:xmpp:stream-limits:0"><max-bytes>${bytes}</max-bytes><idle-seconds>${seconds}</idle-seconds></limits>`,
  ];
  assert.deepEqual(reported('unauthenticated'), limitsOf(5000, 30));
  assert.deepEqual(reported('authenticated'), limitsOf(20_000, 90));
});
