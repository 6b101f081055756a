/**
 * XEP-0050: Ad-Hoc Commands: the engine for the commands that modules declare. A session belongs to the full JID that
 * opened it, and lasts until it is completed, canceled or expired.
 */

import { z } from 'zod';
import { Jid } from '../server/address/jid.js';
import { monotonic } from '../server/clock.js';
import { count, seconds } from '../server/config/units.js';
import { Holdings } from '../server/limits/holdings.js';
import {
  type Command,
  type CommandResult,
  type CommandStep,
  type DiscoItem,
  type DiscoQuery,
  defineModule,
  disco,
  event,
  every,
  type Hook,
  type IqHandler,
  iq,
  type Maybe,
  type Memory,
  moves,
  type Target,
} from '../server/module/index.js';
import { StanzaError, type StanzaErrorCondition } from '../server/stanza/errors.js';
import { randomId } from '../server/stanza/ids.js';
import { NS } from '../server/stanza/ns.js';
import { type Element, el } from '../server/xml/element.js';

type Action = 'prev' | 'next' | 'complete';

interface CommandSession {
  readonly command: Command;
  /** Full JIDs of the requester and of the responder. */
  readonly opener: string;
  readonly responder: string;
  /** Time of the last step, in ms of the monotonic clock. */
  touched: number;
  state: unknown;
  /** Allowed next actions. Undefined if the session has ended: it is retained to answer session-expired. */
  actions: readonly Action[] | undefined;
}

const minute = 60_000;

/** A session as it moves to another node, with the node and the module of its command. */
const movedSession = z.object({
  id: z.string(),
  holder: z.string(),
  command: z.object({ node: z.string(), target: z.string() }),
  opener: z.string(),
  responder: z.string(),
  /** Ms since the last step. */
  age: z.number(),
  state: z.unknown().optional(),
  actions: z.array(z.enum(['prev', 'next', 'complete'])).optional(),
});

export default defineModule({
  name: 'adhoc',
  summary: 'Runs the ad-hoc commands of other modules.',
  implements: { 'XEP-0050': '1.3.0' },
  features: { server: [NS.commands], account: [NS.commands] },
  config: z.strictObject({
    session_seconds: seconds({ min: 10, max: 86_400 })
      .default(900)
      .describe('How long a command stays open for its next step.'),
    max_sessions: count({ min: 1 })
      .default(1000)
      .describe('Maximum open commands in total. If exceeded, the account with the most loses its oldest.'),
    max_sessions_per_user: count({ min: 1 })
      .default(10)
      .describe(
        'Maximum open commands of one account over all its clients, or of one network address for anonymous accounts. A new one replaces the oldest.',
      ),
  }),

  start: ({ host, config }) => {
    /** By the account or network address that opened them, and by session id. */
    const sessions = new Holdings<CommandSession>(config.max_sessions_per_user);

    const isOver = ({ touched }: CommandSession) => monotonic() - touched > config.session_seconds * 1000;

    /** Commands of the server are also listed at one's own account: some clients look nowhere else. */
    const commands = (target: Target, { domain }: Jid): readonly Command[] => {
      const module = host.declared.services().find((service) => service.domain === domain)?.module;
      return host.declared
        .commands(module)
        .filter((command) => command.target === target || (target === 'account' && command.target === 'server'));
    };

    const mayRun = ({ target, access }: Command, from: Jid, to: Jid): Maybe<boolean> => {
      const isElsewhere = target === 'server' && to.local !== undefined && from.bare !== to.bare;
      return !isElsewhere && host.permits(access, from, to);
    };

    const run =
      (target: Target): IqHandler =>
      async (request) => {
        const { from, to, payload } = request;
        const { node, sessionid, action = 'execute' } = payload.attrs;
        const command = commands(target, to).find((other) => other.node === node);
        if (command === undefined) throw new StanzaError('item-not-found');
        if (!(await mayRun(command, from, to))) throw refusal('forbidden');
        if (!isAction(action)) throw refusal('bad-request', 'malformed-action');
        const form = payload.getChild('x', NS.dataForms);

        if (sessionid === undefined) {
          if (action !== 'execute') throw refusal('bad-request', 'bad-action');
          const id = randomId();
          const result = await take(command, { request, action, form, state: undefined });
          const session: CommandSession = {
            command,
            opener: from.full,
            responder: to.full,
            touched: monotonic(),
            state: undefined,
            actions: undefined,
          };
          if (sessions.set(host.holderOf(from), id, session, config.max_sessions)) host.limitHit('command_sessions');
          return proceed(id, session, result);
        }

        const session = sessions.get(host.holderOf(from), sessionid);
        // The same error for another user's session as for a missing one.
        if (session?.opener !== from.full || session.responder !== to.full || session.command !== command)
          throw refusal('bad-request', 'bad-sessionid');
        if (session.actions === undefined || isOver(session)) throw refusal('not-allowed', 'session-expired');
        if (action === 'cancel') {
          session.actions = undefined;
          session.state = undefined;
          return answer(sessionid, command, 'canceled');
        }
        // §3.4: `execute` means the default action of this stage.
        const step = action === 'execute' ? defaultOf(session.actions) : action;
        if (!session.actions.includes(step)) throw refusal('bad-request', 'bad-action');
        const result = await take(command, { request, action: step, form, state: session.state });
        session.touched = monotonic();
        return proceed(sessionid, session, result);
      };

    const list = (target: Target): Hook =>
      disco(target, {
        node: NS.commands,
        identities: () => [{ category: 'automation', type: 'command-list', name: 'Commands' }],
        items: async (query) => {
          const items: DiscoItem[] = [];
          for (const command of commands(target, query.to))
            if (await mayRun(command, query.from, query.to))
              items.push({ jid: query.to.full, node: command.node, name: command.name });
          return items;
        },
      });

    /** §2.2: disco#info of one command. */
    const about = (target: Target): Hook => {
      const asked = async ({ from, to, node }: DiscoQuery): Promise<Command> => {
        const command = commands(target, to).find((other) => other.node === node);
        if (command === undefined) throw new StanzaError('item-not-found');
        if (!(await mayRun(command, from, to))) throw refusal('forbidden');
        return command;
      };
      return disco(target, {
        node: (node) =>
          host.declared
            .commands()
            .some((command) => command.node === node && (command.target === target || target === 'account')),
        identities: async (query) => [
          { category: 'automation', type: 'command-node', name: (await asked(query)).name },
        ],
        features: () => [NS.commands, NS.dataForms],
        items: async (query) => {
          await asked(query);
          return [];
        },
      });
    };

    /** Where its steps are run: at the home of a room or account, or for commands of the server at that of the opener. */
    const homeOf = ({ opener, responder }: CommandSession): string => {
      const asked = Jid.parse(responder);
      return (asked.local === undefined && host.isLocal(Jid.parse(opener).domain) ? Jid.parse(opener) : asked).bare;
    };

    const moved: Memory<z.output<typeof movedSession>> = {
      name: 'adhoc.sessions',
      schema: movedSession,
      *describe(concerns) {
        for (const [holder, id, session] of sessions.all()) {
          const { command, opener, responder, touched, state, actions } = session;
          const home = homeOf(session);
          if (!concerns(home)) continue;
          const { node, target } = command;
          const age = monotonic() - touched;
          const copied = actions && [...actions];
          yield [home, { id, holder, command: { node, target }, opener, responder, age, state, actions: copied }];
        }
      },
      restore(_, { id, holder, command: { node, target }, age, opener, responder, state, actions }) {
        const command = host.declared.commands().find((one) => one.node === node && one.target === target);
        if (command === undefined) return;
        const session = { command, opener, responder, touched: monotonic() - age, state, actions };
        sessions.set(holder, id, session, config.max_sessions);
      },
    };

    const targets: readonly Target[] = ['server', 'account', 'service'];
    return [
      iq.set('server', NS.commands, 'command', run('server')),
      iq.set('service', NS.commands, 'command', run('service')),
      iq.set('account', NS.commands, 'command', run('account'), { access: 'contacts' }),
      ...targets.flatMap((target) => [list(target), about(target)]),
      moves(moved),
      event('moved', ({ concerns }) => {
        for (const [holder, id, session] of [...sessions.all()])
          if (concerns(homeOf(session))) sessions.delete(holder, id);
      }),
      every(minute, () => {
        for (const [holder, id, session] of [...sessions.all()]) if (isOver(session)) sessions.delete(holder, id);
      }),
    ];
  },
});

/**
 * Runs a step. §4.4: an unreadable form is refused with bad-payload, and the session continues; a form with
 * unacceptable values completes the command with the reason (§3.4).
 */
async function take(command: Command, step: CommandStep): Promise<CommandResult> {
  try {
    return await command.run(step);
  } catch (error) {
    if (!(error instanceof StanzaError) || error.options.extra !== undefined) throw error;
    if (error.condition === 'not-acceptable')
      return { status: 'completed', note: { type: 'error', text: error.text ?? 'The values cannot be accepted.' } };
    if (error.condition !== 'bad-request') throw error;
    throw refusal('bad-request', 'bad-payload', error.text);
  }
}

/** Updates the session after a step, and builds the answer. */
function proceed(id: string, session: CommandSession, result: CommandResult): Element {
  if (result.status === 'completed') {
    session.actions = undefined;
    session.state = undefined;
    const { payload = [], note } = result;
    const noted = note && el('note', { type: note.type }, note.text);
    return answer(id, session.command, 'completed', ...payload, ...(noted ? [noted] : []));
  }
  const { actions = ['complete'], payload, state } = result;
  session.actions = actions;
  session.state = state;
  const allowed = el('actions', { execute: defaultOf(actions) }, ...actions.map((action) => el(action)));
  return answer(id, session.command, 'executing', allowed, ...payload);
}

const answer = (id: string, { node }: Command, status: string, ...children: readonly Element[]): Element =>
  el('command', { xmlns: NS.commands, 'xml:lang': 'en', node, sessionid: id, status }, ...children);

/** §3.4: the next stage if there is one. */
const defaultOf = (actions: readonly Action[]): Action =>
  actions.includes('next') ? 'next' : actions.includes('complete') ? 'complete' : 'prev';

const isAction = (text: string): text is Action | 'execute' | 'cancel' =>
  ['execute', 'cancel', 'prev', 'next', 'complete'].includes(text);

/** §4.4: the errors of the table, with the types it gives them. */
function refusal(condition: StanzaErrorCondition, specific?: string, text?: string): StanzaError {
  return new StanzaError(condition, text, {
    type: condition === 'bad-request' ? 'modify' : 'cancel',
    extra: specific === undefined ? [] : [el(specific, { xmlns: NS.commands })],
  });
}
