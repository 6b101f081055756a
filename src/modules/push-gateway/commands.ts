/**
 * Registration by ad-hoc commands (XEP-0050). There is no specification: these are the commands and fields that apps use
 * with the services of their makers. Conversations and its relatives have a command for each kind of device, Monal and
 * Yaxim have one with a field for it.
 */
import type { Command, CommandResult, CommandStep } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { type Field, type FormReading, form, readForm } from '../../server/stanza/forms.js';
import type { Element } from '../../server/xml/element.js';
import type { Device, Kind, Token } from './devices.js';
import { kindIn, nameIn, type Registration, registrationIn } from './registering.js';

export interface CommandsParts {
  readonly access: 'users' | 'anyone';
  /** The address of the gateway. */
  readonly address: string;
  /** Kinds that the gateway can wake. */
  readonly kinds: readonly Kind[];
  /** For Web Push, base64url. */
  vapidKey(): Promise<string>;
  /** Throws StanzaError unless it can be used. */
  checkEndpoint(url: string, p256dh: string, auth: string): Token;
  register(user: string, registration: Registration): Promise<{ readonly node: string; readonly secret: string }>;
  list(user: string): Promise<readonly [node: string, device: Device][]>;
  /** Without `kinds`, of all; without a name, all of them. Resolves with how many there were. */
  unregister(user: string, kinds: readonly Kind[] | undefined, name: string | undefined): Promise<number>;
  /** What proves to the pages of this service that a request is the account's, and where they are if HTTP is served. */
  proof(user: string): Promise<{ readonly token: string; readonly url: string | undefined }>;
}

const titles: Readonly<Record<Kind, string>> = {
  webpush: 'Register a Web Push or UnifiedPush subscription',
  fcm: 'Register an Android app',
  apns: 'Register an iOS app',
};
const nodes: Readonly<Record<Kind, string>> = {
  webpush: 'register-push-web',
  fcm: 'register-push-fcm',
  apns: 'register-push-apns',
};

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

  const register = async ({ request }: CommandStep, kind: Kind, reading: FormReading): Promise<CommandResult> => {
    const registration = registrationIn(kind, reading, parts.checkEndpoint);
    const { node, secret } = await parts.register(request.from.bare, registration);
    const fields: Field[] = [
      { var: 'jid', type: 'jid-single', value: parts.address },
      { var: 'node', type: 'text-single', value: node },
      { var: 'secret', type: 'text-single', value: secret },
    ];
    return completed(form({ type: 'result', fields }));
  };

  const fieldsFor = async (kind: Kind): Promise<Field[]> => {
    const name: Field = { var: 'device-id', type: 'text-single', label: 'Name of the device' };
    if (kind !== 'webpush') return [{ var: 'token', type: 'text-single', label: 'Token', required: true }, name];
    return [
      { var: 'vapid-key', type: 'text-single', label: 'Key of this service', value: await parts.vapidKey() },
      { var: 'endpoint', type: 'text-single', label: 'Endpoint', required: true },
      { var: 'p256dh', type: 'text-single', label: 'Public key of the subscription' },
      { var: 'auth', type: 'text-single', label: 'Authentication secret of the subscription' },
      name,
    ];
  };

  const registerAs = (kind: Kind) =>
    command(nodes[kind], titles[kind], async (step) => {
      if (step.form !== undefined) return register(step, kind, readForm(step.form));
      const fields = await fieldsFor(kind);
      return { status: 'executing', payload: [form({ type: 'form', title: titles[kind], fields })] };
    });

  const unregister = async (
    step: CommandStep,
    of: (reading: FormReading) => readonly Kind[] | undefined,
  ): Promise<CommandResult> => {
    const reading = step.form && readForm(step.form);
    const name = reading && (nameIn(reading) ?? reading.get('endpoint') ?? reading.get('token'));
    const count = await parts.unregister(step.request.from.bare, reading && of(reading), name);
    return { status: 'completed', note: { type: 'info', text: count === 1 ? '1 device.' : `${count} devices.` } };
  };

  const list = async (step: CommandStep): Promise<CommandResult> => {
    const found = await parts.list(step.request.from.bare);
    const value = found.map(([node, { token }]) => `${token.kind} ${node}`);
    return completed(form({ type: 'result', fields: [{ var: 'registrations', type: 'text-multi', value }] }));
  };

  const prove = async ({ request }: CommandStep): Promise<CommandResult> => {
    const { token, url } = await parts.proof(request.from.bare);
    if (url === undefined) throw new StanzaError('item-not-found', 'This service cannot be reached by HTTP.');
    const fields: Field[] = [
      { var: 'url', type: 'text-single', value: url },
      { var: 'token', type: 'text-single', value: token },
    ];
    return completed(form({ type: 'result', fields }));
  };

  return [
    ...kinds.map(registerAs),
    command('v1-register-push', 'Register an app', async (step) => {
      if (step.form === undefined) throw new StanzaError('bad-request', 'The fields are missing.');
      const reading = readForm(step.form);
      return register(step, kindIn(reading, kinds), reading);
    }),
    command('unregister-push', 'Remove devices', (step) => unregister(step, () => undefined)),
    command('v1-unregister-push', 'Remove an app', (step) => unregister(step, (reading) => [kindIn(reading, kinds)])),
    ...kinds
      .filter((kind) => kind !== 'webpush')
      .map((kind) => command(`un${nodes[kind]}`, 'Remove an app', (step) => unregister(step, () => [kind]))),
    command('list-push-registrations', 'List my devices', list),
    command('push-registration-token', 'Register by HTTP', prove),
  ];
}

const completed = (payload: Element): CommandResult => ({ status: 'completed', payload: [payload] });
