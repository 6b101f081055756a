/** Delays of local users while nothing else happens, and while many other servers are talked to. */
import { setTimeout as pause } from 'node:timers/promises';
import { domainOf, type Peer } from '../../test/interop/federation/peer.js';
import { medians, percentile } from '../measure.js';
import { domainsOf, type Remote } from './doubles.js';
import { type Line, login, messages } from './line.js';

const domainCount = 1000;
const quietPairs = 10;
/** Users who talk to the other servers. */
const talkers = 20;
/** How long each part takes, in ms. */
const length = 4000;

export interface DelayOptions {
  readonly rounds: number;
  /** DNS names the doubles for these domains. */
  publish(domains: readonly string[]): Promise<void>;
  readonly doubles: Remote;
  readonly password: string;
}

interface Talk {
  readonly line: Line;
  readonly to: string;
}

/** Prints the table. */
export async function measureDelays(peer: Peer, { rounds, publish, doubles, password }: DelayOptions): Promise<void> {
  const domain = domainOf(peer.name, 'external');
  const lines: Line[] = [];
  let delays: number[] = [];
  const failures: Error[] = [];
  try {
    const pairs: Talk[] = [];
    for (let n = 0; n < quietPairs; n++) {
      const [from, to] = [`user${2 * n}@${domain}`, `user${2 * n + 1}@${domain}`];
      const [line, other] = [await login(peer.c2s, from, password), await login(peer.c2s, to, password)];
      lines.push(line, other);
      line.listens(() => {});
      const came = (stanza: string): void => {
        delays.push(performance.now() - Number(/<body>([\d.]+)/.exec(stanza)?.[1]));
      };
      other.listens(messages(came, (stanza) => failures.push(new Error(`a message came back: ${stanza}`))));
      pairs.push({ line, to });
    }
    const bares = Array.from({ length: talkers }, (_, n) => `user${2 * quietPairs + n}@${domain}`);
    await doubles.logIn(peer.c2s, bares, password);
    await doubles.yields();
    /** p95 of the delays in ms while the work is going on. Each pair sends a message every 50 ms. */
    const during = async (work: Promise<unknown>): Promise<number> => {
      delays = [];
      let isGoingOn = true;
      const over = (): void => {
        isGoingOn = false;
      };
      work.then(over, over);
      while (isGoingOn)
        for (const { line, to } of pairs) {
          line.says(`<message to='${to}/r' type='chat'><body>${performance.now()}</body></message>`);
          await pause(50 / quietPairs);
        }
      await work;
      await pause(200);
      if (failures.length > 0) throw failures[0];
      return percentile(
        delays.sort((a, b) => a - b),
        0.95,
      );
    };
    await during(pause(length));
    const found: number[][] = [];
    const returned: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const domains = domainsOf('both', `${peer.name}-${round}`, domainCount);
      await publish(domains);
      const calm = await during(pause(length));
      const writing = doubles.write(domains, domainCount);
      const opening = await during(writing);
      const lost = await writing;
      if (lost.length > 0) console.error(`${lost.length} messages came back, for example ${lost[0]}`);
      returned.push(lost.length);
      const talking = await during(doubles.talk(domains, domainCount, length));
      found.push([calm, opening, talking, opening / calm, talking / calm]);
      await doubles.hangUp();
    }
    const sum = returned.reduce((all, one) => all + one, 0);
    const figures = medians(found).map((figure) => figure.toFixed(2));
    console.log(`\nDelays of ${quietPairs} pairs of local users, p95 in ms, and ${domainCount} other servers\n`);
    console.log(
      '| calm | while streams to all are opened at once | while each is sent a message a second | × calm | × calm |',
    );
    console.log('| ---: | ---: | ---: | ---: | ---: |');
    console.log(`| ${figures.join(' | ')} |`);
    console.log(`\nTarget: at most 1.3 times calm. Of ${rounds * domainCount} first messages, ${sum} came back.`);
  } finally {
    for (const line of lines) line.ends();
  }
}
