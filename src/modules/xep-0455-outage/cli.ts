/** `waxwing outage …`: announces outages (XEP-0455). */

import { wall } from '../../server/clock.js';
import { type CliContext, CommandError, cliCommand, type Services } from '../../server/module/index.js';
import { plain } from '../../server/plain.js';
import { formatDateTime, parseDateTime } from '../../server/stanza/datetime.js';
import { facts } from '../../server/words.js';
import type { Outage } from './services.js';

const host = { type: 'text', description: 'The host. Required if the server has several.' } as const;
const longestMessage = 2000;
const mostLanguages = 50;
/** BCP 47, loosely. */
const language = /^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$/;

const set = cliCommand({
  name: 'outage set',
  summary: 'Announces an outage to the clients of a host',
  details:
    'The server serves the announcement at /outage.json. Clients read it from the addresses in hosts.*.outage_status, also when they cannot connect; bring the file there. An earlier announcement is replaced.',
  parameters: {
    message: { type: 'text', positional: true, required: true, description: 'What happens, in the default language.' },
    begin: { type: 'text', description: 'When it begins, such as 2027-03-01T22:00:00Z (now).' },
    end: { type: 'text', description: 'When it will probably end.' },
    unplanned: { type: 'flag', description: 'The outage was not planned.' },
    host,
  },
  async run(context, { message, begin, end, unplanned, host }) {
    const { outage, domain } = outageOf(context, host);
    const beginning = begin === undefined ? wall() : timeOf('begin', begin);
    const expected = end === undefined ? undefined : timeOf('end', end);
    if (expected !== undefined && expected <= beginning)
      throw new CommandError('usage', 'The outage would end before it begins.');
    const announced: Outage = {
      planned: !unplanned,
      beginning: formatDateTime(beginning),
      ...(expected === undefined ? {} : { expected_end: formatDateTime(expected) }),
      message: { default: messageOf(message) },
    };
    await outage.set(announced);
    return { host: domain, outage: announced, addresses: outage.addresses() };
  },
  text: ({ host, addresses }) =>
    addresses.length === 0
      ? `Announced for ${host}, but clients do not know where to read it: set hosts."${host}".outage_status.`
      : `Announced for ${host}. Clients read it at ${addresses.join(', ')}.`,
});

const translate = cliCommand({
  name: 'outage translate',
  summary: 'Adds the message of the announced outage in another language',
  parameters: {
    language: { type: 'text', positional: true, required: true, description: 'A language tag, such as de.' },
    message: { type: 'text', positional: true, required: true, description: 'The message in this language.' },
    host,
  },
  async run(context, { language: tag, message, host }) {
    if (!language.test(tag) || tag === 'default')
      throw new CommandError('usage', `${tag} is not a language tag, such as de or pt-BR.`);
    const { outage, domain } = outageOf(context, host);
    const current = await outage.get();
    if (current?.message === undefined) throw new CommandError('not-found', `No outage is announced for ${domain}.`);
    const messages = { ...current.message, [tag]: messageOf(message) };
    if (Object.keys(messages).length > mostLanguages)
      throw new CommandError('usage', `A message can be in at most ${mostLanguages} languages.`);
    const announced = { ...current, message: messages };
    await outage.set(announced);
    return { host: domain, outage: announced };
  },
  text: ({ host }) => `Announced for ${host}.`,
});

const show = cliCommand({
  name: 'outage show',
  summary: 'Shows the announced outage of a host',
  reads: true,
  parameters: { host },
  async run(context, { host }) {
    const { outage, domain } = outageOf(context, host);
    return { host: domain, outage: (await outage.get()) ?? null, addresses: outage.addresses() };
  },
  text({ host, outage, addresses }) {
    if (outage === null) return `No outage is announced for ${host}.`;
    const { planned, beginning, expected_end, message = {} } = outage;
    return facts([
      ['Host', host],
      ['Planned', planned ? 'yes' : 'no'],
      ['Begin', beginning],
      ['Expected end', expected_end ?? 'unknown'],
      ...Object.entries(message).map(([tag, text]): [string, string] => [`Message (${tag})`, plain(text)]),
      ['Addresses', addresses.length === 0 ? 'none' : addresses.join(', ')],
    ]);
  },
});

const clear = cliCommand({
  name: 'outage clear',
  summary: 'Announces that the outage of a host is over',
  parameters: { host },
  async run(context, { host }) {
    const { outage, domain } = outageOf(context, host);
    const wasAnnounced = (await outage.get()) !== undefined;
    await outage.set(undefined);
    return { host: domain, wasAnnounced };
  },
  text: ({ host, wasAnnounced }) =>
    wasAnnounced ? `The outage of ${host} is over.` : `No outage was announced for ${host}.`,
});

export const cli = [set, translate, show, clear];

function outageOf(
  { hosts }: CliContext,
  domain: string | undefined,
): { readonly outage: Services['outage']; readonly domain: string } {
  const [first, ...more] = hosts;
  if (domain === undefined && more.length > 0)
    throw new CommandError('usage', `Name the host: --host ${hosts.map((one) => one.domain).join(' or ')}`);
  const found = domain === undefined ? first : hosts.find((one) => one.domain === domain);
  if (found === undefined) throw new CommandError('not-found', `The server has no host ${domain}.`);
  const outage = found.provided('outage');
  if (outage === undefined) throw new CommandError('configuration', 'The module outage is disabled.');
  return { outage, domain: found.domain };
}

function timeOf(name: string, text: string): number {
  const time = parseDateTime(text);
  if (time === undefined)
    throw new CommandError('usage', `--${name}: write a date and time with a time zone, such as 2027-03-01T22:00:00Z.`);
  return time;
}

function messageOf(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '' || trimmed.length > longestMessage)
    throw new CommandError('usage', `The message must have 1 to ${longestMessage} characters.`);
  return trimmed;
}
