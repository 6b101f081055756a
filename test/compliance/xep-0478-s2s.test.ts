/** XEP-0478 between servers: limits are announced, and those of the other server are kept. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { refusal } from './phrases.js';
import { Impostor, lure, play } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
const trusted = makeSelfSigned([montague]);
const strict = { [montague]: { stanza_bytes: 20_000 } };

const limitsIn = (content: string) =>
  /<limits xmlns=.urn:xmpp:stream-limits:0.><max-bytes>(\d+)<\/max-bytes><idle-seconds>(\d+)</.exec(content)?.slice(1);

play(
  '§3.1: the limits that hold for a server, by its domain',
  { [capulet]: { trusts: [trusted], s2s: { idle_seconds: 100, domains: strict } } },
  async (servers) => {
    for (const [from, bytes] of [
      [montague, '20000'],
      ['verona.example', '524288'],
    ]) {
      const peer = Impostor.connect(servers.stage(capulet).port('s2s'), `from='${from}' to='${capulet}'`);
      const { features } = await peer.opensWithTls(trusted);
      assert.deepEqual(limitsIn(features.content), [bytes, '200']);
    }
  },
);

for (const [name, announced] of Object.entries({ '12000': '12000', 'less than every server accepts': '1' }))
  play(
    `§4: a stanza larger than the other server accepts is returned, others pass (${name})`,
    { [capulet]: { trusts: [trusted] } },
    async (servers) => {
      const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
      const trap = await lure(`from='${montague}' to='${capulet}'`);
      servers.leads(montague, trap.port);
      const says = (id: string, length: number) =>
        juliet.sends(
          `<message to='romeo@${montague}' type='chat' id='${id}'><body>${'é'.repeat(length / 2)}</body></message>`,
        );
      await says('small', 100);
      const peer = await trap.next();
      const limits = `<limits xmlns='${NS.streamLimits}'><max-bytes>${announced}</max-bytes></limits>`;
      await peer.answers(trusted, 's1', limits);
      await peer.hearsElement('result');
      peer.says(`<db:result from='${montague}' to='${capulet}' type='valid'/>`);
      assert.equal((await peer.hearsElement('message')).attrs.id, 'small');
      // It counts as bytes of UTF-8, not as characters.
      await says('large', 13_000);
      await says('fits', 9000);
      await juliet.receives(
        `<message type='error' id='large' from='romeo@${montague}'>${refusal('modify', 'policy-violation')}</message>`,
      );
      assert.equal((await peer.hearsElement('message')).attrs.id, 'fits');
    },
  );
