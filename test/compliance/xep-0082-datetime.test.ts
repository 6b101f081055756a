/** XEP-0082, XEP-0203 and XEP-0297: the times that the server writes, and forwarded stanzas. */
import assert from 'node:assert/strict';
import { parseDateTime } from '../../src/server/stanza/datetime.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { scenario } from './dialogue.js';

/** §3.2 and XEP-0203 §3: the DateTime profile, in UTC; and now. */
function assertStamp(stamp: string | undefined, before: number): void {
  assert.match(stamp ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  const ms = parseDateTime(stamp!)!;
  assert.ok(ms >= before - 1000 && ms <= Date.now() + 1000, `${stamp} is not now`);
}

/** XEP-0297 §3: a forwarded stanza keeps its namespace, inside an element that explains it. */
function forwardedIn(around: Element | undefined): Element {
  const forwarded = around!.getChildren('forwarded', NS.forward);
  assert.equal(forwarded.length, 1);
  assert.equal(forwarded[0]!.getChildren('message', NS.client).length, 1);
  return forwarded[0]!;
}

scenario('XEP-0082 §3.2: times of archived and offline messages, and of the entity time', async ({ actor, stage }) => {
  const before = Date.now();
  const romeo = await actor('romeo@localhost/orchard');
  await stage.account('juliet@localhost');
  await romeo.sends(`<message to='juliet@localhost' type='chat'><body>hello</body></message>`);
  await romeo.receivesNothing();
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends('<presence/>');
  await juliet.receives('<presence/>');
  const stored = await juliet.receives(
    `<message type='chat'><body>hello</body><delay xmlns='${NS.delay}' from='localhost'/></message>`,
  );
  assertStamp(stored.getChild('delay', NS.delay)!.attrs.stamp, before);

  await juliet.sends(`<iq type='set' id='1'><query xmlns='${NS.mam}'/></iq>`);
  const archived = await juliet.receives(`<message><result xmlns='${NS.mam}'/></message>`);
  assertStamp(forwardedIn(archived.getChild('result', NS.mam)).getChild('delay', NS.delay)!.attrs.stamp, before);
  await juliet.receives(`<iq type='result' id='1'/>`);

  await juliet.sends(`<iq type='get' id='2' to='localhost'><time xmlns='${NS.time}'/></iq>`);
  const time = (await juliet.receives(`<iq type='result' id='2'/>`)).getChild('time', NS.time)!;
  assertStamp(time.getChildText('utc')!, before);
  assert.match(time.getChildText('tzo')!, /^(Z|[+-]\d\d:\d\d)$/);
});

scenario('XEP-0082 §3.2: requested times may have any zone, but no other format', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const ask = (start: string) =>
    `<iq type='set' id='1'><query xmlns='${NS.mam}'><x xmlns='${NS.dataForms}' type='submit'>
      <field var='FORM_TYPE'><value>${NS.mam}</value></field><field var='start'><value>${start}</value></field></x></query></iq>`;
  for (const start of [
    '2010-06-07T00:00:00Z',
    '2010-06-07T00:00:00.123456Z',
    '2010-06-07T00:00:00+02:00',
    '2010-06-07T00:00:00-05:30',
  ]) {
    await romeo.sends(ask(start));
    await romeo.receives(`<iq type='result' id='1'/>`);
  }
  for (const start of ['2010-06-07', '2010-06-07T00:00:00', '20100607T00:00:00', '2010-06-31T00:00:00Z', 'yesterday']) {
    await romeo.sends(ask(start));
    await romeo.receives(`<iq type='error' id='1'/>`);
  }
});

scenario('XEP-0297 §3: copies forward the whole message, with its namespace', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const chamber = await actor('juliet@localhost/chamber');
  await chamber.sends(`<iq type='set' id='1'><enable xmlns='${NS.carbons}'/></iq>`);
  await chamber.receives(`<iq type='result' id='1'/>`);
  const inner = `<forwarded xmlns='${NS.forward}'><delay xmlns='${NS.delay}' stamp='2010-07-10T23:08:25Z'/>
    <message xmlns='jabber:client' from='nurse@localhost/x' to='romeo@localhost'><body>inside</body></message></forwarded>`;
  await romeo.sends(`<message to='juliet@localhost' type='chat'><body>look</body>${inner}</message>`);
  // A user's own forwarding is passed on as it is
  await juliet.receives(`<message type='chat'><body>look</body>${inner}</message>`);
  const copy = await chamber.receives(`<message type='chat' from='juliet@localhost'/>`);
  assert.equal(copy.getChild('forwarded', NS.forward), undefined, 'not a child of the stanza itself');
  const message = forwardedIn(copy.getChild('received', NS.carbons)).getChild('message', NS.client)!;
  assert.equal(message.attrs.from, 'romeo@localhost/orchard');
  assert.equal(message.getChildText('body'), 'look');
  assert.equal(
    message.getChild('forwarded', NS.forward)!.getChild('message', NS.client)!.getChildText('body'),
    'inside',
  );
});
