/**
 * Registration by ad-hoc commands (XEP-0050). There is no specification: these are the commands and fields that apps
 * use with the push services of Conversations and Monal.
 */
import type { Command, CommandResult, CommandStep } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { type Field, type FormReading, form, readForm } from '../../server/stanza/forms.js';
import type { Element } from '../../server/xml/element.js';
import type { Device, Kind, Token } from './devices.js';

export interface CommandsParts {
  readonly access: 'users' | 'anyone';
  /** The address of the gateway. */
  readonly address: string;
  /** Kinds that the gateway can wake. */
  readonly kinds: readonly Kind[];
  /** For Web Push, base64url. */
  vapidKey(): Promise<string>;
  /** Throws StanzaError unless it can be used. */
  checkEndpoint(url: string, p256dh: string, auth: string): Promise<Token>;
  register(user: string, name: string, token: Token): Promise<{ readonly node: string; readonly secret: string }>;
  list(user: string): Promise<readonly [node: string, device: Device][]>;
  /** Without names, all devices. Resolves with how many there were. */
  unregister(user: string, names: readonly (readonly [Kind, string])[] | undefined): Promise<number>;
}

const longestName = 1024;

/** Names that apps give the device: any of these fields. */
const deviceFields = ['device-id', 'android-id', 'device', 'node'] as const;

export function commands(parts: CommandsParts): Command[] {
  const { access, kinds } = parts;
  const command = (node: string, name: string, run: (step: CommandStep) => Promise<CommandResult>): Command => ({
    node,
    name,
    target: 'service',
    access,
    run: (step) => {
      if (step.request.to.full !== parts.address) throw new StanzaError('item-not-found');
      return run(step);
    },
  });

  const registered = async (step: CommandStep, name: string, token: Token): Promise<CommandResult> => {
    const { node, secret } = await parts.register(step.request.from.bare, name, token);
    const fields: Field[] = [
      { var: 'jid', type: 'jid-single', value: parts.address },
      { var: 'node', type: 'text-single', value: node },
      { var: 'secret', type: 'text-single', value: secret },
    ];
    return completed(form({ type: 'result', fields }));
  };

  const webPush = async (step: CommandStep): Promise<CommandResult> => {
    if (step.form === undefined) {
      const fields: Field[] = [
        { var: 'vapid-key', type: 'text-single', label: 'Key of this service', value: await parts.vapidKey() },
        { var: 'endpoint', type: 'text-single', label: 'Endpoint', required: true },
        { var: 'p256dh', type: 'text-single', label: 'Public key of the subscription' },
        { var: 'auth', type: 'text-single', label: 'Authentication secret of the subscription' },
        { var: 'device-id', type: 'text-single', label: 'Name of the device' },
      ];
      return { status: 'executing', payload: [form({ type: 'form', title: 'Register a subscription', fields })] };
    }
    const reading = readForm(step.form);
    const url = demanded(reading, 'endpoint');
    const token = await parts.checkEndpoint(url, reading.get('p256dh') ?? '', reading.get('auth') ?? '');
    return registered(step, nameIn(reading) ?? url, token);
  };

  /** `register-push-fcm` of Conversations. */
  const fcm = async (step: CommandStep): Promise<CommandResult> => {
    if (step.form === undefined) return { status: 'executing', payload: [tokenForm(['token', 'device-id'])] };
    const reading = readForm(step.form);
    const token = demanded(reading, 'token');
    return registered(step, nameIn(reading) ?? token, { kind: 'fcm', token });
  };

  const unregister = async (step: CommandStep): Promise<CommandResult> => {
    const reading = step.form === undefined ? undefined : readForm(step.form);
    const name = reading && (nameIn(reading) ?? reading.get('endpoint') ?? reading.get('token'));
    const names = name === undefined ? undefined : kinds.map((kind) => [kind, name] as const);
    const count = await parts.unregister(step.request.from.bare, names);
    return { status: 'completed', note: { type: 'info', text: count === 1 ? '1 device.' : `${count} devices.` } };
  };

  const list = async (step: CommandStep): Promise<CommandResult> => {
    const found = await parts.list(step.request.from.bare);
    const value = found.map(([node, { token }]) => `${token.kind} ${node}`);
    return completed(form({ type: 'result', fields: [{ var: 'registrations', type: 'text-multi', value }] }));
  };

  return [
    command('register-push-web', 'Register a Web Push or UnifiedPush subscription', webPush),
    ...(kinds.includes('fcm') ? [command('register-push-fcm', 'Register an Android app', fcm)] : []),
    command('unregister-push', 'Remove devices', unregister),
    command('list-push-registrations', 'List my devices', list),
  ];
}

const tokenForm = (names: readonly string[]): Element =>
  form({ type: 'form', fields: names.map((name): Field => ({ var: name, type: 'text-single', label: name })) });

const completed = (payload: Element): CommandResult => ({ status: 'completed', payload: [payload] });

function demanded(reading: FormReading, name: string): string {
  const value = reading.get(name)?.trim() ?? '';
  if (value === '' || value.length > longestName) throw new StanzaError('bad-request', `The field ${name} is missing.`);
  return value;
}

function nameIn(reading: FormReading): string | undefined {
  for (const field of deviceFields) {
    const value = reading.get(field);
    if (value !== undefined && value !== '' && value.length <= longestName) return value;
  }
  return undefined;
}
