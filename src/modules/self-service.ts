/**
 * Ad-hoc commands (XEP-0050) for every user: ping, uptime, server time, and their own sessions. The command for
 * changing the password is in xep-0077-register.ts.
 */
import { monotonic, wall } from '../server/clock.js';
import { type Command, type CommandResult, command, defineModule, type IqRequest } from '../server/module/index.js';
import { formatDateTime } from '../server/stanza/datetime.js';
import { defineForm } from '../server/stanza/define-form.js';
import { StreamError } from '../server/stanza/errors.js';
import { table } from '../server/stanza/forms.js';

/** Maximum sessions in one answer. */
const mostListed = 100;

export default defineModule({
  name: 'self_service',
  summary: 'Commands for every user: ping, uptime, time, and their own sessions.',
  implements: {},

  start: ({ host }) => {
    const startedAt = { wall: wall(), monotonic: monotonic() };

    /** A user's requests to the host run on the home node of that user, where their sessions are known. */
    const sessionsOf = ({ from: owner }: IqRequest) => host.sessions(owner.bare).slice(0, mostListed);

    const saying = (node: string, name: string, text: () => string): Command => ({
      node,
      name,
      target: 'server',
      access: 'users',
      run: () => note(text()),
    });

    const list: Command = {
      node: 'list-sessions',
      name: 'List my sessions',
      target: 'server',
      access: 'users',
      run: ({ request }) => ({
        status: 'completed',
        payload: [
          table({
            title: 'Your sessions',
            columns: [
              { var: 'resource', type: 'text-single', label: 'Session' },
              { var: 'since', type: 'text-single', label: 'Since' },
              { var: 'address', type: 'text-single', label: 'Address' },
              { var: 'state', type: 'text-single', label: 'State' },
            ],
            rows: sessionsOf(request).map((session) => ({
              resource: session.jid.resource ?? '',
              since: formatDateTime(session.since),
              address: session.connection?.remoteAddress ?? '',
              state: stateOf(session.connection !== undefined, session.jid.equals(request.from)),
            })),
          }),
        ],
      }),
    };

    const end: Command = {
      node: 'end-sessions',
      name: 'End my other sessions',
      target: 'server',
      access: 'users',
      run: ({ request, form, state }) => {
        const others = sessionsOf(request).filter(({ jid }) => !jid.equals(request.from));
        if (state === undefined) {
          if (others.length === 0) return note('There are no other sessions.');
          const choice = choiceOf(others.map(({ jid }) => jid.resource ?? ''));
          return { status: 'executing', state: 'asked', payload: [choice.form({}, { title: end.name })] };
        }
        const given = choiceOf([]).read(form)?.sessions ?? [];
        const ended = others.filter(({ jid }) => given.includes(jid.resource ?? ''));
        for (const session of ended)
          host.end(session, new StreamError('policy-violation', 'Another session of yours ended this one.'));
        return note(ended.length === 1 ? 'One session was ended.' : `${ended.length} sessions were ended.`);
      },
    };

    const commands = [
      saying('ping', 'Ping the server', () => 'The server is running.'),
      saying('uptime', 'Uptime of the server', () => {
        const seconds = Math.floor((monotonic() - startedAt.monotonic) / 1000);
        return `Running since ${formatDateTime(startedAt.wall)}, for ${lasting(seconds)}.`;
      }),
      saying('time', 'Time at the server', () => formatDateTime(wall())),
      list,
      end,
    ];
    return commands.map(command);
  },
});

const note = (text: string): CommandResult => ({ status: 'completed', note: { type: 'info', text } });

/** An open list, since a session may end while the form is filled in. */
const choiceOf = (options: readonly string[]) =>
  defineForm('urn:waxwing:sessions', {
    sessions: { type: 'list-multi', label: 'The sessions to end', options, open: true, required: true },
  });

function stateOf(isConnected: boolean, isAsking: boolean): string {
  if (!isConnected) return 'disconnected, can be resumed';
  return isAsking ? 'this one' : 'connected';
}

/** Formats a duration in days, hours, minutes and seconds. */
export function lasting(seconds: number): string {
  const parts = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60,
    seconds % 60,
  ];
  const written = parts.map((amount, index) => `${amount} ${['d', 'h', 'min', 's'][index]}`);
  const first = parts.findIndex((amount) => amount > 0);
  return written.slice(first < 0 ? 3 : first).join(' ');
}
