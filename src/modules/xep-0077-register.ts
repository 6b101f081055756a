/**
 * XEP-0077: In-Band Registration, with data forms (§4). Users change their password and delete their account. New users
 * can register only if the configuration allows it, over encrypted or local connections, at a limited rate. Left out:
 * fields other than name and password, redirection (§5), the obsolete key (§7).
 */

import { z } from 'zod';
import { accountRefusal } from '../server/account-refusal.js';
import { Jid } from '../server/address/jid.js';
import { networkJid } from '../server/address/network.js';
import { addressBlock, isLoopback } from '../server/config/address.js';
import { count, seconds } from '../server/config/units.js';
import { Rates } from '../server/limits/rates.js';
import {
  answers,
  type Command,
  command,
  defineModule,
  defineQuestion,
  event,
  type IqHandler,
  type IqRequest,
  iq,
  moves,
  streamFeature,
  type UnauthenticatedRequest,
  unauthenticatedIq,
} from '../server/module/index.js';
import type { Session } from '../server/routing/session.js';
import { defineForm } from '../server/stanza/define-form.js';
import { StanzaError, type StanzaErrorOptions } from '../server/stanza/errors.js';
import { readForm } from '../server/stanza/forms.js';
import { NS } from '../server/stanza/ns.js';
import { type Element, el } from '../server/xml/element.js';

/** What somebody without an account asks for. */
export interface SignUp {
  readonly name: string;
  readonly password: string;
  /** What has shown an invitation, if anything: a stream, or an HTTP request. */
  readonly stream: object;
  readonly remoteAddress: string;
  /** Whether the connection is encrypted. */
  readonly secure: boolean;
}

declare module '../server/module/index.js' {
  interface Events {
    /** A user registered this account themselves (XEP-0077). Follows the event for its creation. */
    accountRegistered: { readonly jid: Jid };
  }
  interface Services {
    registration: {
      /** Whether anybody may register an account. */
      readonly isOpen: boolean;
      /** What users may do with their own accounts. */
      readonly allows: { readonly passwordChange: boolean; readonly removal: boolean };
      /** Registers an account outside of a stream. Throws StanzaError. */
      signUp(wanted: SignUp): Promise<Jid>;
    };
  }
}

const registration = defineForm(NS.register, {
  username: { type: 'text-single', label: 'Name', required: true },
  password: { type: 'text-private', label: 'Password', required: true },
});

const passwordForm = defineForm(NS.register, {
  password: { type: 'text-private', label: 'The new password', required: true },
  'password-verify': { type: 'text-private', label: 'The new password again', required: true },
});

/**
 * Counts an attempt. Asked at the home of a network address, and at that of the host for all addresses together, so that
 * the limits hold for all nodes. Answers whether it may go on.
 */
const attempted = defineQuestion<null, boolean>({
  name: 'register.attempted',
  given: z.null(),
  answer: z.boolean(),
});

/** Mailboxes of RFC 2142, and names that could pass for the operator. */
const reservedNames = [
  'abuse',
  'admin',
  'administrator',
  'hostmaster',
  'info',
  'noc',
  'operator',
  'postmaster',
  'root',
  'security',
  'server',
  'support',
  'system',
  'webmaster',
  'xmpp',
];

export default defineModule({
  name: 'register',
  summary: 'Lets users change their password, delete their account and, if enabled, register accounts.',
  implements: { 'XEP-0077': '2.4' },
  notes: 'Fields other than name and password; redirection.',
  features: { server: [NS.register] },
  provides: ['registration'],
  wants: ['invitedRegistration'],
  config: z.strictObject({
    open: z.boolean().default(false).describe('Whether anybody may register an account.'),
    instructions: z
      .string()
      .default('Choose a name and a password.')
      .describe('Instructions shown before registration. The minimum password length is appended.'),
    per_address: count({ min: 1, unlimited: true })
      .default(10)
      .describe('Registration attempts per window_seconds from one IPv4 address or one IPv6 /64, at all nodes.'),
    in_all: count({ min: 1, unlimited: true })
      .default(200)
      .describe('Registration attempts per window_seconds from all addresses together.'),
    window_seconds: seconds({ min: 1 }).default(3600).describe('How long an attempt counts.'),
    password_changes: count({ min: 1, unlimited: true })
      .default(10)
      .describe('Password changes per window_seconds for one account.'),
    reserved: z.array(z.string()).default(reservedNames).describe('Names that cannot be registered.'),
    password_change: z.boolean().default(true).describe('Whether users may change their password.'),
    removal: z.boolean().default(true).describe('Whether users may delete their account.'),
  }),

  start: ({ host, config, log, services: { invitedRegistration: invited }, provide }) => {
    provide('registration', {
      isOpen: config.open,
      allows: { passwordChange: config.password_change, removal: config.removal },
      signUp: (wanted) => signUp(wanted),
    });
    const window = config.window_seconds * 1000;
    const byAddress = new Rates(config.per_address, window);
    const inAll = new Rates(config.in_all, window);
    const changes = new Rates(config.password_changes, window);
    const reserved = new Set(config.reserved.map((name) => Jid.tryParse(`${name}@${host.domain}`)?.bare));
    /** By account: answers the session that deletes it, before all its sessions end. */
    const leaving = new Map<string, () => void>();

    // --- before login ----------------------------------------------------------------------------------------------

    const passwordRule = (): string => {
      const least = host.accounts.minPasswordLength;
      return least <= 1 ? '' : `A password needs at least ${least} characters.`;
    };

    const fields = (): Element => {
      const instructions = [config.instructions, passwordRule()].filter((text) => text !== '').join(' ');
      return el(
        'query',
        { xmlns: NS.register },
        el('instructions', null, instructions),
        el('username'),
        el('password'),
        registration.form({}, { title: 'Registration', instructions }),
      );
    };

    const demandOpen = (request: Pick<SignUp, 'stream' | 'secure' | 'remoteAddress'>) => {
      if (!config.open && invited?.isInvited(request.stream) !== true) throw closed(); // §3.1
      if (!isSafe(request)) throw new StanzaError('not-authorized', 'Start TLS first.');
    };

    /** XEP-0445: whoever has an invitation shows it first. */
    const closed = () =>
      new StanzaError(
        'service-unavailable',
        invited === undefined ? undefined : 'An account can only be registered with an invitation.',
      );

    const create = async ({ payload, stream, secure, remoteAddress }: UnauthenticatedRequest): Promise<void> => {
      const { username = '', password = '' } = submitted(payload);
      await signUp({ name: username, password, stream, secure, remoteAddress });
    };

    const signUp = async (wanted: SignUp): Promise<Jid> => {
      demandOpen(wanted);
      const { name: username, password } = wanted;
      // §3.1: all requested fields are required
      if (username === '' || password === '') throw new StanzaError('not-acceptable', 'Give a name and a password.');
      const jid = nameOf(username, host.domain);
      if (jid === undefined)
        throw new StanzaError('not-acceptable', 'The name is not a valid user name. Choose another one.');
      const address = networkJid(addressBlock(wanted.remoteAddress), host.domain);
      if (!(await host.askHome(attempted, address, null)) || !(await host.askHome(attempted, host.jid, null))) {
        host.limitHit('registrations');
        throw new StanzaError('resource-constraint', 'Too many registrations. Try again later.');
      }
      if (reserved.has(jid.bare)) throw new StanzaError('conflict', 'The name is not available. Choose another one.');
      const redeemed = await invited?.redeem(wanted.stream, jid);
      await host.accounts.create(jid, password, { role: redeemed?.role ?? 'user' }).catch(async (error: unknown) => {
        await redeemed?.undo();
        throw accountRefusal(error);
      });
      await redeemed?.done();
      await host.emit('accountRegistered', { jid });
      log.info({ account: jid.bare, address: wanted.remoteAddress }, 'an account was registered');
      return jid;
    };

    // --- accounts ---------------------------------------------------------------------------------------------------

    /** The requesting account. Throws StanzaError for anonymous accounts. */
    const accountOf = async ({ from }: IqRequest): Promise<Jid> => {
      const account = from.toBare();
      if (!(await host.accounts.exists(account.bare))) throw new StanzaError('registration-required');
      return account;
    };

    const tell: IqHandler = async (request) => {
      const { local } = await accountOf(request);
      return el(
        'query',
        { xmlns: NS.register },
        el('registered'),
        el(
          'instructions',
          null,
          `You are registered. You can change your password or delete your account. ${passwordRule()}`.trimEnd(),
        ),
        el('username', null, local),
        el('password'),
      );
    };

    /** §3.2, §3.3. */
    const change: IqHandler = async (request) => {
      const account = await accountOf(request);
      const isRemoval = request.payload.getChild('remove', NS.register) !== undefined;
      return isRemoval ? remove(account, request) : changePassword(account, request);
    };

    const remove = async ({ bare }: Jid, { payload, stanza, session }: IqRequest): Promise<void> => {
      if (payload.getChildElements().length > 1) throw new StanzaError('bad-request');
      if (!config.removal) throw new StanzaError('not-allowed');
      leaving.set(bare, () => session?.send(stanza.result()));
      try {
        await host.accounts.remove(bare);
      } finally {
        leaving.delete(bare);
      }
      log.info({ account: bare }, 'an account was deleted by its user');
    };

    const demandSafe = (session: Session | undefined): void => {
      const { connection } = session ?? {};
      if (connection === undefined || !isSafe(connection))
        throw new StanzaError('not-authorized', 'Start TLS first.', withheld);
    };

    const changePassword = async (account: Jid, { payload, session }: IqRequest): Promise<void> => {
      if (!config.password_change) throw new StanzaError('not-allowed', undefined, withheld);
      demandSafe(session);
      const { username, password } = submitted(payload);
      if (!username || !password) throw new StanzaError('bad-request', 'Give the name and the new password.', withheld);
      if (!account.equals(nameOf(username, host.domain)))
        throw new StanzaError('forbidden', 'You can only change the password of your own account.', withheld);
      await setPassword(account, password);
    };

    const setPassword = async (account: Jid, password: string): Promise<void> => {
      if (!changes.take(account.bare)) {
        host.limitHit('register.password_changes');
        throw new StanzaError('resource-constraint', 'Too many password changes. Try again later.', withheld);
      }
      await host.accounts.setPassword(account.bare, password).catch((error: unknown) => {
        throw accountRefusal(error, withheld);
      });
    };

    /** Changing the password as an ad-hoc command (XEP-0050), for clients without a dialog of their own. */
    const passwordCommand: Command = {
      node: 'change-password',
      name: 'Change my password',
      target: 'server',
      access: 'users',
      run: async ({ request, form, state }) => {
        const account = await accountOf(request);
        demandSafe(request.session);
        if (state === undefined) return { status: 'executing', state: 'asked', payload: [passwordForm.form()] };
        const given = passwordForm.read(form);
        if (given === undefined) return { status: 'completed', note: { type: 'info', text: 'Nothing was changed.' } };
        if (given.password !== given['password-verify'])
          throw new StanzaError('not-acceptable', 'The passwords differ. Enter the same password twice.');
        await setPassword(account, given.password);
        return { status: 'completed', note: { type: 'info', text: 'Your password was changed.' } };
      },
    };

    return [
      answers(attempted, (_, owner) => (owner.local === undefined ? inAll : byAddress).take(owner.bare)),
      moves(byAddress.memory('register.by_address')),
      moves(inAll.memory('register.in_all')),
      moves(changes.memory('register.changes')),
      ...(config.password_change ? [command(passwordCommand)] : []),
      unauthenticatedIq('get', NS.register, 'query', (request) => {
        demandOpen(request);
        request.extendDeadline();
        return fields();
      }),
      unauthenticatedIq('set', NS.register, 'query', create),
      streamFeature('unauthenticated', (stream) =>
        (config.open || invited !== undefined) && isSafe(stream)
          ? el('register', { xmlns: NS.registerFeature })
          : undefined,
      ),
      iq.get('account', NS.register, 'query', tell),
      iq.set('account', NS.register, 'query', change),
      iq.get('server', NS.register, 'query', tell, { access: 'users' }),
      iq.set('server', NS.register, 'query', change, { access: 'users' }),
      event('accountDeleting', ({ jid }) => leaving.get(jid.bare)?.()),
    ];
  },
});

/** §11: the connection is encrypted, or local to this machine. */
const isSafe = ({ secure, remoteAddress }: { readonly secure: boolean; readonly remoteAddress: string }): boolean =>
  secure || isLoopback(remoteAddress);

/** §4: a form takes precedence over the plain fields. */
function submitted(payload: Element): { username: string | undefined; password: string | undefined } {
  const x = payload.getChild('x', NS.dataForms);
  if (x !== undefined) {
    const form = readForm(x);
    return { username: form.get('username'), password: form.get('password') };
  }
  return {
    username: payload.getChildText('username', NS.register) ?? undefined,
    password: payload.getChildText('password', NS.register) ?? undefined,
  };
}

/** The account with this name on this host: a bare name, or (as in §3.3's forms) a full address. */
function nameOf(username: string, domain: string): Jid | undefined {
  const text = username.trim();
  const jid = Jid.tryParse(text.includes('@') ? text : `${text}@${domain}`);
  return jid?.local !== undefined && jid.isBare && jid.domain === domain ? jid : undefined;
}

/** §3.3: an error about a password must not repeat it. */
const withheld: StanzaErrorOptions = { bare: true };
