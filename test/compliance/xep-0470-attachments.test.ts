/** XEP-0470: Pubsub Attachments. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, scenario } from './dialogue.js';
import { configure, error, event, owner, publish, pubsub, result } from './pubsub.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
const blog = NS.microblog;
const node = `${NS.attachments}/xmpp:${juliet}?;node=urn%3Axmpp%3Amicroblog%3A0;item=post-1`;
const summary = `${NS.attachmentsSummary}/${blog}`;

const attach = (id: string, inner: string, to = node, ns: string = NS.attachments): string =>
  pubsub(
    'set',
    `<publish node='${to}'><item id='${id}'><attachments xmlns='${ns}'>${inner}</attachments></item></publish>`,
    juliet,
  );
const reactions = (...all: string[]): string =>
  `<reactions timestamp='2022-07-11T12:07:48Z'>${all.map((one) => `<reaction>${one}</reaction>`).join('')}</reactions>`;

/** Juliet has a blog that anybody may attach to. */
async function play(actor: (address: string) => Promise<Peer>) {
  const balcony = await actor(`${juliet}/balcony`);
  const orchard = await actor(`${romeo}/orchard`);
  for (const id of ['post-1', 'post-2']) {
    await balcony.sends(
      publish(blog, id, 'x', { options: { access_model: 'open', publish_model: 'open', max_items: 'max' } }),
    );
    await balcony.receives(result());
  }
  return { balcony, orchard };
}

async function summaryFor(peer: Peer, wanted: string): Promise<void> {
  await peer.sends(pubsub('get', `<items node='${summary}'/>`, juliet));
  await peer.receives(
    result(
      `<items node='${summary}'><item id='post-1'><summary xmlns='${NS.attachmentsSummary}'>${wanted}</summary></item></items>`,
    ),
  );
}

scenario('§4.1, §4.6 to §4.8: attachments and their summary', async ({ actor }) => {
  const { balcony, orchard } = await play(actor);
  await orchard.sends(attach(romeo, '<noticed/>'));
  await orchard.receives(result(`<publish node='${node}'><item id='${romeo}'/></publish>`));
  await summaryFor(orchard, `<noticed count='1'/>`);
  await orchard.sends(attach(romeo, `<noticed/>${reactions('👷', '🔨', '🔨')}`));
  await orchard.receives(result());
  await balcony.sends(attach(juliet, reactions('👷')));
  await balcony.receives(result());
  await summaryFor(
    orchard,
    `<noticed count='1'/><reactions><reaction count='2'>👷</reaction><reaction>🔨</reaction></reactions>`,
  );
  await orchard.sends(pubsub('get', `<items node='${node}'/>`, juliet));
  await orchard.receives(result(`<items node='${node}'><item id='${romeo}'/><item id='${juliet}'/></items>`));
  // Taken away again, one by one
  await orchard.sends(pubsub('set', `<retract node='${node}'><item id='${romeo}'/></retract>`, juliet));
  await orchard.receives(result());
  await summaryFor(orchard, `<reactions><reaction>👷</reaction></reactions>`);
  await balcony.sends(pubsub('set', `<retract node='${node}'><item id='${juliet}'/></retract>`));
  await balcony.receives(result());
  await orchard.sends(pubsub('get', `<items node='${summary}'/>`, juliet));
  const answer = await orchard.receives(result(`<items node='${summary}'/>`));
  assert.equal(answer.getChild('pubsub')!.getChild('items')!.getChildElements().length, 0);
});

scenario('concurrent attachments all count', async ({ actor }) => {
  const { balcony } = await play(actor);
  const peers = await Promise.all(['a', 'b', 'c', 'd'].map((name) => actor(`${name}@localhost/r`)));
  await Promise.all(
    peers.map(async (peer, at) => {
      await peer.sends(attach(`${'abcd'[at]}@localhost`, '<noticed/>'));
      await peer.receives(result());
    }),
  );
  await summaryFor(balcony, `<noticed count='4'/>`);
});

scenario('§4.5: the author and the target of an attachment', async ({ actor }) => {
  const { orchard } = await play(actor);
  const cases: readonly (readonly [string, string])[] = [
    [attach(juliet, '<noticed/>'), error('modify', 'bad-request')],
    [attach(`${romeo}/orchard`, '<noticed/>'), error('modify', 'bad-request')],
    [attach(romeo, '', node, 'urn:example:other'), error('modify', 'bad-request')],
    [pubsub('set', `<publish node='${node}'><item id='${romeo}'/></publish>`, juliet), error('modify', 'bad-request')],
    ...[
      node.replace('post-1', 'post-3'),
      node.replace('microblog', 'macroblog'),
      node.replace(juliet, romeo),
      node.replace('urn%3Axmpp%3A', 'urn:xmpp:'),
      node.replace('post-1', '%'),
      `${NS.attachments}/`,
    ].map((other) => [attach(romeo, '<noticed/>', other), error('cancel', 'item-not-found')] as const),
  ];
  for (const [request, refused] of cases) {
    await orchard.sends(request);
    await orchard.receives(refused);
  }
});

scenario(
  '§4.3, §4.4, §4.6: attachment nodes are managed by the server, with the rights of the node',
  async ({ actor }) => {
    const { balcony, orchard } = await play(actor);
    for (const name of [node, summary]) {
      await balcony.sends(pubsub('set', `<create node='${name}'/>`));
      await balcony.receives(error('cancel', 'not-allowed'));
    }
    await balcony.sends(publish(summary, 'post-1', 'x'));
    await balcony.receives(error('auth', 'forbidden'));
    // §4.3: options are ignored
    await orchard.sends(
      attach(romeo, '<noticed/>').replace(
        '</publish>',
        `</publish><publish-options><x xmlns='${NS.dataForms}' type='submit'><field var='pubsub#access_model'><value>whitelist</value></field></x></publish-options>`,
      ),
    );
    await orchard.receives(result());
    await balcony.sends(configure(blog, { publish_model: 'publishers' }));
    await balcony.receives(result());
    await orchard.sends(attach(romeo, reactions('👷')));
    await orchard.receives(error('auth', 'forbidden'));
    await balcony.sends(configure(blog, { access_model: 'whitelist' }));
    await balcony.receives(result());
    for (const name of [node, summary]) {
      await orchard.sends(pubsub('get', `<items node='${name}'/>`, juliet));
      await orchard.receives(error('cancel', 'not-allowed', 'closed-node'));
      await balcony.sends(configure(name, { access_model: 'open' }));
      await balcony.receives(error('cancel', 'not-allowed'));
    }
  },
);

scenario('attachments are deleted with their item', async ({ actor }) => {
  const { balcony, orchard } = await play(actor);
  const second = node.replace('post-1', 'post-2');
  for (const to of [node, second]) {
    await orchard.sends(attach(romeo, '<noticed/>', to));
    await orchard.receives(result());
  }
  await balcony.sends(pubsub('set', `<retract node='${blog}'><item id='post-1'/></retract>`));
  await balcony.receives(result());
  await orchard.sends(pubsub('get', `<items node='${node}'/>`, juliet));
  await orchard.receives(error('cancel', 'item-not-found'));
  await orchard.sends(pubsub('get', `<items node='${summary}'/>`, juliet));
  const left = await orchard.receives(result(`<items node='${summary}'><item id='post-2'/></items>`));
  assert.equal(left.getChild('pubsub')!.getChild('items')!.getChildElements().length, 1);
  await balcony.sends(owner('set', `<delete node='${blog}'/>`));
  await balcony.receives(result());
  for (const name of [second, summary]) {
    await orchard.sends(pubsub('get', `<items node='${name}'/>`, juliet));
    await orchard.receives(error('cancel', 'item-not-found'));
  }
});

scenario('§4.6: subscribers of the summary are notified of changes', async ({ actor }) => {
  const { balcony, orchard } = await play(actor);
  await balcony.sends('<presence/>');
  await balcony.receives('<presence/>');
  await orchard.sends(attach(romeo, '<noticed/>'));
  await orchard.receives(result());
  await balcony.sends(pubsub('set', `<subscribe node='${summary}' jid='${juliet}'/>`));
  await balcony.receives(result());
  await orchard.sends(attach(romeo, reactions('👷')));
  await orchard.receives(result());
  await balcony.receives(
    event(
      juliet,
      juliet,
      `<items node='${summary}'><item id='post-1'><summary xmlns='${NS.attachmentsSummary}'><reactions><reaction>👷</reaction></reactions></summary></item></items>`,
    ),
  );
  await orchard.sends(`<iq type='get' id='p' to='pubsub.localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await orchard.receives(
    `<iq type='result' id='p'><query xmlns='${NS.discoInfo}'><feature var='${NS.attachments}'/></query></iq>`,
  );
});
