/**
 * Messages between clients are delivered unchanged: directly, as carbons (XEP-0280), and from the offline store
 * (XEP-0160). There is one payload for each specification that needs no handling by the server.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Element, parse, serialize } from '../../src/server/xml/element.js';
import { type Peer, scenario } from './dialogue.js';

interface Payload {
  readonly type?: string;
  readonly content: string;
  /** Whether it is stored for an offline user. Default: yes. */
  readonly isKept?: boolean;
  /** Whether it is copied. Default: yes. */
  readonly isCopied?: boolean;
}

const body = '<body>Art thou not Romeo?</body>';
const store = `<store xmlns='${NS.hints}'/>`;
const omemo = (ns: string) => `<encrypted xmlns='${ns}'><header sid='27183'>
  <keys jid='juliet@localhost'><key rid='31415'>TUdLOw==</key><key kex='true' rid='12321'>a2V4</key></keys>
  </header><payload>Q0lQSEVS</payload></encrypted>`;

const payloads: Readonly<Record<string, Payload>> = {
  'XEP-0047: in-band bytes': { content: `<data xmlns='http://jabber.org/protocol/ibb' sid='i' seq='0'>qANQ</data>` },
  'XEP-0066: out-of-band data': { content: `${body}<x xmlns='jabber:x:oob'><url>https://a.example/?a&amp;b</url></x>` },
  'XEP-0071: formatted text': {
    content: `${body}<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>
      <p style='font-weight:bold'>Art <em>thou</em> not <br/>Romeo?</p></body></html>`,
  },
  'XEP-0085: a chat state': { content: `<composing xmlns='${NS.chatStates}'/><thread>act2</thread>`, isKept: false },
  'XEP-0184: a request for a receipt': { content: `${body}<request xmlns='${NS.receipts}'/>` },
  'XEP-0184: a receipt': { content: `<received xmlns='${NS.receipts}' id='richard2-4.1.247'/>` },
  'XEP-0184: a receipt without type': { type: 'normal', content: `<received xmlns='${NS.receipts}' id='r'/>` },
  'XEP-0201: a thread': { content: `${body}<thread parent='e0ffe42b'>7edac73a</thread>` },
  'XEP-0203: a delay added by another entity': {
    content: `${body}<delay xmlns='${NS.delay}' from='room@chat.example' stamp='2002-09-10T23:08:25Z'>Late</delay>`,
  },
  'XEP-0224: attention': {
    type: 'headline',
    content: `<attention xmlns='urn:xmpp:attention:0'/>`,
    isKept: false,
    isCopied: false,
  },
  'XEP-0231: bits of binary': {
    content: `${body}<data xmlns='urn:xmpp:bob' cid='sha1+8f35@bob.xmpp.org' max-age='86400' type='image/png'>iVBO</data>`,
  },
  'XEP-0249: an invitation': {
    type: 'normal',
    content: `<x xmlns='${NS.conference}' jid='darkcave@chat.example' password='cauldronburn' reason='Hey &lt;Hecate&gt;'/>`,
  },
  'XEP-0308: a correction': { content: `${body}<replace id='bad1' xmlns='urn:xmpp:message-correct:0'/>` },
  'XEP-0333: a request for a marker': { content: `${body}<markable xmlns='${NS.markers}'/>` },
  'XEP-0333: a marker': { content: `<displayed xmlns='${NS.markers}' id='message-1'/>` },
  'XEP-0334: hints': { content: `${body}<no-permanent-store xmlns='${NS.hints}'/>${store}` },
  'XEP-0353: a proposed call': {
    content: `<propose xmlns='urn:xmpp:jingle-message:0' id='ca3cf894'>
      <description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>${store}`,
  },
  'XEP-0353: an accepted call': { content: `<proceed xmlns='urn:xmpp:jingle-message:0' id='ca3cf894'/>${store}` },
  'XEP-0353: a finished call': {
    content: `<finish xmlns='urn:xmpp:jingle-message:0' id='ca3cf894'><reason xmlns='urn:xmpp:jingle:1'>
      <success/><text>Success</text></reason><migrated to='989a46a6'/></finish>${store}`,
  },
  'XEP-0359: an origin id': { content: `${body}<origin-id xmlns='${NS.stanzaId}' id='de305d54'/>` },
  'XEP-0380, XEP-0384: OMEMO': {
    content: `${body}${omemo('urn:xmpp:omemo:2')}
      <encryption xmlns='urn:xmpp:eme:0' name='OMEMO' namespace='urn:xmpp:omemo:2'/>${store}`,
  },
  'XEP-0384: OMEMO as of 0.3, without a body': {
    content: `<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'><key rid='2' prekey='true'>QQ==</key>
      <iv>AAAA</iv></header><payload>QQ==</payload></encrypted>`,
  },
  'XEP-0372: a reference': {
    content: `${body}<reference xmlns='urn:xmpp:reference:0' begin='0' end='3' type='mention' uri='xmpp:romeo@localhost'/>`,
  },
  'XEP-0393: disabled styling': { content: `${body}<unstyled xmlns='urn:xmpp:styling:0'/>` },
  'XEP-0420: an envelope': {
    content: `${omemo('urn:xmpp:omemo:2')}<envelope xmlns='urn:xmpp:sce:1'><content>
      <body xmlns='jabber:client'>inside</body></content><rpad>C1DHN</rpad><from jid='romeo@localhost'/></envelope>`,
  },
  'XEP-0428, XEP-0461: a reply with a fallback': {
    content: `<body>> Anna wrote:\n> Hi\nGreat</body><reply to='anna@localhost' id='message-id1' xmlns='urn:xmpp:reply:0'/>
      <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='20'/></fallback>`,
  },
  'XEP-0444: reactions': {
    content: `<reactions id='744f6e18' xmlns='urn:xmpp:reactions:0'><reaction>👋</reaction><reaction>👩‍👩‍👧</reaction></reactions>${store}`,
  },
  'XEP-0447: a file': {
    content: `<file-sharing xmlns='urn:xmpp:sfs:0' disposition='inline'><file xmlns='urn:xmpp:file:metadata:0'>
      <media-type>image/jpeg</media-type><name>summit.jpg</name><hash xmlns='urn:xmpp:hashes:2' algo='sha3-256'>2XaM</hash></file>
      <sources><url-data xmlns='http://jabber.org/protocol/url-data' target='https://a.example/s.jpg'/></sources></file-sharing>`,
  },
  'XEP-0482: an invitation to a call': {
    content: `<invite xmlns='urn:xmpp:call-invites:0' video='true'><jingle sid='s' jid='romeo@localhost/orchard'/></invite>${store}`,
  },
  'an unspecified element': {
    content: `${body}<p:x xmlns:p='urn:p' xmlns:q='urn:q' q:a='1' b='&quot;&apos;&#9;'><p:y/><y xmlns=''/>&#x1F339;</p:x>`,
  },
  'all kinds of text': {
    content: `<subject/><body xml:lang='ar'> مرحبا\u200f &lt;&amp;&gt;]]&gt; <![CDATA[<&]]>\n\t👩🏽‍🚀&#13; </body><body xml:lang='en'/>`,
  },
};

/** The message as sent, without the elements added by the recipient's archive and offline store. */
function written(message: Element, account: string): string[] {
  return message
    .getChildElements()
    .filter(({ name, attrs }) => name !== 'stanza-id' || attrs.by !== account)
    .filter(({ name, attrs }) => name !== 'delay' || attrs.from !== 'localhost')
    .map((child) => serialize(child));
}

const forwarded = (carbon: Element, way: 'sent' | 'received'): Element =>
  carbon.getChild(way, NS.carbons)!.getChild('forwarded', NS.forward)!.getChild('message', NS.client)!;

async function wantsCopies(peer: Peer): Promise<void> {
  await peer.sends(`<iq type='set' id='enable'><enable xmlns='${NS.carbons}'/></iq>`);
  await peer.receives(`<iq type='result' id='enable'/>`);
}

for (const [what, { type = 'chat', content, isKept = true, isCopied = true }] of Object.entries(payloads)) {
  scenario(what, async ({ actor, stage }) => {
    await stage.account('paris@localhost');
    const orchard = await actor('romeo@localhost/orchard');
    const garden = await actor('romeo@localhost/garden');
    const balcony = await actor('juliet@localhost/balcony', { presence: true });
    const chamber = await actor('juliet@localhost/chamber');
    await wantsCopies(garden);
    await wantsCopies(chamber);
    const wanted = written(parse(`<message>${content}</message>`, NS.client), '');
    const attributes = `type='${type}' id='a&amp;&apos;1' xml:lang='it'`;

    await orchard.sends(`<message to='juliet@localhost' ${attributes}>${content}</message>`);
    const direct = await balcony.receives(
      `<message from='romeo@localhost/orchard' to='juliet@localhost' ${attributes}/>`,
    );
    assert.deepEqual(written(direct, 'juliet@localhost'), wanted, 'directly');
    if (isCopied) {
      const received = forwarded(await chamber.receives(`<message type='${type}'/>`), 'received');
      assert.deepEqual(written(received, 'juliet@localhost'), wanted, 'copied to another of the recipient');
      const sent = forwarded(await garden.receives(`<message type='${type}'/>`), 'sent');
      assert.deepEqual(written(sent, 'romeo@localhost'), wanted, 'copied to another of the sender');
    }
    await orchard.sends(`<message to='paris@localhost' ${attributes}>${content}</message>`);
    await orchard.receivesNothing();
    const paris = await actor('paris@localhost/street');
    await paris.sends('<presence/>');
    await paris.receives('<presence/>');
    if (isKept) {
      const stored = await paris.receives(
        `<message from='romeo@localhost/orchard' to='paris@localhost' ${attributes}/>`,
      );
      assert.deepEqual(written(stored, 'paris@localhost'), wanted, 'kept');
    }
    await paris.receivesNothing();
    await chamber.receivesNothing();
  });
}

scenario('XEP-0166, XEP-0047: requests between clients', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony');
  const requests = [
    `<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='a73sjjvkla37jfea'><content creator='initiator' name='c'>
      <description xmlns='urn:xmpp:jingle:apps:stub:0'/><transport xmlns='urn:xmpp:jingle:transports:stub:0'/></content></jingle>`,
    `<open xmlns='http://jabber.org/protocol/ibb' block-size='4096' sid='i781hf64' stanza='iq'/>`,
    `<data xmlns='http://jabber.org/protocol/ibb' seq='0' sid='i781hf64'>qANQR1DBwU4DX7jmYZnncm==</data>`,
  ];
  for (const request of requests) {
    await romeo.sends(`<iq type='set' id='1' to='juliet@localhost/balcony'>${request}</iq>`);
    await juliet.receives(
      `<iq type='set' id='1' from='romeo@localhost/orchard' to='juliet@localhost/balcony'>${request}</iq>`,
      { exactly: true },
    );
    await juliet.sends(`<iq type='result' id='1' to='romeo@localhost/orchard'/>`);
    await romeo.receives(`<iq type='result' id='1' from='juliet@localhost/balcony' to='romeo@localhost/orchard'/>`, {
      exactly: true,
    });
  }
});
