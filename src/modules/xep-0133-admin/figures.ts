/** XEP-0133 §4.13 to §4.22: counts and lists of accounts. */
import { z } from 'zod';
import type { Account } from '../../server/accounts/index.js';
import { answers, type Command, defineQuestion, type Hook, type Host } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { form } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import { answering, asking, type Outcome } from './asking.js';

/** Maximum accounts read for one answer. */
const mostLookedAt = 200_000;
const pageSize = 1000;
/** Default and maximum addresses in a list. */
const longestList = 1000;

interface Kind {
  /** As used in the names of nodes and fields, and in labels. */
  readonly what: 'registered' | 'disabled' | 'online' | 'active' | 'idle';
  /** The field of the list, and its node. */
  readonly listField: string;
  readonly listNode: string;
  count(): Promise<number>;
  /** Up to `most` bare addresses, in order, after one of them. */
  list(after: string | undefined, most: number): Promise<string[]>;
}

const states = ['online', 'active', 'idle'] as const;
type State = (typeof states)[number];

/** Asked at every node: the number of accounts with sessions in a state. */
const counted = defineQuestion({
  name: 'admin.count',
  given: z.object({ state: z.enum(states) }),
  answer: z.number(),
});

/** Asked at every node: the first of these accounts, in order, after one of them. */
const listed = defineQuestion({
  name: 'admin.list',
  given: z.object({ state: z.enum(states), after: z.string().optional(), most: z.number() }),
  answer: z.array(z.string()),
});

export function figureCommands(host: Host): { readonly commands: Command[]; readonly hooks: Hook[] } {
  /** Iterates over the matching accounts, page by page. */
  async function* accounts(after: string | undefined, counts: (account: Account) => boolean) {
    let next = after;
    for (let seen = 0; seen < mostLookedAt; seen += pageSize) {
      const page = await host.accounts.list(host.domain, { after: next, limit: pageSize });
      for (const account of page.accounts) if (counts(account)) yield account.bare;
      if (page.next === undefined) return;
      next = page.next;
    }
  }

  const stored = (counts: (account: Account) => boolean): Pick<Kind, 'count' | 'list'> => ({
    count: async () => {
      let count = 0;
      for await (const _ of accounts(undefined, counts)) count++;
      return count;
    },
    list: async (after, most) => {
      const found: string[] = [];
      for await (const bare of accounts(after, counts)) if (found.push(bare) === most) break;
      return found;
    },
  });

  /** Bare addresses of accounts whose home is this node. */
  const presentHere = (state: State): Set<string> => {
    const found = new Set<string>();
    for (const { jid: owner } of host.allSessions())
      if (!found.has(owner.bare) && isIn(state, host.sessions(owner.bare))) found.add(owner.bare);
    return found;
  };

  const present = (state: State): Pick<Kind, 'count' | 'list'> => ({
    count: async () => (await host.askNodes(counted, { state })).reduce((sum, one) => sum + one, 0),
    list: async (after, most) => (await host.askNodes(listed, { state, after, most })).flat().sort().slice(0, most),
  });

  const kinds: readonly Kind[] = [
    {
      what: 'registered',
      listField: 'registereduserjids',
      listNode: 'get-registered-users-list',
      ...stored(() => true),
    },
    {
      what: 'disabled',
      listField: 'disableduserjids',
      listNode: 'get-disabled-users-list',
      ...stored(({ disabled }) => disabled),
    },
    { what: 'online', listField: 'onlineuserjids', listNode: 'get-online-users-list', ...present('online') },
    { what: 'active', listField: 'activeuserjids', listNode: 'get-active-users', ...present('active') },
    { what: 'idle', listField: 'idleuserjids', listNode: 'get-idle-users', ...present('idle') },
  ];
  const hooks = [
    answers(counted, ({ state }) => presentHere(state).size),
    answers(listed, ({ state, after = '', most }) =>
      [...presentHere(state)]
        .filter((bare) => bare > after)
        .sort()
        .slice(0, most),
    ),
  ];
  return { commands: kinds.flatMap((kind) => [numberOf(kind), listOf(kind)]), hooks };
}

function isIn(state: State, sessions: readonly Session[]): boolean {
  return state === 'online' || sessions.some(isActive) === (state === 'active');
}

function numberOf({ what, count }: Kind): Command {
  return answering(`get-${what}-users-num`, `Get the number of ${what} users`, async () => {
    const field = {
      var: `${what}usersnum`,
      type: 'text-single',
      label: `The number of ${what} users`,
      value: await count(),
    } as const;
    return { payload: [form({ type: 'result', formType: NS.admin, fields: [field] })] };
  });
}

function listOf({ what, listField, listNode, list }: Kind): Command {
  return asking({
    node: listNode,
    name: `Get the list of ${what} users`,
    instructions: `The addresses of ${what} users.`,
    fields: {
      max_items: {
        type: 'list-single',
        label: 'Maximum number of addresses',
        options: ['25', '50', '75', '100', '150', '200', 'none'],
      },
      // Our own field (§4.18), to continue a list
      after: { type: 'text-single', label: 'Only addresses after this one' },
    },
    values: () => ({ max_items: '100' }),
    run: async ({ max_items = '100', after }): Promise<Outcome> => {
      const limit = max_items === 'none' ? longestList : Number(max_items);
      const more = await list(after || undefined, limit + 1);
      const found = more.slice(0, limit);
      const isCut = more.length > limit;
      const field = { var: listField, type: 'jid-multi', label: `The list of ${what} users`, value: found } as const;
      const payload = [form({ type: 'result', formType: NS.admin, fields: [field] })];
      if (!isCut) return { payload };
      return { payload, note: { type: 'warn', text: `The list continues after ${found.at(-1)}.` } };
    },
  });
}

/** Active by its presence: RFC 6121 §4.7.2.1. */
function isActive({ presence }: Session): boolean {
  const show = presence?.text(NS.client, 'show');
  return presence !== undefined && show !== 'away' && show !== 'xa';
}
