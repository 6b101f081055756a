/**
 * What a node that wants to join compares with each member, before it changes anything: whether both reach each other,
 * whether their clocks agree, and whether they are configured alike. A request and a reply of one line of JSON each.
 */
import { z } from 'zod';
import { monotonic, wall } from '../clock.js';
import type { Member, View } from './view.js';
import type { Network, Wire, WireEvents } from './wire.js';

const { setTimeout } = globalThis;

/** Ms until a member must have replied; within them it dials back. */
const longestReply = 4000;
const longestBack = 2000;
/** Ms that two clocks may differ. */
const mostSkew = 1000;
/** Maximum length of a line. */
const mostChars = 262_144;
/** Attempts to reach a member, and ms between them: it may be about to start, or about to be expelled. */
const attempts = 6;
const pause = 500;

const facts = z.object({
  protocol: z.number(),
  node: z.string(),
  /** Empty if the node has not seen a view. */
  cluster: z.string(),
  /** Version of the program. */
  version: z.string(),
  /** What has to be alike at all nodes, by the name of its setting. */
  settings: z.record(z.string(), z.string()),
});
export type Facts = Readonly<z.output<typeof facts>>;

const requestSchema = z.object({
  facts,
  /** Where the asker listens. It is dialled back, unless this is such a call. */
  address: z.string().optional(),
});

const replySchema = z.object({
  facts,
  /** Ms since 1970. */
  time: z.number(),
  /** Whether the asker was reached at its address. */
  isReached: z.boolean(),
});
type Reply = z.output<typeof replySchema> & { /** Ms. */ readonly roundTrip: number };

/** The node must not join. The message says what differs. */
export class JoinError extends Error {
  override readonly name = 'JoinError';
}

/** Answers the requests of nodes that want to join, until the returned function is called. */
export function answerProbes(network: Network, address: string, own: () => Facts): () => void {
  return network.listen(
    address,
    (wire) =>
      lines(wire, (text) => {
        const request = requestSchema.safeParse(text);
        if (!request.success) return wire.close();
        const reply = (isReached: boolean): void => {
          const answer: z.output<typeof replySchema> = { facts: own(), time: wall(), isReached };
          wire.write(Buffer.from(`${JSON.stringify(answer)}\n`));
        };
        const { address: back, facts: theirs } = request.data;
        if (back === undefined) return reply(true);
        probe(network, back, { facts: own() }, longestBack).then(
          (found) => reply(typeof found === 'object' && found.facts.node === theirs.node),
          () => reply(false),
        );
      }),
    'probe',
  );
}

export interface JoiningParts {
  readonly network: Network;
  readonly address: string;
  readonly facts: Facts;
  readonly view: View;
  warn(message: string): void;
}

/**
 * Asks a member. Resolves if the node may join. Rejects with JoinError. A member whose process is gone does not prevent
 * it: it will be expelled.
 */
export async function checkMember(member: Member, parts: JoiningParts): Promise<void> {
  const { network, address, facts: own, view, warn } = parts;
  const isSelf = member.id === own.node;
  const request = { facts: own, ...(!isSelf && { address }) };
  const name = `node ${member.id} at ${member.address}`;
  for (let attempt = 1; ; attempt++) {
    const reply = isSelf && member.address === address ? 'gone' : await probe(network, member.address, request);
    if (isSelf) {
      if (typeof reply === 'object' && reply.facts.node === own.node)
        throw new JoinError(`${name} is running: two nodes cannot have one name. Choose another cluster.node`);
      return;
    }
    if (reply === 'gone') return warn(`${name} is not running: it will be expelled`);
    const problem = typeof reply === 'object' ? differenceFrom(reply, name, member, own, view) : undefined;
    if (problem !== undefined) throw new JoinError(problem);
    if (typeof reply === 'object' && reply.isReached) return;
    if (attempt === attempts)
      throw new JoinError(
        typeof reply === 'object'
          ? `${name} cannot reach this node at ${address}: check cluster.advertise and firewalls`
          : `${name} is a member of the cluster and cannot be reached. Start it, or remove it with waxwing cluster remove ${member.id}`,
      );
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** What is not alike, if anything. */
function differenceFrom(
  { facts: theirs, time, roundTrip }: Reply,
  name: string,
  member: Member,
  own: Facts,
  { cluster }: View,
): string | undefined {
  if (theirs.protocol !== own.protocol)
    return `${name} uses protocol ${theirs.protocol} (version ${theirs.version}), this node protocol ${own.protocol} (version ${own.version})`;
  if (theirs.node !== member.id) return `${name} is now node ${theirs.node}: two nodes have one address`;
  if (theirs.cluster !== cluster) return `${name} is of another cluster: it uses another database`;
  const names = new Set([...Object.keys(own.settings), ...Object.keys(theirs.settings)]);
  for (const setting of names) {
    const [a = '', b = ''] = [own.settings[setting], theirs.settings[setting]];
    if (a !== b) return `${setting} is "${a}" at this node and "${b}" at ${name}: all nodes need the same`;
  }
  const ahead = time + roundTrip / 2 - wall();
  if (Math.abs(ahead) - roundTrip / 2 > mostSkew)
    return `the clock of ${name} is ${Math.abs(ahead / 1000).toFixed(1)} s ${ahead > 0 ? 'ahead of' : 'behind'} this node's: synchronize them`;
  return undefined;
}

/** Asks what listens at an address. Never rejects. */
function probe(
  network: Network,
  address: string,
  request: z.input<typeof requestSchema>,
  timeoutMs = longestReply,
): Promise<Reply | 'gone' | 'silent'> {
  return new Promise((resolve) => {
    const started = monotonic();
    const end = (outcome: Reply | 'gone' | 'silent'): void => {
      clearTimeout(timer);
      resolve(outcome);
      wire.close();
    };
    const timer = setTimeout(() => end('silent'), timeoutMs);
    const wire: Wire = network.dial(
      address,
      lines(
        { close: () => end('silent') },
        (text) => {
          const reply = replySchema.safeParse(text);
          end(reply.success ? { ...reply.data, roundTrip: monotonic() - started } : 'silent');
        },
        (isRefused) => end(isRefused ? 'gone' : 'silent'),
      ),
      'probe',
    );
    wire.write(Buffer.from(`${JSON.stringify(request)}\n`));
  });
}

/** Calls `take` with the JSON of the first line, or undefined if it is none. */
function lines(
  wire: Pick<Wire, 'close'>,
  take: (json: unknown) => void,
  ended: (isRefused: boolean) => void = () => {},
): WireEvents {
  let text = '';
  let isTaken = false;
  return {
    bytes: (bytes) => {
      if (isTaken) return;
      text += bytes.toString('latin1');
      const end = text.indexOf('\n');
      if (end < 0) {
        if (text.length > mostChars) wire.close();
        return;
      }
      isTaken = true;
      take(parsed(Buffer.from(text.slice(0, end), 'latin1').toString()));
    },
    ended,
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
