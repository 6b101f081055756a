/** CPU time of setting up a stream, and memory of a link to another server, towards domains that one process serves. */
import { domainOf, type Peer } from '../../test/interop/federation/peer.js';
import { cpuOf, family, residentOf } from './cpu.js';
import { domainsOf, type Kind, type Remote } from './doubles.js';

export type Program = 'Waxwing' | 'Prosody' | 'ejabberd';

/** Domains before measuring, and while measuring. */
const warmUp = 100;
const count = 500;

export interface LinkOptions {
  start(program: Program): Promise<Peer>;
  stop(peer: Peer): Promise<void>;
  /** DNS names the doubles for these domains. */
  publish(domains: readonly string[]): Promise<void>;
  readonly doubles: Remote;
  readonly password: string;
}

interface Link {
  /** ms of CPU for a stream that the server opens, with DNS, TLS and EXTERNAL. */
  readonly outgoing: number;
  /** The same for one that it accepts. NaN if there is none. */
  readonly incoming: number;
  /** Growth of resident memory for a domain, in KB. */
  readonly memory: number;
}

async function measure(
  program: Program,
  kind: Kind,
  { start, stop, publish, doubles, password }: LinkOptions,
): Promise<Link> {
  const peer = await start(program);
  try {
    const way = kind === 'both' ? 'bidi' : 'external';
    const domains = domainsOf(kind, peer.name, warmUp + count);
    await publish(domains);
    await doubles.logIn(peer.c2s, [`user0@${domainOf(peer.name, way)}`], password);
    const [early, later] = [domains.slice(0, warmUp), domains.slice(warmUp)];
    const pids = family(peer.pid);
    const cost = async (work: () => Promise<unknown>): Promise<number> => {
      const before = cpuOf(pids);
      await work();
      return (cpuOf(pids) - before) / count / 1000;
    };
    const write = async (to: readonly string[]): Promise<void> => {
      const returned = await doubles.write(to);
      if (returned.length > 0) throw new Error(`${returned.length} messages came back: ${returned[0]}`);
    };
    await write(early);
    if (kind === 'one') await doubles.visit(peer.s2s, early);
    await peer.collect?.();
    const before = residentOf(pids);
    const outgoing = await cost(() => write(later));
    const incoming = kind === 'one' ? await cost(() => doubles.visit(peer.s2s, later)) : Number.NaN;
    await peer.collect?.();
    return { outgoing, incoming, memory: (residentOf(pids) - before) / count / 1024 };
  } finally {
    await doubles.hangUp();
    await stop(peer);
  }
}

/** Prints the table. */
export async function measureLinks(programs: readonly Program[], options: LinkOptions): Promise<void> {
  console.log(`\nLinks with ${count} other servers\n`);
  console.log('| | ms of CPU a stream opened | accepted | KB a link with XEP-0288 | without |');
  console.log('| --- | ---: | ---: | ---: | ---: |');
  for (const program of programs) {
    const found: Partial<Record<Kind, Link>> = {};
    for (const kind of ['both', 'one'] as const) {
      if (kind === 'both' && program === 'ejabberd') continue;
      try {
        found[kind] = await measure(program, kind, options);
      } catch (error) {
        console.error(`${program}, links: ${String(error).slice(0, 500)}`);
      }
    }
    const { both, one } = found;
    const shown = (figure: number | undefined, digits: number): string =>
      figure === undefined || Number.isNaN(figure) ? '–' : figure.toFixed(digits);
    const figures = [shown(one?.outgoing, 2), shown(one?.incoming, 2), shown(both?.memory, 0), shown(one?.memory, 0)];
    console.log(`| ${[program, ...figures].join(' | ')} |`);
  }
  console.log('\nTargets for Waxwing: at most 60 KB a link with XEP-0288, 110 KB without.');
}
