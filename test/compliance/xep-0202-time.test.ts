/** XEP-0202: the server's time. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';
import { refusal } from './phrases.js';

scenario('§3: UTC, with offset zero', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard');
  const before = Date.now();
  await romeo.sends(`<iq type='get' id='1' to='localhost'><time xmlns='${NS.time}'/></iq>`);
  const result = await romeo.receives(`<iq type='result' id='1' from='localhost'><time xmlns='${NS.time}'/></iq>`);
  const time = result.getChild('time', NS.time)!;
  const utc = time.getChildText('utc')!;
  assert.match(utc, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  assert.ok(Date.parse(utc) >= before - 1000 && Date.parse(utc) <= Date.now());
  assert.match(time.getChildText('tzo')!, /^(Z|[+-]00:00)$/);
  // An account has no clock
  for (const to of ['juliet@localhost', 'nobody@localhost']) {
    await romeo.sends(`<iq type='get' id='2' to='${to}'><time xmlns='${NS.time}'/></iq>`);
    await romeo.receives(`<iq type='error' id='2' from='${to}'>${refusal('cancel', 'service-unavailable')}</iq>`);
  }
});

scenario('§4: support is announced', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='urn:xmpp:time'/></query></iq>`,
  );
});
