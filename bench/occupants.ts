/**
 * A room of 5,000 occupants entered by a client with stream management that acknowledges half a second late: time and
 * cost of entering. Also checks that the order of XEP-0045 §7.1 holds, that nothing is missing, and that the session
 * survives. The occupants are sessions without connections, so that the figures cover only the room and the client.
 *
 *     node --expose-gc dist/bench/occupants.js [occupants]
 */
import assert from 'node:assert/strict';
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { Jid } from '../src/server/address/jid.js';
import { serverOrigin } from '../src/server/routing/router.js';
import { Session } from '../src/server/routing/session.js';
import { NS } from '../src/server/stanza/ns.js';
import { Stanza } from '../src/server/stanza/stanza.js';
import { Stage } from '../test/compliance/dialogue.js';

const occupants = Number(process.argv[2] ?? 5000);
const lateMs = 500;
const room = 'agora@conference.localhost';

const stage = await Stage.open({
  config: {
    modules: {
      muc: {
        presences_per_minute: 'unlimited',
        creations_per_hour: 'unlimited',
        lock_new_rooms: false,
        occupants: occupants + 1,
      },
    },
  },
});
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const heap = () => {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 1_048_576;
};
const joins = (nick: string) => `<presence to='${room}/${nick}'><x xmlns='${NS.muc}'/></presence>`;

/** An occupant without a connection. */
function addOccupant(name: string): (xml: string) => Promise<void> {
  const session = new Session(Jid.parse(`${name}@localhost/x`), { send: () => {} });
  stage.server.sessions.add(session);
  const origin = { ...serverOrigin, session };
  return async (xml) => {
    const stanza = Stanza.parse(xml.replace(/^<\w+/, `$& xmlns='${NS.client}'`)).with({ from: session.jid });
    await stage.server.host('localhost')!.fromSession(stanza, session, origin);
  };
}

try {
  const empty = heap();
  let before = cpu();
  for (let at = 0; at < occupants; at++) {
    await addOccupant(`user${at}`)(joins(`nick${at}`));
    // Let deferred output of the session run.
    await turn();
  }
  const filled = cpu() - before;
  const full = heap();
  const juliet = await stage.actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
  await juliet.receives(`<enabled xmlns='${NS.sm}'/>`);
  before = cpu();
  const began = performance.now();
  await juliet.sends(joins('juliet'));
  let count = 0;
  let others = 0;
  let most = 0;
  let acknowledging = false;
  const acknowledgesLate = async () => {
    await pause(lateMs);
    acknowledging = false;
    most = Math.max(most, process.memoryUsage().heapUsed / 1_048_576);
    await juliet.sends(`<a xmlns='${NS.sm}' h='${count}'/>`);
  };
  let isEntered = false;
  for (;;) {
    const element = await juliet.receivesAny();
    if (element.getNS() !== NS.client) {
      assert.equal(element.name, 'r', String(element));
      // Everything until then is acknowledged together.
      if (!acknowledging) void acknowledgesLate();
      acknowledging = true;
      continue;
    }
    count++;
    assert.notEqual(element.attrs.type, 'error', String(element));
    if (element.name === 'message') break;
    assert.ok(!isEntered, 'an occupant after the own presence');
    isEntered = String(element).includes('code="110"');
    if (!isEntered) others++;
  }
  assert.equal(others, occupants);
  const cost = cpu() - before;
  console.log(
    `a room of ${occupants} filled: ${Math.round(filled)} ms of CPU, heap ${Math.round(empty)} to ${Math.round(full)} MB, ` +
      `${(((full - empty) * 1024) / occupants).toFixed(1)} KB an occupant`,
  );
  console.log(
    `entered by a client that acknowledges ${lateMs} ms late: ${((performance.now() - began) / 1000).toFixed(1)} s, ` +
      `${Math.round(cost)} ms of CPU with the client's, ${((cost * 1000) / occupants).toFixed(0)} µs an occupant, ` +
      `heap at most ${Math.round(most)} MB`,
  );
} finally {
  for (const session of [...stage.server.sessions.all()])
    if (session.connection === undefined) stage.server.sessions.remove(session);
  await stage.close();
}
