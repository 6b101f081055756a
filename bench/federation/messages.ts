/** CPU time of both servers for a message between them. */
import { domainOf, type Peer, type Way } from '../../test/interop/federation/peer.js';
import { within } from '../../test/interop/server.js';
import { median } from '../measure.js';
import { cpuOf, family } from './cpu.js';
import { type Line, login, messages } from './line.js';

/** Who sends and who receives, by the way of their streams. */
export interface Row {
  readonly title: string;
  readonly isLocal?: boolean;
  readonly ends: Partial<Record<Way, readonly [Peer, Peer]>>;
}

export const window = 8;
/** Size of a message as it is sent, in bytes. */
export const bytes = 250;
export const pairCounts = [1, 10] as const;
const most = Math.max(...pairCounts);
const columns: readonly Way[] = ['external', 'bidi', 'managed'];
/** Patience with messages that are on their way, in ms. */
const patience = 15_000;

/** Users by address; each is logged in once. */
class People {
  readonly #password: string;
  readonly #lines = new Map<string, Line>();
  /** Called with each message that arrives at an address. */
  readonly arrived = new Map<string, (stanza: string) => void>();
  /** How many exchanges there were. */
  exchanges = 0;
  failed: (error: Error) => void = () => {};

  constructor(password: string) {
    this.#password = password;
  }

  async line(peer: Peer, bare: string): Promise<Line> {
    const known = this.#lines.get(bare);
    if (known !== undefined) return known;
    const line = await login(peer.c2s, bare, this.#password);
    line.listens(
      messages(
        (stanza) => this.arrived.get(bare)?.(stanza),
        (stanza) => this.failed(new Error(`a message came back: ${stanza}`)),
      ),
    );
    this.#lines.set(bare, line);
    return line;
  }

  leave(): void {
    for (const line of this.#lines.values()) line.ends();
  }
}

interface Pair {
  readonly line: Line;
  /** The recipient's bare address. */
  readonly to: string;
  message(mark: string): string;
}

async function pairOf(people: People, [from, to]: readonly [Peer, Peer], way: Way, n: number): Promise<Pair> {
  const sender = `user${n}@${domainOf(from.name, way)}`;
  const recipient = `user${from === to ? most + n : n}@${domainOf(to.name, way)}`;
  await people.line(to, recipient);
  const text = (content: string): string =>
    `<message to='${recipient}/r' type='chat' id='${n}'><body>${content}</body></message>`;
  const room = bytes - text('').length;
  return { line: await people.line(from, sender), to: recipient, message: (mark) => text(mark.padEnd(room, 'x')) };
}

/** Sends for so many seconds. Resolves with the number of messages, once all of them have arrived. */
function exchange(people: People, pairs: readonly Pair[], seconds: number): Promise<number> {
  const until = performance.now() + seconds * 1000;
  // Messages of an exchange that failed may still arrive.
  const mark = `${++people.exchanges} `;
  let [sent, arrived] = [0, 0];
  const work = new Promise<number>((resolve, reject) => {
    people.failed = reject;
    for (const { line, to, message } of pairs) {
      const text = message(mark);
      const send = (): void => {
        sent++;
        line.says(text);
      };
      people.arrived.set(to, (stanza) => {
        if (!stanza.includes(`<body>${mark}`)) return;
        arrived++;
        if (performance.now() < until) send();
        else if (arrived === sent) resolve(arrived);
      });
      for (let n = 0; n < window; n++) send();
    }
  });
  return within(seconds * 1000 + patience, `messages to ${pairs[0]!.to} (${pairs.length} pairs)`, () => work).finally(
    () => people.arrived.clear(),
  );
}

interface Cell {
  readonly row: Row;
  readonly way: Way;
  readonly count: number;
  readonly pairs: readonly Pair[];
  readonly pids: readonly number[];
  readonly figures: number[];
}

export interface MessageOptions {
  readonly seconds: number;
  readonly rounds: number;
  readonly password: string;
}

/** Prints the table and how the targets are met. */
export async function measureMessages(rows: readonly Row[], options: MessageOptions): Promise<void> {
  const { seconds, rounds, password } = options;
  const people = new People(password);
  try {
    const cells: Cell[] = [];
    for (const row of rows)
      for (const way of columns) {
        const ends = row.ends[way];
        if (ends === undefined) continue;
        const pids = [...new Set(ends.flatMap((peer) => family(peer.pid)))];
        try {
          const pairs: Pair[] = [];
          for (let n = 0; n < most; n++) pairs.push(await pairOf(people, ends, way, n));
          // Opens the streams, and warms up: with one pair there are more turns of the event loop, which V8 has to optimize.
          for (const count of [...pairCounts].reverse()) await exchange(people, pairs.slice(0, count), seconds);
          for (const count of pairCounts)
            cells.push({ row, way, count, pairs: pairs.slice(0, count), pids, figures: [] });
        } catch (error) {
          complain(row, way, error);
        }
      }
    for (let round = 0; round < rounds; round++) {
      for (const { row, way, pairs, pids, figures } of cells) {
        try {
          const before = cpuOf(pids);
          const count = await exchange(people, pairs, seconds);
          figures.push((cpuOf(pids) - before) / count);
        } catch (error) {
          complain(row, way, error);
        }
      }
    }
    report(rows, cells);
  } finally {
    people.leave();
  }
}

function complain({ title }: Row, way: Way, error: unknown): void {
  console.error(`${title}, ${way}: ${String(error).slice(0, 500)}`);
}

function report(rows: readonly Row[], cells: readonly Cell[]): void {
  const of = (row: Row, way: Way, count: number): number | undefined => {
    const cell = cells.find((one) => one.row === row && one.way === way && one.count === count);
    return cell === undefined || cell.figures.length === 0 ? undefined : median(cell.figures);
  };
  const heads = pairCounts.flatMap((count) =>
    columns.map((way) => `${count === 1 ? '1 pair' : `${count} pairs`}, ${way}`),
  );
  console.log(`\nµs of CPU of both servers a message, window ${window}, ${bytes} bytes\n`);
  console.log(`| | ${heads.join(' | ')} |`);
  console.log(`| --- |${' ---: |'.repeat(heads.length)}`);
  for (const row of rows) {
    const figures = pairCounts.flatMap((count) => columns.map((way) => of(row, way, count)));
    console.log(`| ${[row.title, ...figures.map((one) => one?.toFixed(1) ?? '–')].join(' | ')} |`);
  }
  const named = (title: string): Row | undefined => rows.find((row) => row.title === title);
  /** The cheapest way of a row, or the most expensive one. */
  const choice = (title: string, count: number, choose: (...all: number[]) => number): number => {
    const row = named(title);
    const all = row === undefined ? [] : columns.flatMap((way) => of(row, way, count) ?? []);
    return all.length === 0 ? Number.NaN : choose(...all);
  };
  console.log('');
  for (const count of pairCounts) {
    const ours = choice('Waxwing to Waxwing', count, Math.max);
    const part = (title: string): string => (ours / choice(title, count, Math.min)).toFixed(2);
    console.log(
      `${count === 1 ? '1 pair' : `${count} pairs`}, Waxwing to Waxwing: ${part('Waxwing, local')} times a local message (at most 2); of Prosody to Prosody ` +
        `${part('Prosody to Prosody')}, of ejabberd to ejabberd ${part('ejabberd to ejabberd')} (at most 0.20)`,
    );
  }
}
