/**
 * Cost of rooms: entering a room with the given number of occupants, and sending to it, on memory storage and without
 * sockets. A delivery includes serializing the stanza.
 *
 *     node dist/bench/muc.js [occupants]
 */
import presence from '../src/modules/rfc-6121-presence/index.js';
import roster from '../src/modules/rfc-6121-roster/index.js';
import disco from '../src/modules/xep-0030-disco.js';
import muc from '../src/modules/xep-0045-muc/index.js';
import blocking from '../src/modules/xep-0191-blocking.js';
import mam from '../src/modules/xep-0313-mam/index.js';
import { Jid } from '../src/server/address/jid.js';
import { serverOrigin } from '../src/server/routing/router.js';
import { Session } from '../src/server/routing/session.js';
import { NS } from '../src/server/stanza/ns.js';
import { Stanza } from '../src/server/stanza/stanza.js';
import { startHost } from '../test/unit/module-host.js';

const occupants = Number(process.argv[2] ?? 500);
const rounds = 200;
const room = 'coven@conference.example.org';

const { host, directory, stop } = await startHost([disco, roster, blocking, presence, mam, muc], {
  config: { modules: { muc: { lock_new_rooms: false, presences_per_minute: 'unlimited' } } },
});

let delivered = 0;
let written = 0;
const client = (name: string) => {
  const session = new Session(
    Jid.parse(`${name}@example.org/desktop`),
    {
      send: (stanza) => {
        delivered++;
        written += stanza.toXml().length;
      },
    },
    'SCRAM-SHA-256',
  );
  directory.add(session);
  const origin = { ...serverOrigin, session };
  return async (xml: string) => {
    await host.fromSession(Stanza.parse(xml).with({ from: session.jid }), session, origin);
  };
};
const joins = (nick: string) =>
  `<presence xmlns='${NS.client}' to='${room}/${nick}'><x xmlns='${NS.muc}'><history maxstanzas='0'/></x><c xmlns='${NS.caps}' hash='sha-1' node='https://client.example' ver='q07IKJEyjvHSyhy//CH0CxmKi8w='/></presence>`;
const leaves = (nick: string) => `<presence xmlns='${NS.client}' to='${room}/${nick}' type='unavailable'/>`;

/** Prints CPU time and number of stanzas of a round: the minimum of several identical runs. */
async function measure(what: string, round: (n: number) => Promise<void>): Promise<void> {
  for (let n = 0; n < 20; n++) await round(n);
  let least = Number.POSITIVE_INFINITY;
  let stanzas = 0;
  let characters = 0;
  for (let run = 0; run < 5; run++) {
    delivered = 0;
    written = 0;
    const before = process.cpuUsage();
    for (let n = 0; n < rounds / 5; n++) await round(n);
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / (rounds / 5));
    stanzas = delivered / (rounds / 5);
    characters = written / (rounds / 5);
  }
  console.log(
    `${what.padEnd(34)} ${(least / 1000).toFixed(2)} ms, ${stanzas} stanzas of ${Math.round(characters / stanzas)} characters, ${(least / stanzas).toFixed(2)} µs each`,
  );
}

const started = process.cpuUsage();
const all = Array.from({ length: occupants }, (_, n) => client(`user${n}`));
for (const [n, says] of all.entries()) await says(joins(`nick${n}`));
const filled = process.cpuUsage(started);
console.log(
  `a room of ${occupants} filled: ${((filled.user + filled.system) / 1000).toFixed(0)} ms of CPU, ${delivered} stanzas`,
);

const guest = client('guest');
await measure('entering and leaving', async () => {
  await guest(joins('guest'));
  await guest(leaves('guest'));
});
const speaker = all[1]!;
await measure('a message to all', (n) =>
  speaker(
    `<message xmlns='${NS.client}' to='${room}' type='groupchat' id='m${n}'><body>Thrice the brinded cat hath mew'd.</body></message>`,
  ),
);
await measure('a presence to all', (n) =>
  speaker(`<presence xmlns='${NS.client}' to='${room}/nick1'><status>busy ${n}</status></presence>`),
);
stop();
