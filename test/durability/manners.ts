/**
 * The manners of accounts at their limits. Everything is valid XMPP unless its name says otherwise, and within the
 * server's limits.
 */
import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { WebSocket } from 'ws';
import type { Wire } from '../../bench/wire.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { Villain } from './villain.js';
import { villainPassword } from './villain.js';

type Manner = (villain: Villain) => Promise<void>;

const service = 'conference.localhost';
/** 240 KB that cost as much as they can. */
const manyElements = `<x>${'<a/>'.repeat(4800)}${'y'.repeat(220_000)}</x>`;
const longText = 'z'.repeat(240_000);
/** An address of 3 KB with contextual characters (RFC 5892 appendix A.7). */
const oddAddress = (n: number): string => `${'・'.repeat(330)}ア${n}@localhost`;

const chat = (to: string, body: string): string => `<message to='${to}' type='chat'><body>${body}</body></message>`;
const join = (room: string, nick: string): string => `<presence to='${room}/${nick}'><x xmlns='${NS.muc}'/></presence>`;
const form = (type: string, fields: Readonly<Record<string, string>>): string =>
  `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE' type='hidden'><value>${type}</value></field>${Object.entries(
    fields,
  )
    .map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`)
    .join('')}</x>`;

/** Makes a room that opens at once. */
async function makeRoom(villain: Villain, wire: Wire): Promise<string> {
  const room = `${villain.fresh()}@${service}`;
  villain.say(wire, join(room, villain.name));
  await villain.answer(
    wire,
    `<query xmlns='${NS.mucOwner}'><x xmlns='${NS.dataForms}' type='submit'/></query>`,
    room,
    'set',
  );
  return room;
}

/** Stored once, and fetched as often as the rate allows, from four connections. */
async function fetchOften(villain: Villain, set: string, get: string): Promise<void> {
  const first = await villain.enter();
  await villain.answer(first, set, villain.bare, 'set');
  const wires = [first, ...(await villain.enterOften(3))];
  await Promise.all(wires.map((wire) => villain.press(wire, () => villain.iq('get', get))));
}

const publish = (node: string, payload: string, id = 'current'): string =>
  `<pubsub xmlns='${NS.pubsub}'><publish node='${node}'><item id='${id}'>${payload}</item></publish></pubsub>`;
const items = (node: string): string => `<pubsub xmlns='${NS.pubsub}'><items node='${node}'/></pubsub>`;

export const manners: Readonly<Record<string, Manner>> = {
  flood: async (villain) => {
    const wire = await villain.enter();
    await villain.press(wire, () =>
      chat(villain.random.chance(0.5) ? villain.victim : villain.accomplice, 'x'.repeat(200)),
    );
  },

  'giants to a room': async (villain) => {
    const wire = await villain.enter();
    const room = villain.random.pick(villain.orders.rooms);
    villain.say(wire, join(room, villain.name));
    await villain.press(wire, () => `<message to='${room}' type='groupchat'><body>${longText}</body></message>`);
  },

  'giants to own devices': async (villain) => {
    const wires = await villain.enterOften(10);
    for (const wire of wires) villain.say(wire, villain.iq('set', `<enable xmlns='${NS.carbons}'/>`));
    await Promise.all(
      wires
        .slice(0, 2)
        .map((wire) => villain.press(wire, () => chat(villain.accomplice, `${manyElements.slice(3, -4)}`))),
    );
  },

  'giants to many': async (villain) => {
    const wire = await villain.enter();
    const addresses = villain.orders.users.slice(0, 50).map((user) => `<address type='bcc' jid='${user}'/>`);
    const list = `<addresses xmlns='${NS.addresses}'>${addresses.join('')}</addresses>`;
    await villain.press(
      wire,
      () => `<message to='localhost'>${list}<body>${longText.slice(0, 200_000)}</body></message>`,
    );
  },

  'fetches private XML': (villain) =>
    fetchOften(
      villain,
      `<query xmlns='${NS.private}'><big xmlns='test:big'>${manyElements}</big></query>`,
      `<query xmlns='${NS.private}'><big xmlns='test:big'/></query>`,
    ),

  'fetches a vCard': (villain) =>
    fetchOften(
      villain,
      `<vCard xmlns='${NS.vcardTemp}'>${'<TEL><HOME/><NUMBER>1</NUMBER></TEL>'.repeat(1600)}</vCard>`,
      `<vCard xmlns='${NS.vcardTemp}'/>`,
    ),

  'fetches an item': (villain) =>
    fetchOften(villain, publish('test:big', manyElements.replace('<x>', "<x xmlns='test:big'>")), items('test:big')),

  'wide and deep': async (villain) => {
    const wires = await villain.enterOften(2);
    const attributes = Array.from({ length: 98 }, (_, n) => `a${n}='&amp;'`).join(' ');
    const declarations = Array.from({ length: 98 }, (_, n) => `xmlns:p${n}='test:${n}'`).join(' ');
    const { private: keep, vcardTemp, roster } = NS;
    const texts = [
      villain.iq('set', `<query xmlns='${keep}'><w xmlns='test:w'>${'<a/>'.repeat(4900)}</w></query>`),
      villain.iq('set', `<query xmlns='${keep}'><w xmlns='test:w'>${'<a>'.repeat(95)}${'</a>'.repeat(95)}</w></query>`),
      villain.iq('set', `<query xmlns='${keep}'><w xmlns='test:w'>${`<a ${attributes}/>`.repeat(200)}</w></query>`),
      villain.iq('set', `<query xmlns='${keep}'><w xmlns='test:w'>${`<a ${declarations}/>`.repeat(100)}</w></query>`),
      villain.iq('set', `<vCard xmlns='${vcardTemp}'>${'<TEL><NUMBER>1</NUMBER></TEL>'.repeat(2400)}</vCard>`),
      villain.iq(
        'set',
        `<query xmlns='${roster}'><item jid='c@localhost'>${'<group>g</group>'.repeat(4000)}</item></query>`,
      ),
      villain.iq(
        'set',
        publish(
          NS.bookmarks,
          `<conference xmlns='${NS.bookmarks}'>${'<nick>n</nick>'.repeat(4000)}</conference>`,
          'a@b',
        ),
      ),
      villain.iq(
        'set',
        publish(NS.vcard4Node, `<vcard xmlns='${NS.vcard4}'>${'<tel><uri>t</uri></tel>'.repeat(2400)}</vcard>`),
      ),
      `<message to='${villain.accomplice}'>${`<stanza-id xmlns='${NS.stanzaId}' by='${villain.accomplice}' id='1'/>`.repeat(2500)}<body>b</body></message>`,
      chat(villain.accomplice, '&lt;&#x1F600;'.repeat(14_000)),
      villain.iq(
        'get',
        `<query xmlns='${NS.discoInfo}' node='${'n'.repeat(3000)}'>${'<a/>'.repeat(4900)}</query>`,
        'localhost',
      ),
      villain.iq(
        'set',
        `<query xmlns='${NS.mam}'>${form(NS.mam, { with: oddAddress(1), start: '2020-01-01T00:00:00Z' })}</query>`,
      ),
      villain.iq(
        'set',
        `<query xmlns='${NS.mam}'>${form(NS.mam, { [`{${NS.fullText}}fulltext`]: 'ﷺ '.repeat(2000) })}</query>`,
      ),
    ];
    await Promise.all(wires.map((wire) => villain.press(wire, () => villain.random.pick(texts))));
  },

  'odd addresses': async (villain) => {
    const wire = await villain.enter();
    const room = await makeRoom(villain, wire);
    const some = Array.from({ length: 60 }, (_, n) => oddAddress(n));
    const texts = [
      villain.iq(
        'set',
        `<prefs xmlns='urn:xmpp:mam:2' default='always'><always>${some.map((jid) => `<jid>${jid}</jid>`).join('')}</always><never/></prefs>`,
      ),
      villain.iq('set', `<block xmlns='${NS.blocking}'>${some.map((jid) => `<item jid='${jid}'/>`).join('')}</block>`),
      villain.iq(
        'set',
        `<query xmlns='${NS.mucAdmin}'>${some.map((jid) => `<item affiliation='member' jid='${jid}'/>`).join('')}</query>`,
        room,
      ),
      `<message to='${room}'><x xmlns='${NS.mucUser}'>${some.map((jid) => `<invite to='${jid}'/>`).join('')}</x></message>`,
      `<message to='localhost'><addresses xmlns='${NS.addresses}'>${some.map((jid) => `<address type='to' jid='${jid}'/>`).join('')}</addresses><body>b</body></message>`,
      ...some.slice(0, 10).map((jid) => chat(jid, 'b')),
      ...some.slice(0, 10).map((jid) => join(room, jid.slice(0, 100))),
      ...some.slice(0, 10).map((jid) => villain.iq('set', `<query xmlns='${NS.roster}'><item jid='${jid}'/></query>`)),
    ];
    const before = async (): Promise<void> => {
      while (!villain.isOver) {
        const unauthenticated = villain.connect();
        villain.say(
          unauthenticated,
          `<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}' version='1.0' to='localhost' from='a@b/${'・'.repeat(2047)}ア'>`,
        );
        await pause(50);
        unauthenticated.end();
      }
    };
    await Promise.all([villain.press(wire, () => villain.random.pick(texts)), before()]);
  },

  'archive without reading': async (villain) => {
    const wires = await villain.enterOften(4);
    await villain.press(wires[0]!, () => chat(villain.accomplice, 'w'.repeat(1000)), 300);
    for (const wire of wires) wire.socket.pause();
    const query = `<query xmlns='${NS.mam}'><set xmlns='${NS.rsm}'><max>250</max><before/></set></query>`;
    await Promise.all(wires.map((wire) => villain.press(wire, () => villain.iq('set', query))));
  },

  'neither reads nor acknowledges': async (villain) => {
    const wires = await villain.enterOften(10);
    for (const wire of wires.slice(1)) {
      villain.say(wire, `<enable xmlns='${NS.sm}' resume='true'/><enable xmlns='${NS.carbons}'/>`);
      wire.socket.pause();
    }
    const [speaker] = wires;
    await villain.press(speaker!, () => chat(villain.bare, 'v'.repeat(5000)));
  },

  'twenty devices': async (villain) => {
    const wires = await villain.enterOften(20);
    for (const wire of wires) villain.say(wire, villain.iq('set', `<enable xmlns='${NS.carbons}'/>`));
    const texts = [
      () => chat(villain.accomplice, 'u'.repeat(1000)),
      () => '<presence><show>away</show></presence>',
      () => '<presence/>',
    ];
    await Promise.all(wires.map((wire) => villain.press(wire, () => villain.random.pick(texts)())));
  },

  'wrong passwords': async (villain) => {
    const guess = async (): Promise<void> => {
      while (!villain.isOver) {
        const wire = villain.connect();
        const user = villain.random.chance(0.5) ? villain.name : villain.victim.split('@')[0];
        const wrong = Buffer.from(`\0${user}\0wrong${villain.random.between(0, 1e6)}`).toString('base64');
        villain.say(
          wire,
          '<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" to="localhost" version="1.0">',
        );
        villain.say(wire, `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${wrong}</auth>`);
        await pause(villain.random.between(20, 200));
        wire.end();
      }
    };
    await Promise.all(Array.from({ length: 10 }, guess));
  },

  'joins and leaves': async (villain) => {
    const run = async (): Promise<void> => {
      while (!villain.isOver) {
        try {
          const wire = await villain.enter(villain.random.chance(0.5) ? 'same' : undefined);
          await wire.ask(`<enable xmlns='${NS.sm}' resume='true'/>`, '<enabled');
          villain.say(wire, '<presence/>');
          wire.end();
        } catch {
          await pause(50); // it may be refused
        }
      }
    };
    await Promise.all(Array.from({ length: 8 }, run));
  },

  rooms: async (villain) => {
    const [owner, ...guests] = await villain.enterOften(4);
    const room = await makeRoom(villain, owner!);
    const admin = (affiliation: string): string =>
      villain.iq(
        'set',
        `<query xmlns='${NS.mucAdmin}'><item affiliation='${affiliation}' jid='${villain.victim}'><reason>${'r'.repeat(500)}</reason></item></query>`,
        room,
      );
    const invitation = (): string =>
      `<message to='${room}'><x xmlns='${NS.mucUser}'>${Array.from({ length: 20 }, () => `<invite to='${villain.victim}'><reason>${'i'.repeat(500)}</reason></invite>`).join('')}</x></message>`;
    const made = (): string => join(`${villain.fresh()}@${service}`, 'n');
    const texts = [() => admin('member'), () => admin('none'), () => admin('outcast'), invitation, made];
    const hall = villain.random.pick(villain.orders.rooms);
    await Promise.all([
      villain.press(owner!, () => villain.random.pick(texts)()),
      ...guests.map((wire, n) =>
        villain.press(wire, () => {
          const place = villain.random.chance(0.5) ? room : hall;
          const nick = `${villain.name}${n}${villain.random.between(0, 5)}`;
          return villain.random.chance(0.6)
            ? join(place, nick)
            : `<presence to='${place}/${nick}' type='unavailable'/>`;
        }),
      ),
    ]);
  },

  nodes: async (villain) => {
    const wires = await villain.enterOften(3);
    const node = (): string => `${villain.name}-${villain.random.between(0, 110)}`;
    const texts = [
      () => villain.iq('set', `<pubsub xmlns='${NS.pubsub}'><create node='${node()}'/></pubsub>`, 'pubsub.localhost'),
      () =>
        villain.iq(
          'set',
          publish(
            node(),
            `<x xmlns='test:x'>${'n'.repeat(villain.random.pick([10, 1000, 200_000]))}</x>`,
            villain.fresh(),
          ),
          'pubsub.localhost',
        ),
      () =>
        villain.iq(
          'set',
          `<pubsub xmlns='${NS.pubsubOwner}'><subscriptions node='${node()}'>${Array.from({ length: 20 }, () => `<subscription jid='${villain.victim}' subscription='subscribed'/>`).join('')}</subscriptions></pubsub>`,
          'pubsub.localhost',
        ),
      () =>
        villain.iq(
          'set',
          `<pubsub xmlns='${NS.pubsub}'><subscribe node='${node()}' jid='${villain.bare}'/></pubsub>`,
          'pubsub.localhost',
        ),
      () => villain.iq('get', `<query xmlns='${NS.discoItems}'/>`, 'pubsub.localhost'),
      () =>
        villain.iq(
          'set',
          publish(
            `own-${villain.random.between(0, 600)}`,
            `<x xmlns='test:x'>${'p'.repeat(20_000)}</x>`,
            villain.fresh(),
          ),
        ),
    ];
    await Promise.all(wires.map((wire) => villain.press(wire, () => villain.random.pick(texts)())));
  },

  'presence to many': async (villain) => {
    const wires = await villain.enterOften(5);
    const status = `<status>${'s'.repeat(15_000)}</status>`;
    for (const wire of wires)
      for (const room of villain.orders.rooms) villain.say(wire, join(room, `${villain.name}-${wires.indexOf(wire)}`));
    const texts = [
      () => `<presence>${status}</presence>`,
      () => `<presence to='${villain.victim}'>${status}</presence>`,
      () => `<presence to='${villain.victim}' type='subscribe'>${status}</presence>`,
      () => `<presence type='unavailable'/>`,
    ];
    await Promise.all(wires.map((wire) => villain.press(wire, () => villain.random.pick(texts)())));
  },

  registration: async (villain) => {
    const attempt = async (): Promise<void> => {
      while (!villain.isOver) {
        const wire = villain.connect();
        villain.say(
          wire,
          '<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" to="localhost" version="1.0">',
        );
        villain.say(wire, villain.iq('get', `<query xmlns='${NS.register}'/>`));
        const fields = `<username>${villain.fresh()}</username><password>${villainPassword}-long</password>`;
        villain.say(wire, villain.iq('set', `<query xmlns='${NS.register}'>${fields}</query>`));
        await pause(villain.random.between(20, 200));
        wire.end();
      }
    };
    const own = `<query xmlns='${NS.register}'><username>${villain.name}</username><password>${villainPassword}</password></query>`;
    const wire = await villain.enter();
    await Promise.all([...Array.from({ length: 5 }, attempt), villain.press(wire, () => villain.iq('set', own))]);
  },

  commands: async (villain) => {
    const wire = await villain.enter();
    const list = await villain.answer(wire, `<query xmlns='${NS.discoItems}' node='${NS.commands}'/>`, 'localhost');
    const nodes = [...list.matchAll(/node="([^"]+)"/g)].map(([, node]) => node!).filter((node) => node !== NS.commands);
    nodes.push('ping', NS.mucUnique);
    await villain.press(wire, () =>
      villain.iq(
        'set',
        `<command xmlns='${NS.commands}' node='${villain.random.pick(nodes)}' action='execute'/>`,
        'localhost',
      ),
    );
  },

  'proxy connections': async (villain) => {
    const wire = await villain.enter();
    const text = await villain.answer(wire, `<query xmlns='${NS.bytestreams}'/>`, 'proxy.localhost');
    const port = Number(/port="(\d+)"/.exec(text)?.[1]);
    if (!Number.isInteger(port)) throw new Error('no proxy');
    const sockets = Array.from({ length: 150 }, (_, n) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress: `127.${100 + villain.n}.1.${1 + (n % 3)}` });
      socket.on('error', () => {});
      socket.write(
        n % 2 === 0 ? Buffer.from([5, 1]) : Buffer.from([5, 1, 0, 5, 1, 0, 3, 40, ...Buffer.alloc(40, 0x61), 0, 0]),
      );
      return socket;
    });
    await villain.linger();
    for (const socket of sockets) socket.destroy();
  },

  'half stanzas': async (villain) => {
    const header = `<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}' to='localhost' version='1.0'>`;
    const connections = Array.from({ length: 100 }, () => villain.connect());
    const members = await villain.enterOften(8);
    for (const wire of members)
      villain.say(wire, `<message to='${villain.accomplice}'><body>${longText.slice(0, 200_000)}`);
    for (let at = 0; !villain.isOver; at++) {
      for (const wire of connections) villain.say(wire, header[at] ?? ' ');
      for (const wire of members) villain.say(wire, 'h');
      await pause(20);
    }
  },

  'fragmented frames': async (villain) => {
    const open = async (): Promise<void> => {
      const address = `127.${100 + villain.n}.9.${villain.random.between(1, 250)}`;
      const socket = new WebSocket(`ws://127.0.0.1:${villain.orders.http}/xmpp-websocket`, 'xmpp', {
        localAddress: address,
      });
      socket.on('error', () => {});
      await new Promise((resolve) => socket.once('open', resolve).once('close', resolve));
      const text = `<open xmlns='${NS.framing}' to='localhost' version='1.0'/>`;
      const secret = Buffer.from(`\0${villain.name}\0${villainPassword}`).toString('base64');
      for (const frame of [text, `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${secret}</auth>`, text])
        for (const [n, character] of [...frame].entries()) socket.send(character, { fin: n === frame.length - 1 });
      while (!villain.isOver && socket.readyState === WebSocket.OPEN) {
        for (let n = 0; n < 200; n++) socket.send(n === 0 ? '<message><body>' : 'f', { fin: false });
        socket.ping('p'.repeat(100));
        socket.send(`</body></message>`);
        villain.tally.said++;
        while (socket.bufferedAmount > 100_000 && !villain.isOver) await pause(10);
        await pause(5);
      }
      socket.terminate();
    };
    await Promise.all(Array.from({ length: 5 }, open));
  },
};
