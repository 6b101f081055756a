/** XEP-0376: Pubsub Account Management, and the list of XEP-0465 that takes it. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { appears } from './capabilities.js';
import { scenario } from './dialogue.js';
import { create, error, event, owner, publish, pubsub, result } from './pubsub.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
const service = 'pubsub.localhost';
const list = 'urn:xmpp:pps:subscriptions:0';
const config = { modules: { pam: { enabled: true } } };

const pam = (inner: string, jid = service): string =>
  `<iq type='set' id='p'><pam xmlns='${NS.pam}' jid='${jid}'>${inner}</pam></iq>`;
const subscribe = (inner = '', jid = juliet, node = 'n'): string =>
  `<subscribe xmlns='${NS.pubsub}' node='${node}' jid='${jid}'>${inner}</subscribe>`;
const unsubscribe = `<unsubscribe xmlns='${NS.pubsub}' node='n' jid='${juliet}'/>`;
const asked = (ver = ''): string => `<iq type='get' id='p'><subscriptions xmlns='${NS.pam}'${ver}/></iq>`;
const notice = (state: string): string =>
  `<message type='headline' from='${juliet}'><notify xmlns='${NS.pam}' service='${service}' ver='*'><subscription xmlns='${NS.pubsub}' node='n' jid='${juliet}' subscription='${state}'/></notify></message>`;

scenario('§3.2 to §3.4: one client subscribes, and the others are notified', { config }, async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor(`${juliet}/balcony`);
  const chamber = await actor(`${juliet}/chamber`);
  await appears(chamber, NS.pam);
  await orchard.sends(create('n', { access_model: 'authorize' }, service));
  await orchard.receives(result());
  await orchard.sends('<presence/>');
  await orchard.receives('<presence/>');
  await balcony.sends(pam(subscribe()));
  await chamber.receives(notice('pending'));
  await balcony.receives(result());
  const request = await orchard.receives(
    `<message from='${service}'><x xmlns='${NS.dataForms}' type='form'/></message>`,
  );
  await orchard.sends(
    `<message to='${service}' id='${request.attrs.id}'><x xmlns='${NS.dataForms}' type='submit'>${[
      ['FORM_TYPE', `${NS.pubsub}#subscribe_authorization`],
      ['pubsub#node', 'n'],
      ['pubsub#subscriber_jid', juliet],
      ['pubsub#allow', '1'],
    ]
      .map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`)
      .join('')}</x></message>`,
  );
  await chamber.receivesAnyOrder([
    notice('subscribed'),
    event(service, juliet, `<subscription node='n' jid='${juliet}' subscription='subscribed'/>`),
  ]);
  await chamber.sends(asked());
  await chamber.receives(
    `<iq type='result' id='p'><subscriptions xmlns='${NS.pam}' ver='{ver}'><subscription service='${service}' node='n' jid='${juliet}' subscription='subscribed'/></subscriptions></iq>`,
  );
  await chamber.sends(asked(` ver='{ver}'`));
  const same = await chamber.receives(result());
  assert.equal(same.getChildElements().length, 0);
  await balcony.sends(pam(unsubscribe));
  await balcony.receives(result());
  await chamber.receives(notice('none'));
  await chamber.sends(asked(` ver='{ver}'`));
  const none = await chamber.receives(`<iq type='result' id='p'><subscriptions xmlns='${NS.pam}'/></iq>`);
  assert.equal(none.getChild('subscriptions')!.getChildElements().length, 0);
});

scenario('§3.2: errors here, and at the remote service', { config }, async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  for (const request of [
    pam(subscribe('', romeo)),
    pam(''),
    pam(subscribe() + unsubscribe),
    pam(subscribe(), '@'),
    pam(`<items xmlns='${NS.pubsub}' node='n'/>`),
    pam(subscribe('', juliet, '')),
  ]) {
    await balcony.sends(request);
    await balcony.receives(
      `<iq type='error' id='p'><error type='modify' by='${juliet}'><bad-request xmlns='${NS.stanzas}'/></error></iq>`,
    );
  }
  await balcony.sends(pam(subscribe()));
  await balcony.receives(
    `<iq type='error' id='p'><error type='cancel' by='${service}'><item-not-found xmlns='${NS.stanzas}'/></error></iq>`,
  );
  const orchard = await actor(`${romeo}/garden`);
  await orchard.sends(create('n', { access_model: 'whitelist' }, service));
  await orchard.receives(result());
  await balcony.sends(pam(subscribe()));
  await balcony.receives(
    `<iq type='error' id='p'><error type='cancel' by='${service}'><not-allowed xmlns='${NS.stanzas}'/><closed-node xmlns='${NS.pubsubErrors}'/></error></iq>`,
  );
  const outsider = await actor(`${romeo}/orchard`);
  await outsider.sends(asked().replace('<iq ', `<iq to='${juliet}' `));
  await outsider.receives(error('cancel', 'service-unavailable'));
});

scenario('XEP-0465 §4.2, §4.3: public subscriptions of an account', { config }, async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor(`${juliet}/balcony`);
  await orchard.sends(create('n', undefined, service));
  await orchard.receives(result());
  const listed = async (): Promise<number> => {
    await orchard.sends(pubsub('get', `<items node='${list}'/>`, juliet));
    const answer = await orchard.receives(result(`<items node='${list}'/>`));
    return answer.getChild('pubsub')!.getChild('items')!.getChildElements().length;
  };
  await balcony.sends(pam(subscribe(`<public xmlns='${NS.pps}'/>`)));
  await balcony.receives(result());
  await orchard.sends(pubsub('get', `<items node='${list}'/>`, juliet));
  await orchard.receives(
    result(`<items node='${list}'><item><subscription xmlns='${NS.pps}' node='n' jid='${service}'/></item></items>`),
  );
  await orchard.sends(pubsub('get', `<items node='urn:xmpp:pps:subscribers:0/n'/>`, service));
  await orchard.receives(
    result(
      `<items node='urn:xmpp:pps:subscribers:0/n'><item><subscriber xmlns='${NS.pps}' jid='${juliet}'/></item></items>`,
    ),
  );
  await balcony.sends(pam(subscribe()));
  await balcony.receives(result());
  assert.equal(await listed(), 0);
  await balcony.sends(pam(subscribe(`<public xmlns='${NS.pps}'/>`)));
  await balcony.receives(result());
  assert.equal(await listed(), 1);
  for (const request of [
    publish(list, 'x', 'x'),
    owner('set', `<purge node='${list}'/>`),
    owner('set', `<delete node='${list}'/>`),
  ]) {
    await balcony.sends(request);
    await balcony.receives(error('auth', 'forbidden'));
  }
  // The node goes, and the subscription with it
  await orchard.sends(owner('set', `<delete node='n'/>`, service));
  await orchard.receives(result());
  await orchard.syncs();
  await balcony.syncs();
  assert.equal(await listed(), 0);
});
