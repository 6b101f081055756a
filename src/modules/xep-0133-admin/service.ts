/**
 * XEP-0133 §4.29 to §4.31: the list of administrators, and stopping or restarting the server: all nodes, if it is a
 * cluster. `waxwing stop` stops one node.
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { answers, type Command, defineQuestion, event, type Hook, type Host } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { asking, type Outcome } from './asking.js';

const delays = ['30', '60', '90', '120', '180', '240', '300'] as const;
const longestDelay = 86_400;
const pageSize = 1000;
/** Maximum administrators in one form. */
const mostAdmins = 1000;

const how = z.enum(['stop', 'restart']);

/** Asked of every node: whether it can end in this way. */
const canEnd = defineQuestion({ name: 'admin.can_end', given: z.object({ how }), answer: z.boolean() });

/** Sent to every node: it ends after this delay, which replaces an earlier one. */
const ends = defineQuestion({
  name: 'admin.ends',
  given: z.object({ how, seconds: z.number().min(0).max(longestDelay) }),
  answer: z.null(),
});

export interface ServiceParts {
  /** Sends a message to all online users. */
  announce(text: string): Promise<void>;
  /** Reports that the delayed stop or restart failed. */
  failed(error: unknown): void;
}

export function serviceCommands(
  host: Host,
  { announce, failed }: ServiceParts,
): { commands: Command[]; hooks: Hook[] } {
  const configured = () => host.config.hosts[host.domain]?.admins ?? [];

  /** Accounts with the administrator role. */
  const promoted = async (): Promise<string[]> => {
    const found: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = await host.accounts.list(host.domain, { after, limit: pageSize });
      for (const { bare, role } of page.accounts) if (role === 'admin') found.push(bare);
      if (page.next === undefined) return found;
      after = page.next;
    }
  };

  const editAdmins = asking({
    node: 'edit-admin',
    name: 'Edit the list of administrators',
    instructions: 'The administrators of this server. Those named in the configuration cannot be removed here.',
    fields: { adminjids: { type: 'jid-multi', label: 'The administrators' } },
    values: async () => {
      const all = new Set([...configured(), ...(await promoted())]);
      return { adminjids: [...all].slice(0, mostAdmins).map((bare) => Jid.parse(bare)) };
    },
    run: async ({ adminjids = [] }, { from }): Promise<Outcome | undefined> => {
      if (adminjids.length > mostAdmins)
        throw new StanzaError('not-acceptable', `At most ${mostAdmins} administrators.`);
      const wanted = new Set(adminjids.map(({ bare }) => bare));
      const named = configured();
      if (!wanted.has(from.bare) && !named.includes(from.bare))
        throw new StanzaError(
          'not-allowed',
          'You cannot remove your own administrator role. Ask another administrator.',
        );
      const before = await promoted();
      const added = [...wanted].filter((bare) => !before.includes(bare) && !named.includes(bare));
      for (const bare of added) {
        const { domain, local } = Jid.parse(bare);
        if (local === undefined || domain !== host.domain || !(await host.accounts.exists(bare)))
          throw new StanzaError('not-acceptable', `${bare} is not an account of this host.`);
      }
      for (const bare of added) await host.accounts.setRole(bare, 'admin');
      for (const bare of before) if (!wanted.has(bare)) await host.accounts.setRole(bare, 'user');
      const staying = named.filter((bare) => !wanted.has(bare));
      if (staying.length === 0) return undefined;
      return {
        note: { type: 'warn', text: `Not removed, since the configuration names them: ${staying.join(', ')}.` },
      };
    },
  });

  let timer: NodeJS.Timeout | undefined;

  /** Stopping affects all hosts, so the requester must administer all of them. */
  const demandAll = (from: Jid): void => {
    const others = Object.entries(host.config.hosts).filter(([domain]) => domain !== host.domain);
    if (others.some(([, { admins }]) => !admins.includes(from.bare)))
      throw new StanzaError('forbidden', 'You must be an administrator of all hosts of this server.', {
        type: 'cancel',
      });
  };

  const ending = (how: 'stop' | 'restart', node: string, name: string, verb: string) =>
    asking({
      node,
      name,
      instructions: 'All online users are notified. A second request replaces the first.',
      fields: {
        delay: {
          type: 'list-single',
          label: `Seconds until the server is ${verb}`,
          options: delays,
          open: true,
          required: true,
        },
        announcement: { type: 'text-multi', label: 'Announcement' },
      },
      values: () => ({ delay: '30' }),
      run: async ({ delay, announcement = [] }, { from }): Promise<Outcome> => {
        demandAll(from);
        const seconds = /^\d{1,6}$/.test(delay) ? Number(delay) : Number.NaN;
        if (!(seconds <= longestDelay))
          throw new StanzaError('not-acceptable', `The delay must be a number of seconds, at most ${longestDelay}.`);
        if ((await host.askNodes(canEnd, { how })).includes(false))
          throw new StanzaError(
            'feature-not-implemented',
            'The server cannot restart itself: no service manager would start it again.',
          );
        const own = announcement.join('\n').trim();
        await announce(own === '' ? `The server will be ${verb} in ${seconds} seconds.` : own);
        await host.askNodes(ends, { how, seconds });
        return { note: { type: 'info', text: `The server will be ${verb} in ${seconds} seconds.` } };
      },
    });

  return {
    commands: [
      editAdmins,
      ending('restart', 'restart', 'Restart the server', 'restarted'),
      ending('stop', 'shutdown', 'Shut down the server', 'shut down'),
    ],
    hooks: [
      answers(canEnd, ({ how }) => how === 'stop' || host.canRestart),
      answers(ends, ({ how, seconds }) => {
        clearTimeout(timer);
        // Gives the answer time to be sent.
        timer = setTimeout(() => void host.halt(how).catch(failed), Math.max(100, seconds * 1000)).unref();
        return null;
      }),
      event('stopping', () => clearTimeout(timer)),
    ],
  };
}
