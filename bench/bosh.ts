/**
 * Chat over BOSH (XEP-0124) beside the same over WebSocket and TCP: µs of CPU of the server a message. Pairs of clients
 * write to each other in both directions; each has one message under way at a time. Over BOSH a message is then two
 * requests: one that carries it, and one with which its recipient waits for the next.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { median } from './measure.js';
import { BoshWire, startServer, WebSocketWire, Wire } from './wire.js';

const port = 15_930;
const http = 15_931;
const pairs = 10;
const seconds = Number(process.argv[2] ?? 4);
const rounds = 3;
const users = Array.from({ length: 2 * pairs }, (_, n) => `user${n}`);

const kinds = {
  TCP: () => new Wire(port),
  WebSocket: () => new WebSocketWire(http),
  BOSH: () => new BoshWire(http),
} as const;

interface Chat {
  readonly wires: readonly Wire[];
  count: number;
  isOver: boolean;
}

async function begin(make: () => Wire): Promise<Chat> {
  const wires: Wire[] = [];
  for (const user of users) wires.push(await make().login(user, 'bench'));
  const chat: Chat = { wires, count: 0, isOver: false };
  const text = 'x'.repeat(100);
  for (const [at, wire] of wires.entries()) {
    const other = wires[at ^ 1]!;
    const say = () =>
      wire.send(
        `<message xmlns='jabber:client' to='${users[at ^ 1]}@localhost/bench' type='chat'><body>${text}</body></message>`,
      );
    other.listen((heard) => {
      const messages = heard.split('</message>').length - 1;
      chat.count += messages;
      if (messages > 0 && !chat.isOver) say();
    });
    say();
  }
  return chat;
}

const server = await startServer(port, users, { http });
try {
  const figures = new Map<string, number[]>();
  for (let round = 0; round < rounds; round++)
    for (const [name, make] of Object.entries(kinds)) {
      const chat = await begin(make);
      await pause(1000);
      await server.load();
      const { count } = chat;
      await pause(1000 * seconds);
      const { cpu } = await server.load();
      const micros = (1000 * cpu) / (chat.count - count);
      figures.set(name, [...(figures.get(name) ?? []), micros]);
      chat.isOver = true;
      for (const wire of chat.wires) wire.end();
      await pause(500);
    }
  for (const [name, values] of figures)
    console.log(
      `${name} chat, window 1: ${median(values).toFixed(1)} µs a message (${values.map((one) => one.toFixed(1)).join(', ')})`,
    );
} finally {
  await server.stop();
}
