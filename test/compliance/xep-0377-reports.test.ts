/**
 * XEP-0377: reports in block requests are stored, sent to administrators, and forwarded with the reporter's consent.
 */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import type { ServerContext } from '../../src/server/admin/command.js';
import { allCommands } from '../../src/server/admin/commands.js';
import { run } from '../../src/server/admin/run.js';
import type { Server } from '../../src/server/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { type Element, parse } from '../../src/server/xml/element.js';
import { type Peer, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const spam = 'urn:xmpp:reporting:spam';
const hosts = {
  localhost: { admins: ['nurse@localhost'] },
  'elsewhere.example': { contact: { abuse: ['mailto:abuse@elsewhere.example', 'xmpp:abbot@elsewhere.example'] } },
};
const config = { hosts };

const report = (inside = '', reason = spam) => `<report xmlns='${NS.reporting}' reason='${reason}'>${inside}</report>`;
const text = `<text xml:lang='en'>Never came trouble to my house like this.</text>`;
const block = (jid: string, inside: string) =>
  `<iq type='set' id='block'><block xmlns='${NS.blocking}'><item jid='${jid}'>${inside}</item></block></iq>`;

async function reports(peer: Peer, jid: string, inside: string): Promise<void> {
  await peer.sends(block(jid, inside));
  await peer.receives(`<iq type='result' id='block'/>`);
}

const retained = (server: Server) => server.host('localhost')!.provided('reports')!.list({ limit: 100 });

/** The id that a message has in the archive of who gets it. */
async function gets(peer: Peer, from: string, body: string): Promise<string> {
  const message = await peer.receives(`<message type='chat' from='${from}'><body>${body}</body></message>`);
  return message.getChild('stanza-id', NS.stanzaId)!.attrs.id!;
}

scenario('§3: support is announced', { config }, async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await juliet.receives(
    `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='${NS.reporting}'/></query></iq>`,
  );
});

scenario(
  '§5, §6: the sender is blocked, and the report stored with the messages',
  { config, alone: true },
  async (scene) => {
    const { actor, server } = scene;
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const paris = await actor('paris@localhost/street', { presence: true });
    await romeo.sends(`<message to='juliet@localhost' type='chat'><body>Buy gold</body></message>`);
    const spamId = await gets(juliet, romeo.jid, 'Buy gold');
    await paris.sends(`<message to='juliet@localhost' type='chat'><body>Good morrow</body></message>`);
    const otherId = await gets(juliet, paris.jid, 'Good morrow');
    const ids = [spamId, otherId, 'never-was'].map(
      (id) => `<stanza-id xmlns='${NS.stanzaId}' by='juliet@localhost' id='${id}'/>`,
    );
    await reports(juliet, 'romeo@localhost', report(ids.join('') + text));
    await romeo.sends(`<message id='m' to='juliet@localhost' type='chat'><body>x</body></message>`);
    await romeo.receives(`<message id='m' type='error'>${refusal('cancel', 'service-unavailable')}</message>`);
    const [stored, ...others] = await retained(server);
    assert.equal(others.length, 0);
    assert.equal(stored!.by, 'juliet@localhost');
    assert.equal(stored!.jid, 'romeo@localhost');
    assert.equal(stored!.reason, spam);
    assert.equal(stored!.text, 'Never came trouble to my house like this.');
    assert.deepEqual(stored!.messages, [spamId, otherId, 'never-was']);
    assert.equal(stored!.evidence.length, 1, 'what others have said is not shown');
    assert.match(stored!.evidence[0]!, /Buy gold/);
    assert.doesNotMatch(stored!.evidence[0]!, /juliet/);
  },
);

scenario('§6: a report without further details', { config, alone: true }, async ({ actor, server }) => {
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends(`<iq type='set' id='block'><block xmlns='${NS.blocking}'>
    <item jid='a@localhost'>${report('', 'urn:xmpp:reporting:abuse')}</item><item jid='b@localhost'/>
    <item jid='c@localhost'><report xmlns='${NS.reporting}'/></item></block></iq>`);
  await juliet.receives(`<iq type='result' id='block'/>`);
  assert.deepEqual(
    (await retained(server)).map(({ jid, reason }) => [jid, reason]),
    [
      ['c@localhost', ''],
      ['a@localhost', 'urn:xmpp:reporting:abuse'],
    ],
  );
});

scenario(
  'reports per day are limited; the address is blocked anyway',
  { config: { ...config, modules: { reports: { per_day: 2 } } }, alone: true },
  async ({ actor, server }) => {
    const juliet = await actor('juliet@localhost/balcony');
    for (const name of ['a', 'b', 'c']) await reports(juliet, `${name}@localhost`, report());
    assert.deepEqual(
      (await retained(server)).map(({ jid }) => jid),
      ['b@localhost', 'a@localhost'],
    );
    await juliet.sends(`<message id='m' to='c@localhost'><body>x</body></message>`);
    await juliet.receives(`<message id='m' type='error'/>`);
    const metrics = await server.metrics.text();
    assert.match(metrics.text, /waxwing_limits_hit_total\{limit="reports\.per_day"\} 1/);
  },
);

scenario(
  'the oldest reports are deleted',
  { config: { ...config, modules: { reports: { stored: 2 } } }, alone: true },
  async ({ actor, server }) => {
    const juliet = await actor('juliet@localhost/balcony');
    for (const name of ['a', 'b', 'c']) await reports(juliet, `${name}@localhost`, report());
    assert.deepEqual(
      (await retained(server)).map(({ jid }) => jid),
      ['c@localhost', 'b@localhost'],
    );
  },
);

scenario(
  'administrators get a limited number of notifications per hour',
  { config: { ...config, modules: { reports: { messages_per_hour: 1 } } }, alone: true },
  async ({ actor }) => {
    const nurse = await actor('nurse@localhost/kitchen', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await reports(juliet, 'romeo@localhost', report(text));
    const reported =
      await nurse.receives(`<message from='localhost' to='nurse@localhost'><subject>Report of abuse</subject>
    ${report(`<jid xmlns='${NS.jid}'>romeo@localhost</jid>${text}`)}</message>`);
    assert.match(reported.getChildText('body') ?? '', /^juliet@localhost reports romeo@localhost \(spam\)\nNever came/);
    await reports(juliet, 'paris@localhost', report());
    await nurse.receivesNothing();
  },
);

scenario(
  'one reporter cannot use up all notifications of an hour',
  { config: { ...config, modules: { reports: { messages_per_hour: 8 } } }, alone: true },
  async ({ actor, server }) => {
    const nurse = await actor('nurse@localhost/kitchen', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const paris = await actor('paris@localhost/street', { presence: true });
    for (const jid of ['a@localhost', 'b@localhost', 'c@localhost']) await reports(juliet, jid, report());
    await reports(paris, 'd@localhost', report());
    for (const jid of ['a@localhost', 'b@localhost', 'd@localhost'])
      await nurse.receives(`<message from='localhost'>${report(`<jid xmlns='${NS.jid}'>${jid}</jid>`)}</message>`);
    await nurse.receivesNothing();
    assert.equal((await retained(server)).length, 4, 'all of them are kept');
  },
);

const forwarding = (more: object = {}) => ({
  config: { ...config, modules: { reports: { forward_to: ['rook@localhost'], notify_admins: false, ...more } } },
  alone: true,
});
const passedOn = (to: string, inside: string) => `<message from='localhost' to='${to}'>
  ${report(`<jid xmlns='${NS.jid}'>tybalt@elsewhere.example</jid>${inside}`)}</message>`;

scenario('§4: forwarded only with the consent of the reporter', forwarding(), async ({ actor }) => {
  const rook = await actor('rook@localhost/tower', { presence: true });
  const abbot = await actor('abbot@elsewhere.example/cell', { presence: true });
  const juliet = await actor('juliet@localhost/balcony');
  await reports(juliet, 'tybalt@elsewhere.example', report(text));
  for (const peer of [rook, abbot]) await peer.receivesNothing();
});

scenario('§4: to third parties only', forwarding(), async ({ actor }) => {
  const rook = await actor('rook@localhost/tower', { presence: true });
  const abbot = await actor('abbot@elsewhere.example/cell', { presence: true });
  const tybalt = await actor('tybalt@elsewhere.example/street', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await tybalt.sends(`<message to='juliet@localhost' type='chat'><body>Buy gold</body>
    <reply xmlns='urn:xmpp:reply:0' to='Juliet@localhost/balcony' id='x'/></message>`);
  const id = await gets(juliet, tybalt.jid, 'Buy gold');
  await reports(
    juliet,
    'tybalt@elsewhere.example',
    report(`<stanza-id xmlns='${NS.stanzaId}' by='juliet@localhost' id='${id}'/>${text}<third-party/>`),
  );
  const forwarded = `<forwarded xmlns='${NS.forward}'><message xmlns='${NS.client}' type='chat'
    from='tybalt@elsewhere.example/street'><body>Buy gold</body></message></forwarded>`;
  const got = await rook.receives(passedOn('rook@localhost', text).replace('</message>', `${forwarded}</message>`));
  assert.doesNotMatch(String(got), /juliet/i, 'who reported it stays here');
  for (const peer of [rook, abbot]) await peer.receivesNothing();
});

scenario('§4, XEP-0157: to the abuse address of the other server', forwarding(), async ({ actor }) => {
  const rook = await actor('rook@localhost/tower', { presence: true });
  const abbot = await actor('abbot@elsewhere.example/cell', { presence: true });
  const juliet = await actor('juliet@localhost/balcony');
  await reports(juliet, 'tybalt@elsewhere.example', report(`${text}<report-origin/>`));
  const got = await abbot.receives(passedOn('abbot@elsewhere.example', text));
  assert.doesNotMatch(String(got), /juliet/);
  await reports(juliet, 'romeo@localhost', report(`${text}<report-origin/>`));
  for (const peer of [rook, abbot]) await peer.receivesNothing();
});

scenario('§4: not if it is disabled', forwarding({ forward_to_origin: false }), async ({ actor }) => {
  const abbot = await actor('abbot@elsewhere.example/cell', { presence: true });
  const juliet = await actor('juliet@localhost/balcony');
  await reports(juliet, 'tybalt@elsewhere.example', report(`<report-origin/>`));
  await abbot.receivesNothing();
});

scenario(
  'a server accepts reports about its accounts from other servers',
  { config: { hosts: { localhost: {}, 'elsewhere.example': {} } }, alone: true },
  async ({ actor, server, stage }) => {
    const tybalt = await actor('tybalt@elsewhere.example/street');
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await tybalt.sends(`<message to='juliet@localhost' type='chat'><body>Buy gold</body></message>`);
    const id = await gets(juliet, tybalt.jid, 'Buy gold');
    await reports(
      juliet,
      'tybalt@elsewhere.example',
      report(`<stanza-id xmlns='${NS.stanzaId}' by='juliet@localhost' id='${id}'/>${text}<report-origin/>`),
    );
    const there = () => server.host('elsewhere.example')!.provided('reports')!.list({ limit: 10 });
    for (let round = 0; round < 100 && (await there()).length === 0; round++) await stage.settle();
    const [got] = await there();
    assert.deepEqual([got?.by, got?.jid, got?.evidence.length], ['localhost', 'tybalt@elsewhere.example', 1]);
    // Not from accounts: they block
    await juliet.sends(`<message to='elsewhere.example' id='m'>
    ${report(`<jid xmlns='${NS.jid}'>tybalt@elsewhere.example</jid>`)}</message>`);
    await juliet.receives(`<message type='error' id='m'>${refusal('cancel', 'service-unavailable')}</message>`);
  },
);

scenario(
  'reports of other servers per day are limited, whatever their domains',
  { config: { ...config, modules: { reports: { from_servers_per_day: 1 } } }, alone: true },
  async ({ actor, server }) => {
    const juliet = await actor('juliet@localhost/balcony');
    const { add } = server.host('localhost')!.provided('reports')!;
    const element = parse(report());
    const about = Jid.parse('romeo@localhost');
    const by = ['one.example', 'other.example'].map((domain) => Jid.parse(domain));
    assert.deepEqual(
      [await add({ by: by[0]!, about, element }), await add({ by: by[1]!, about, element })],
      [true, false],
    );
    await reports(juliet, 'romeo@localhost', report());
    assert.deepEqual(
      (await retained(server)).map((one) => one.by),
      ['juliet@localhost', 'one.example'],
    );
  },
);

scenario('administrators read and delete them', { config, alone: true }, async ({ actor, server }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const juliet = await actor('juliet@localhost/balcony');
  for (const name of ['a', 'b', 'c']) await reports(juliet, `${name}@localhost`, report(text));
  const command = (node: string, more: string, inside = '') =>
    `<iq type='set' id='c' to='localhost'><command xmlns='${NS.commands}' node='${node}' ${more}>${inside}</command></iq>`;
  const values = (element: Element, name: string): string[] => [
    ...(element.name === 'field' && element.attrs.var === name ? [element.getChildText('value') ?? ''] : []),
    ...element.getChildElements().flatMap((child) => values(child, name)),
  ];
  await nurse.sends(command('reports', ''));
  const listed = await nurse.receives(
    `<iq type='result' id='c'><command xmlns='${NS.commands}' status='completed'/></iq>`,
  );
  assert.deepEqual(values(listed, 'jid').filter(Boolean), ['c@localhost', 'b@localhost', 'a@localhost']);
  const [id] = values(listed, 'id').filter(Boolean);
  for (const node of ['reports#show', 'reports#forget']) {
    await nurse.sends(command(node, ''));
    const asked = await nurse.receives(
      `<iq type='result' id='c'><command xmlns='${NS.commands}' status='executing'/></iq>`,
    );
    const { sessionid } = asked.getChild('command', NS.commands)!.attrs;
    const submitted = `<x xmlns='${NS.dataForms}' type='submit'><field var='ids'><value>${id}</value></field></x>`;
    await nurse.sends(command(node, `sessionid='${sessionid}' action='complete'`, submitted));
    const done = await nurse.receives(
      `<iq type='result' id='c'><command xmlns='${NS.commands}' status='completed'/></iq>`,
    );
    if (node === 'reports#show') assert.deepEqual(values(done, 'jid'), ['c@localhost']);
  }
  assert.equal((await retained(server)).length, 2);
  await juliet.sends(command('reports', ''));
  await juliet.receives(`<iq type='error' id='c'/>`);
});

scenario(
  'waxwing report list, show, forget',
  { config: { hosts: { localhost: {} } }, alone: true },
  async ({ actor, server }) => {
    const juliet = await actor('juliet@localhost/balcony');
    const context = { server, config: server.config } as ServerContext;
    const named = (name: string) => allCommands(server.modules).find((one) => one.name === `report ${name}`)!;
    const [list, show, forget] = [named('list'), named('show'), named('forget')];
    type Listed = { reports: { id: string; jid: string }[]; next: string | null };
    assert.equal(await list.text((await run(list, context, {})) as never), 'There are no reports.');
    for (const name of ['a', 'b', 'c']) await reports(juliet, `${name}@localhost`, report(text));
    const first = (await run(list, context, { limit: 2 })) as Listed;
    assert.deepEqual(
      first.reports.map(({ jid }) => jid),
      ['c@localhost', 'b@localhost'],
    );
    const second = (await run(list, context, { before: first.next })) as Listed;
    assert.deepEqual([second.reports.map(({ jid }) => jid), second.next], [['a@localhost'], null]);
    const { id } = second.reports[0]!;
    assert.match(
      await show.text((await run(show, context, { id })) as never),
      /About\s+a@localhost.*Never came trouble/s,
    );
    await assert.rejects(run(show, context, { id: 'none' }), /no report none/);
    await assert.rejects(run(forget, context, {}), /--all/);
    assert.deepEqual(await run(forget, context, { id }), { forgotten: 1 });
    await assert.rejects(run(forget, context, { id }), /no report/);
    assert.deepEqual(await run(forget, context, { all: true }), { forgotten: 2 });
    assert.deepEqual(await retained(server), []);
    await assert.rejects(run(list, context, { host: 'nowhere' }), /does not serve/);
  },
);
