/**
 * Whole connections with something wrong about them: what real clients say, changed at random. The server answers with
 * well-formed XML, logs no fault of its own, ends every one of them, and a pair that talks meanwhile notices nothing.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { base64, type Peer, password, type Scene, scenario, type TransportName } from '../compliance/dialogue.js';
import { unlimitedRate } from '../compliance/phrases.js';
import { mulberry32, mutated } from './mutation.js';

/** Rounds, and how long they may take in all, in ms. */
const rounds = 600;
const most = 5000;
const atOnce = 4;

const config = {
  limits: {
    rate: unlimitedRate,
    rate_account: unlimitedRate,
    rate_unauthenticated: unlimitedRate,
    close_timeout_seconds: 1,
  },
  stream_management: { hibernate_seconds: 1, hibernate_max_seconds: 1 },
};

const header = `<?xml version='1.0'?><stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}' to='localhost' version='1.0' from='mallory@localhost'>`;
const victim = 'victim@localhost/desk';

/** Before the login: whole connections. */
const unauthenticated: readonly (readonly string[])[] = [
  [header, `<starttls xmlns='${NS.tls}'/>`, header],
  [
    header,
    `<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>${base64('n,,n=mallory,r=abcdefgh')}</auth>`,
    `<response xmlns='${NS.sasl}'>${base64('c=biws,r=abcdefgh,p=AAAA')}</response>`,
  ],
  [
    header,
    `<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-256-PLUS'>${base64('p=tls-exporter,,n=mallory,r=abcdefgh')}</auth>`,
    `<abort xmlns='${NS.sasl}'/>`,
  ],
  [
    header,
    `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${base64(`\0mallory\0${password}`)}</auth>`,
    header,
    `<iq type='set' id='1'><bind xmlns='${NS.bind}'><resource>x</resource></bind></iq>`,
    '<presence/>',
  ],
  [
    header,
    `<authenticate xmlns='${NS.sasl2}' mechanism='PLAIN'><initial-response>${base64(`\0mallory\0${password}`)}</initial-response>` +
      `<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>x</software></user-agent><bind xmlns='${NS.bind2}'><tag>x</tag>` +
      `<enable xmlns='${NS.sm}' resume='true'/><enable xmlns='${NS.carbons}'/><inactive xmlns='${NS.csi}'/></bind>` +
      `<request-token xmlns='${NS.fast}' mechanism='HT-SHA-256-NONE'/><resume xmlns='${NS.sm}' previd='x' h='0'/>` +
      `<upgrade xmlns='${NS.saslUpgrade}'>UPGR-SCRAM-SHA-256</upgrade></authenticate>`,
    '<presence/>',
    `<message to='${victim}' type='chat'><body>hi</body></message>`,
    '</stream:stream>',
  ],
  [
    header,
    `<iq type='set' id='1'><query xmlns='${NS.register}'><username>x</username><password>y</password></query></iq>`,
  ],
];

/** After it: what a session says. */
const sayings: readonly string[] = [
  '<presence/>',
  `<presence><show>away</show><priority>5</priority><c xmlns='${NS.caps}' hash='sha-1' node='n' ver='v'/></presence>`,
  `<presence to='${victim}' type='subscribe'/>`,
  `<presence type='unavailable'/>`,
  `<message to='${victim}' type='chat' id='1' xml:lang='en'><body>hi &amp; €</body><active xmlns='${NS.chatStates}'/></message>`,
  `<message to='nobody@localhost' type='normal'><body>hi</body><no-store xmlns='${NS.hints}'/></message>`,
  `<message to='mallory@localhost' type='headline'><stanza-id xmlns='${NS.stanzaId}' id='1' by='mallory@localhost'/></message>`,
  `<iq type='get' id='1'><query xmlns='${NS.roster}' ver=''/></iq>`,
  `<iq type='set' id='2'><query xmlns='${NS.roster}'><item jid='${victim}' name='V'><group>G</group></item></query></iq>`,
  `<iq type='get' id='3' to='localhost'><query xmlns='${NS.discoInfo}' node='x'/></iq>`,
  `<iq type='get' id='4' to='mallory@localhost'><query xmlns='${NS.discoItems}'/></iq>`,
  `<iq type='set' id='5'><vCard xmlns='${NS.vcardTemp}'><FN>M</FN></vCard></iq>`,
  `<iq type='set' id='6'><query xmlns='${NS.private}'><storage xmlns='${NS.bookmarksPrivate}'/></query></iq>`,
  `<iq type='set' id='7'><block xmlns='${NS.blocking}'><item jid='x@localhost'/></block></iq>`,
  `<iq type='set' id='8'><enable xmlns='${NS.carbons}'/></iq>`,
  `<iq type='set' id='9'><query xmlns='${NS.mam}' queryid='q'><x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${NS.mam}</value></field><field var='with'><value>${victim}</value></field></x><set xmlns='${NS.rsm}'><max>5</max><before/></set></query></iq>`,
  `<iq type='set' id='10' to='mallory@localhost'><pubsub xmlns='${NS.pubsub}'><publish node='n'><item id='i'><x xmlns='y'/></item></publish></pubsub></iq>`,
  `<iq type='set' id='11' to='localhost'><command xmlns='${NS.commands}' node='x' action='execute'/></iq>`,
  `<presence to='room@conference.localhost/mallory'><x xmlns='${NS.muc}'/></presence>`,
  `<message to='room@conference.localhost' type='groupchat'><body>hi</body></message>`,
  `<iq type='get' id='12' to='localhost'><ping xmlns='${NS.ping}'/></iq>`,
  `<iq type='result' id='13' to='${victim}'/>`,
  `<enable xmlns='${NS.sm}' resume='true'/>`,
  `<r xmlns='${NS.sm}'/>`,
  `<a xmlns='${NS.sm}' h='0'/>`,
  `<inactive xmlns='${NS.csi}'/>`,
  `<active xmlns='${NS.csi}'/>`,
  '</stream:stream>',
];

async function round(scene: Scene, seed: number): Promise<void> {
  const random = mulberry32(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const transport = pick<TransportName>(['tcp', 'tcp', 'tls', 'websocket']);
  const options = {
    transport,
    address: `127.5.${1 + ((seed >> 8) & 0xff)}.${1 + (seed & 0xfd)}`,
    name: `seed ${seed}`,
  };
  const isUnauthenticated = random() < 0.5;
  const peer: Peer = isUnauthenticated
    ? await scene.connect(options)
    : await scene.actor(`mallory@localhost/${seed}`, options);
  const script = isUnauthenticated
    ? pick(unauthenticated)
    : Array.from({ length: 1 + Math.floor(random() * 8) }, () => pick(sayings));
  peer.pieceSize = pick([1 + Math.floor(random() * 50), Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
  const isWebSocket = transport === 'websocket';
  for (const part of script) {
    const bytes = mutated(part, random);
    await peer.sends(isWebSocket ? bytes.toString() : bytes);
  }
  if (isWebSocket) {
    peer.cut();
    return;
  }
  if (random() < 0.2) peer.cut();
  else {
    peer.halfCloses();
    await peer.drains();
  }
}

scenario('modified connections affect nobody else', { config, alone: true }, async (scene) => {
  const { server, stage } = scene;
  const romeo = await scene.actor('romeo@localhost/orchard', { presence: true });
  const juliet = await scene.actor('juliet@localhost/balcony', { transport: 'tls', presence: true });
  const victimPeer = await scene.actor(victim);
  await scene.stage.account('mallory@localhost');
  const started = performance.now();
  let seed = 0;
  const run = async () => {
    while (seed < rounds && performance.now() - started < most) {
      const own = seed++;
      await round(scene, own).catch((error: unknown) => {
        throw new Error(`seed ${own}`, { cause: error });
      });
      assert.deepEqual(stage.takeErrors(), [], `seed ${own}`);
      if (own % 20 !== 0) continue;
      await romeo.sends(`<message to='${juliet.jid}' type='chat' id='${own}'><body>${own}</body></message>`);
      await juliet.receives(`<message from='${romeo.jid}' type='chat' id='${own}'><body>${own}</body></message>`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, run));
  await romeo.receivesNothing();
  await juliet.receivesNothing();
  assert.ok(victimPeer.bound);
  // All connections and sessions but these have ended.
  while (server.sessions.size > 3 || server.connections.tcp! > 2 || server.connections.websocket! > 0)
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(server.hibernating, 0);
});
