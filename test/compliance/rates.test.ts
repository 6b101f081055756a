/** XEP-0205: how often one account may do what costs the server something. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { eachNode, type Peer, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { create, error, publish, pubsub } from './pubsub.js';
import { founds, joins, service } from './rooms.js';

const later = refusal('wait', 'resource-constraint');

async function does(peer: Peer, request: string): Promise<void> {
  await peer.sends(request);
  await peer.receives(`<iq type='result' id='p'/>`);
}

scenario(
  'rooms created by one user',
  { ...eachNode, config: { modules: { muc: { creations_per_hour: 2 } } } },
  async ({ actor, server }) => {
    const romeo = await actor('romeo@localhost/orchard');
    await founds(romeo, 'one', 'romeo');
    await founds(romeo, 'two', 'romeo');
    await romeo.sends(joins(`three@${service}/romeo`));
    await romeo.receives(`<presence type='error' from='three@${service}/romeo'>${later}</presence>`);
    const juliet = await actor('juliet@localhost/balcony');
    await founds(juliet, 'three', 'juliet');
    const { text } = await server.metrics.text();
    assert.match(text, /waxwing_limits_hit_total\{limit="muc\.creations_per_hour"\} 1/);
  },
);

scenario(
  'nodes, and changes of nodes',
  { config: { modules: { pubsub: { changes_per_minute: 4, creations_per_hour: 2 } } } },
  async ({ actor, server }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const policy = error('wait', 'policy-violation');
    const to = 'pubsub.localhost';
    await does(romeo, create('a', undefined, to));
    await does(romeo, create('b', undefined, to));
    await romeo.sends(create('c', undefined, to));
    await romeo.receives(policy);
    await does(romeo, publish('a', '1', 'x', { to }));
    await romeo.sends(publish('a', '2', 'x', { to }));
    await romeo.receives(policy);
    // The account's own nodes count with them
    await romeo.sends(publish('own', '1', 'x'));
    await romeo.receives(policy);
    await romeo.sends(pubsub('get', `<items node='a'/>`, to));
    await romeo.receives(`<iq type='result' id='p'/>`);
    await does(await actor('juliet@localhost/balcony'), publish('own', '1', 'x'));
    const { text } = await server.metrics.text();
    assert.match(text, /waxwing_limits_hit_total\{limit="pubsub\.changes_per_minute"\} 2/);
    assert.match(text, /waxwing_limits_hit_total\{limit="pubsub\.creations_per_hour"\} 1/);
  },
);

scenario(
  'XEP-0077 §3.3: password changes',
  { config: { modules: { register: { password_changes: 2 } } } },
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const change = `<iq type='set' id='p' to='localhost'><query xmlns='${NS.register}'><username>romeo</username>
    <password>a new password</password></query></iq>`;
    await does(romeo, change);
    await does(romeo, change);
    await romeo.sends(change);
    const refused = await romeo.receives(`<iq type='error' id='p'>${later}</iq>`);
    assert.doesNotMatch(String(refused), /a new password/);
  },
);
