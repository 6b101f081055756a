/** XEP-0133 §4.13 to §4.22: how many there are, and who. */
import type { Account } from '../../server/accounts/index.js';
import type { Command, Host } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { form } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import { answering, asking, type Outcome } from './asking.js';

/** Accounts that are looked at for one answer. */
const mostLookedAt = 200_000;
const pageSize = 1000;
/** Addresses in a list, where no smaller number is asked for. */
const longestList = 1000;

interface Kind {
  /** In the names of nodes and fields, and for people. */
  readonly what: 'registered' | 'disabled' | 'online' | 'active' | 'idle';
  /** The field of the list, and whether its node ends in `-list`. */
  readonly listField: string;
  readonly listNode: string;
  /** The bare addresses, in order, after one of them. */
  all(after: string | undefined): AsyncIterable<string> | Iterable<string>;
}

export function figureCommands(host: Host): Command[] {
  /** Those of the accounts that count, a page at a time. */
  async function* accounts(after: string | undefined, counts: (account: Account) => boolean) {
    let next = after;
    for (let seen = 0; seen < mostLookedAt; seen += pageSize) {
      const page = await host.accounts.list(host.domain, { after: next, limit: pageSize });
      for (const account of page.accounts) if (counts(account)) yield account.bare;
      if (page.next === undefined) return;
      next = page.next;
    }
  }

  const present = (after: string | undefined, counts: (sessions: readonly Session[]) => boolean): string[] => {
    const found = new Set<string>();
    for (const { jid } of host.allSessions())
      if ((after === undefined || jid.bare > after) && !found.has(jid.bare) && counts(host.sessions(jid.bare)))
        found.add(jid.bare);
    return [...found].sort();
  };

  const kinds: readonly Kind[] = [
    {
      what: 'registered',
      listField: 'registereduserjids',
      listNode: 'get-registered-users-list',
      all: (after) => accounts(after, () => true),
    },
    {
      what: 'disabled',
      listField: 'disableduserjids',
      listNode: 'get-disabled-users-list',
      all: (after) => accounts(after, ({ disabled }) => disabled),
    },
    {
      what: 'online',
      listField: 'onlineuserjids',
      listNode: 'get-online-users-list',
      all: (after) => present(after, () => true),
    },
    {
      what: 'active',
      listField: 'activeuserjids',
      listNode: 'get-active-users',
      all: (after) => present(after, (sessions) => sessions.some(isActive)),
    },
    {
      what: 'idle',
      listField: 'idleuserjids',
      listNode: 'get-idle-users',
      all: (after) => present(after, (sessions) => !sessions.some(isActive)),
    },
  ];
  return kinds.flatMap((kind) => [numberOf(kind), listOf(kind)]);
}

function numberOf({ what, all }: Kind): Command {
  return answering(`get-${what}-users-num`, `Get the number of ${what} users`, async () => {
    let count = 0;
    for await (const _ of all(undefined)) count++;
    const field = {
      var: `${what}usersnum`,
      type: 'text-single',
      label: `The number of ${what} users`,
      value: count,
    } as const;
    return { payload: [form({ type: 'result', formType: NS.admin, fields: [field] })] };
  });
}

function listOf({ what, listField, listNode, all }: Kind): Command {
  return asking({
    node: listNode,
    name: `Get the list of ${what} users`,
    instructions: `The addresses of ${what} users.`,
    fields: {
      max_items: {
        type: 'list-single',
        label: 'Most addresses to list',
        options: ['25', '50', '75', '100', '150', '200', 'none'],
      },
      // A field of ours (§4.18): how one goes on where a list ended
      after: { type: 'text-single', label: 'Only addresses after this one' },
    },
    values: () => ({ max_items: '100' }),
    run: async ({ max_items = '100', after }): Promise<Outcome> => {
      const limit = max_items === 'none' ? longestList : Number(max_items);
      const found: string[] = [];
      let isCut = false;
      for await (const bare of all(after || undefined)) {
        isCut = found.length === limit;
        if (isCut) break;
        found.push(bare);
      }
      const field = { var: listField, type: 'jid-multi', label: `The list of ${what} users`, value: found } as const;
      const payload = [form({ type: 'result', formType: NS.admin, fields: [field] })];
      if (!isCut) return { payload };
      return { payload, note: { type: 'warn', text: `There are more after ${found.at(-1)}.` } };
    },
  });
}

/** At work, as far as its presence tells: RFC 6121 §4.7.2.1. */
function isActive({ presence }: Session): boolean {
  const show = presence?.text(NS.client, 'show');
  return presence !== undefined && show !== 'away' && show !== 'xa';
}
