/** Validates the parameters of a command (JSON) and converts them for `run`. */
import { Jid } from '../address/jid.js';
import { type Command, CommandError, type Parameter, type Parameters, type RawValues, type Values } from './command.js';

/** Throws CommandError('usage'). */
export function readValues(command: Command, raw: RawValues): Values<Parameters> {
  for (const name of Object.keys(raw)) {
    if (!Object.hasOwn(command.parameters, name))
      throw new CommandError('usage', `${command.name} has no parameter ${JSON.stringify(name)}`);
  }
  const entries = Object.entries(command.parameters).map(([name, parameter]) => {
    const value = Object.hasOwn(raw, name) ? (raw[name] ?? undefined) : undefined;
    return [name, read(name, parameter, value)];
  });
  return Object.fromEntries(entries) as Values<Parameters>;
}

function read(name: string, parameter: Parameter, value: unknown): unknown {
  const { type, required, choices } = parameter;
  const wrong = (what: string) => new CommandError('usage', `${name}: ${what}`);
  if (type === 'flag') {
    if (value !== undefined && typeof value !== 'boolean') throw wrong('must be true or false');
    return value ?? false;
  }
  if (value === undefined) {
    if (required) throw wrong('missing');
    return undefined;
  }
  if (type === 'count') {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1)
      throw wrong('must be a whole number above 0');
    return value;
  }
  if (typeof value !== 'string') throw wrong('must be a string');
  if (choices !== undefined && !choices.includes(value)) throw wrong(`must be one of ${choices.join(', ')}`);
  if (type !== 'account' && type !== 'address') return value;
  const jid = Jid.tryParse(value);
  if (jid?.local === undefined || (type === 'account' && !jid.isBare))
    throw wrong(`${JSON.stringify(value)} is not an account address; use one such as alice@example.org`);
  return jid;
}
