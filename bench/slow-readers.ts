/**
 * What readers who do not read cost in memory: so many sessions ask for a hundred pages of their archives, half of them with
 * stream management, and read nothing. The server's resident memory before, at its highest, and after they are gone.
 *
 *     node dist/bench/slow-readers.js [sessions]
 */
import { setTimeout as pause } from 'node:timers/promises';
import { startServer, Wire } from './wire.js';

const sessions = Number(process.argv[2] ?? 900);
const port = 15_224;
const perAccount = 18;
const messages = 60;
const accounts = Array.from({ length: Math.ceil(sessions / perAccount) }, (_, n) => `reader${n}`);

const server = await startServer(port, [...accounts, 'writer']);
const wires: Wire[] = [];
try {
  const writer = await new Wire(port).login('writer', 'w');
  const said = (user: string, n: number) =>
    `<message to='${user}@localhost' type='chat'><body>${n} ${'z'.repeat(2000)}</body></message>`;
  for (const user of accounts)
    for (let n = 0; n < messages; n++) {
      writer.say(said(user, n));
      if (n % 20 === 19) await writer.ask("<iq type='get' id='s'><ping xmlns='urn:xmpp:ping'/></iq>", 'id="s"');
    }
  for (let n = 0; n < sessions; n++)
    wires.push(await new Wire(port).login(accounts[n % accounts.length]!, String(Math.floor(n / accounts.length))));
  await pause(3000);
  const before = server.megabytes();
  const page = (id: number) =>
    `<iq type='set' id='p${id}'><query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>50</max></set></query></iq>`;
  const pages = Array.from({ length: 100 }, (_, id) => page(id)).join('');
  for (const [n, wire] of wires.entries()) {
    wire.socket.pause();
    wire.say((n % 2 === 0 ? "<enable xmlns='urn:xmpp:sm:3' resume='true' max='5'/>" : '') + pages);
    if (n % 50 === 49) await pause(50);
  }
  let most = 0;
  for (let second = 0; second < 25; second++) {
    await pause(1000);
    most = Math.max(most, server.megabytes());
  }
  for (const wire of wires) wire.end();
  await pause(20_000);
  console.log(
    `${sessions} sessions: ${before} MB before, ${most} MB at most, ${server.megabytes()} MB after they are gone`,
  );
} finally {
  for (const wire of wires) wire.end();
  await server.stop();
}
