/** Messages and requests between people of two servers (RFC 6120, RFC 6121). */
import assert from 'node:assert/strict';
import { NS } from '../../../src/server/stanza/ns.js';
import { domainOf } from './peer.js';
import type { Play } from './scene.js';

const body = (text: string): string => `<body>${text}</body>`;

export const talk: readonly Play[] = [
  {
    title: 'messages with receipts (XEP-0184) arrive in order',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const odd = 'Blümchen &amp; &lt;Söhne&gt; 🌼 &apos;&quot;';
      romeo.sends(
        `<message to='${juliet.bare}' type='chat' id='first'>${body(odd)}<request xmlns='${NS.receipts}'/><active xmlns='${NS.chatStates}'/></message>`,
      );
      await juliet.gets(
        `<message from='${romeo.jid}' type='chat' id='first'>${body(odd)}<request xmlns='${NS.receipts}'/><active xmlns='${NS.chatStates}'/></message>`,
      );
      juliet.sends(`<message to='${romeo.jid}' type='chat'><received xmlns='${NS.receipts}' id='first'/></message>`);
      await romeo.gets(
        `<message from='${juliet.jid}' type='chat'><received xmlns='${NS.receipts}' id='first'/></message>`,
      );
      for (let n = 0; n < 100; n++)
        romeo.sends(`<message to='${juliet.jid}' type='chat'>${body(`number ${n}`)}</message>`);
      await juliet.gets(`<message type='chat'>${body('number 99')}</message>`);
      const came = juliet.takes(`<message from='${romeo.jid}' type='chat'>${body('{text}')}</message>`);
      assert.deepEqual(
        came.map((message) => message.getChildText('body')),
        Array.from({ length: 99 }, (_, n) => `number ${n}`),
      );
    },
  },
  {
    title: 'hundreds of messages each way at once, all of them in order',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const numbers = Array.from({ length: 300 }, (_, n) => `number ${n}`);
      for (const text of numbers) {
        romeo.sends(`<message to='${juliet.jid}' type='chat'>${body(text)}</message>`);
        juliet.sends(`<message to='${romeo.jid}' type='chat'>${body(text)}</message>`);
      }
      for (const [who, from] of [
        [romeo, juliet],
        [juliet, romeo],
      ] as const) {
        const last = await who.gets(`<message from='${from.jid}' type='chat'>${body(numbers.at(-1)!)}</message>`);
        const came = [...who.takes(`<message from='${from.jid}' type='chat'><body/></message>`), last];
        assert.deepEqual(
          came.map((message) => message.getChildText('body')),
          numbers,
        );
      }
    },
  },
  {
    title: 'a message of the size that clients may send',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const around = `<message to='${juliet.jid}' type='chat' id='1'>${body('')}</message>`;
      // The usual limit. What the server adds (a sender, a language) comes on top.
      const long = 'x'.repeat(262_144 - around.length);
      romeo.sends(`<message to='${juliet.jid}' type='chat' id='1'>${body(long)}</message>`);
      const came = await juliet.gets(`<message from='${romeo.jid}' type='chat' id='1'/>`);
      assert.equal(came.getChildText('body'), long);
    },
  },
  {
    title: 'disco (XEP-0030), ping (XEP-0199), version (XEP-0092) and vCard (XEP-0054)',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other, { features: [NS.ping] });
      const domain = domainOf(other.name, 'external');
      await romeo.can.ping(domain);
      await romeo.can.ping(juliet.jid);
      assert.ok((await romeo.can.features(domain)).includes(NS.discoInfo));
      assert.deepEqual(await romeo.can.features(juliet.jid), [NS.ping]);
      const { attrs } = await romeo.asks('get', `<query xmlns='${NS.discoItems}'/>`, domain);
      assert.equal(attrs.from, domain);
      assert.match(await romeo.can.version(domain), new RegExp(other.name, 'i'));
      await juliet.can.setCard('Juliet & Co');
      assert.equal(await romeo.can.card(juliet.bare), 'Juliet & Co');
    },
  },
  {
    title: 'what nobody takes is refused by the server of the address (RFC 6120 §10.5)',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const nobody = `nobody@${domainOf(other.name, 'external')}`;
      const unknown = ['service-unavailable', 'item-not-found'];
      assert.ok(unknown.includes(await romeo.isRefused('get', `<query xmlns='${NS.version}'/>`, nobody)));
      assert.ok(unknown.includes(await romeo.isRefused('get', `<ping xmlns='${NS.ping}'/>`, `${juliet.bare}/nowhere`)));
      assert.equal(await romeo.isRefused('get', `<query xmlns='test:unknown'/>`, juliet.jid), 'service-unavailable');
      romeo.sends(`<message to='${nobody}' type='chat' id='lost'>${body('Anybody?')}</message>`);
      const refusal = await romeo.gets(`<message from='${nobody}' type='error' id='lost'><error/></message>`);
      const conditions = refusal
        .getChild('error')!
        .getChildElements()
        .map(({ name }) => name);
      assert.ok(
        conditions.some((name) => unknown.includes(name)),
        String(refusal),
      );
    },
  },
  {
    title: 'a domain that DNS does not know',
    async play(scene, one) {
      const romeo = await scene.someone(one);
      romeo.sends(`<message to='juliet@nowhere.example' type='chat' id='lost'>${body('Anybody?')}</message>`);
      await romeo.gets(
        `<message from='juliet@nowhere.example' type='error' id='lost'><error><remote-server-not-found xmlns='${NS.stanzas}'/></error></message>`,
      );
      const condition = await romeo.isRefused('get', `<ping xmlns='${NS.ping}'/>`, 'nowhere.example');
      assert.equal(condition, 'remote-server-not-found');
    },
  },
  {
    title: 'copies for further devices (XEP-0280), and both archives (XEP-0313)',
    async play(scene, one, other) {
      const romeo = await scene.someone(one);
      const romeos = await scene.someone(one, { bare: romeo.bare, resource: 'laptop' });
      const juliet = await scene.someone(other);
      const juliets = await scene.someone(other, { bare: juliet.bare, resource: 'laptop' });
      for (const device of [romeos, juliets]) await device.can.enableCarbons();
      romeo.sends(`<message to='${juliet.jid}' type='chat' id='1'>${body('But soft!')}</message>`);
      await juliet.gets(`<message from='${romeo.jid}' type='chat' id='1'>${body('But soft!')}</message>`);
      await romeos.inbox.next('message', { carbon: 'sent', body: 'But soft!' });
      await juliets.inbox.next('message', { carbon: 'received', body: 'But soft!', from: romeo.jid });
      juliet.sends(`<message to='${romeo.jid}' type='chat' id='2'>${body('Ay me!')}</message>`);
      await romeo.gets(`<message from='${juliet.jid}' type='chat' id='2'>${body('Ay me!')}</message>`);
      await romeos.inbox.next('message', { carbon: 'received', body: 'Ay me!', from: juliet.jid });
      await juliets.inbox.next('message', { carbon: 'sent', body: 'Ay me!' });
      for (const [person, peer] of [
        [romeo, juliet],
        [juliet, romeo],
      ] as const) {
        const { messages, isLast } = await person.can.history({ with: peer.bare, max: 10 });
        assert.deepEqual(
          messages.map(({ from, body: text }) => [from, text]),
          [
            [romeo.jid, 'But soft!'],
            [juliet.jid, 'Ay me!'],
          ],
        );
        assert.ok(isLast);
      }
    },
  },
  {
    title: 'a message for somebody who is away waits for them (XEP-0160)',
    async play(scene, one, other) {
      const romeo = await scene.someone(one);
      const bare = scene.account(other);
      romeo.sends(`<message to='${bare}' type='chat' id='1'>${body('later')}</message>`);
      // The server of the recipient has it once it has answered what came after it.
      await romeo.can.ping(domainOf(other.name, 'external'));
      const juliet = await scene.someone(other, { bare });
      await juliet.gets(
        `<message from='${romeo.jid}' type='chat' id='1'>${body('later')}<delay xmlns='${NS.delay}'/></message>`,
      );
    },
  },
  {
    title: 'somebody of the other server who is blocked (XEP-0191)',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      await juliet.can.block(romeo.bare);
      romeo.sends(`<message to='${juliet.bare}' type='chat' id='1'>${body('blocked')}</message>`);
      await romeo.gets(
        `<message from='${juliet.bare}' type='error' id='1'><error><service-unavailable xmlns='${NS.stanzas}'/></error></message>`,
      );
      assert.equal(await romeo.isRefused('get', `<ping xmlns='${NS.ping}'/>`, juliet.jid), 'service-unavailable');
      // §3: the blocker cannot send either.
      juliet.sends(`<message to='${romeo.jid}' type='chat' id='2'>${body('blocked')}</message>`);
      await juliet.gets(
        `<message type='error' id='2'><error><not-acceptable xmlns='${NS.stanzas}'/></error></message>`,
      );
      await juliet.can.unblock(romeo.bare);
      romeo.sends(`<message to='${juliet.jid}' type='chat' id='3'>${body('heard')}</message>`);
      await juliet.gets(`<message from='${romeo.jid}' type='chat' id='3'>${body('heard')}</message>`);
      juliet.hasNone(`<message from='${romeo.jid}' type='chat' id='1'/>`);
    },
  },
];
