/** The predecessor of XEP-0433 (Extended Channel Search), which has a namespace of its own; XEP-0433 is in xep-0045-more.test.ts. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';
import { founds, service } from './rooms.js';

const room = (name: string): string => `${name}@${service}`;

scenario('the search before XEP-0433, as Converse.js completes addresses of rooms', async (scene) => {
  const hag = await scene.actor('hag66@localhost/pda');
  await founds(hag, 'old-cave', 'thirdwitch', { 'muc#roomconfig_roomname': 'A very old place' });
  const asks = (q: string) =>
    hag.sends(`<iq type='get' id='o' to='${service}'><search xmlns='${NS.channelSearchOld}'>
      <set xmlns='${NS.rsm}'><max>10</max></set><x xmlns='${NS.dataForms}' type='submit'>
      <field var='FORM_TYPE' type='hidden'><value>${NS.channelSearchOld}#params</value></field>
      <field var='q' type='text-single'><value>${q}</value></field>
      <field var='sinname' type='boolean'><value>true</value></field>
      <field var='sindescription' type='boolean'><value>false</value></field>
      <field var='sinaddr' type='boolean'><value>true</value></field>
      <field var='min_users' type='text-single'><value>1</value></field>
      <field var='key' type='list-single'><value>address</value><option><value>nusers</value></option>
        <option><value>address</value></option></field></x></search></iq>`);
  for (const q of ['very', 'old-cave']) {
    await asks(q);
    await hag.receives(`<iq type='result' id='o'><result xmlns='${NS.channelSearchOld}'>
      <item address='${room('old-cave')}'><name>A very old place</name></item></result></iq>`);
  }
  await asks('nothing');
  const none = await hag.receives(`<iq type='result' id='o'><result xmlns='${NS.channelSearchOld}'/></iq>`);
  assert.equal(none.getChild('result', NS.channelSearchOld)!.getChild('item'), undefined);
  await asks('');
  await hag.receives(`<iq type='error' id='o'><error type='modify'><bad-request xmlns='${NS.stanzas}'/></error></iq>`);
  await hag.sends(`<iq type='get' id='f' to='${service}'><search xmlns='${NS.channelSearchOld}'/></iq>`);
  await hag.receives(`<iq type='result' id='f'><search xmlns='${NS.channelSearchOld}'>
    <x xmlns='${NS.dataForms}' type='form'/></search></iq>`);
  await hag.sends(`<iq type='get' id='r' to='${room('old-cave')}'><search xmlns='${NS.channelSearchOld}'/></iq>`);
  await hag.receives(`<iq type='error' id='r'><error><service-unavailable xmlns='${NS.stanzas}'/></error></iq>`);
});
