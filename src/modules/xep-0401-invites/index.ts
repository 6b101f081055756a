/**
 * XEP-0401: Ad-hoc Account Invitation Generation, with registration by token (XEP-0445) and subscription requests that a
 * token approves (XEP-0379). Administrators invite to accounts, users invite contacts, who may also get an account if
 * the configuration allows it. Both may register in the browser. Links to rooms (XEP-0488) have pages too.
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { addressBlock, isLoopback } from '../../server/config/address.js';
import { count, seconds } from '../../server/config/units.js';
import { Rates } from '../../server/limits/rates.js';
import {
  admit,
  answers,
  type Command,
  command,
  defineModule,
  defineQuestion,
  type HttpAnswer,
  HttpError,
  type HttpRequest,
  http,
  map,
  streamFeature,
  unauthenticatedIq,
} from '../../server/module/index.js';
import type { Passage } from '../../server/routing/passage.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError, type StanzaErrorCondition } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { bareJid } from '../../server/stanza/stored.js';
import { type Element, el } from '../../server/xml/element.js';
import { cli } from './cli.js';
import { Invites, idOf, inviteSchema } from './invites.js';
import { escaped, linkForm } from './links.js';
import { invitationPage, type SignUpForm, textsFor, welcomePage } from './page.js';
import { roomLinkHooks } from './rooms.js';
import type { Invite, MadeInvite, Wanted } from './services.js';
import type { Refusal } from './texts.js';

/** Makes two accounts contacts of each other: asked at the home of each. */
const connecting = defineQuestion<string, null>({ name: 'invites.connecting', given: bareJid, answer: z.null() });

const accountForm = defineForm('urn:xmpp:invite#create-account', {
  username: { type: 'text-single', label: 'Name of the account (empty: the invited person chooses)' },
  'roster-subscription': { type: 'boolean', label: 'The account becomes a contact of mine' },
  admin: { type: 'boolean', label: 'The account becomes an administrator' },
});

/** Tokens that an address block may try in an hour. */
const triesAnHour = 60;
const hourMs = 3_600_000;
/** Of the pages. */
const path = '/invite';
/** Characters of a token at most. */
const longestToken = 128;
/** Bytes of the form on a page. */
const largestForm = 8192;

/** Streams on which the user fills in a form have a limited life; a stream holds its token. */
interface Shown {
  readonly id: string;
}

export default defineModule({
  name: 'invites',
  summary: 'Lets administrators invite people to accounts, and users invite contacts.',
  implements: { 'XEP-0379': '0.3.3', 'XEP-0401': '0.6.0', 'XEP-0445': '0.2.0' },
  config: z.strictObject({
    accounts: z
      .boolean()
      .default(false)
      .describe('Whether the people whom users invite may register an account on this server.'),
    expiry_seconds: seconds({ min: 60 })
      .default(7 * 86_400)
      .describe('How long an invitation is valid, unless it says otherwise.'),
    per_account: count({ min: 0 })
      .default(20)
      .describe('Maximum invitations of an account that have not expired. 0: users cannot invite.'),
    page: z
      .boolean()
      .default(true)
      .describe('Whether invitations, to rooms too, have pages at /invite, for people who open them in a browser.'),
    pending: count({ min: 1, max: 100_000 })
      .default(2000)
      .describe('Maximum invitations of the host that have not expired.'),
  }),
  stores: { invites: map<Invite>({ value: inviteSchema }) },
  needs: ['roster'],
  provides: ['invites', 'invitedRegistration'],
  cli,

  start: ({ host, config, stores, services: { roster }, provide, log }) => {
    const invites = new Invites({ host, store: stores.invites, limits: () => config });
    const tries = new Rates(triesAnHour, hourMs);
    const shown = new WeakMap<object, Shown>();

    const make = async (wanted: Omit<Wanted, 'until'>, lifetime = config.expiry_seconds): Promise<MadeInvite> => {
      const token = randomId();
      const id = idOf(token);
      const invite = await invites.add(id, { ...wanted, until: wall() + lifetime * 1000 });
      return { id, uri: uriOf(host.domain, invite, token), url: urlOf(token), invite };
    };

    /** XEP-0401 §5.2. Undefined if the host has no such page. */
    const urlOf = (token: string): string | undefined =>
      config.page && host.publicUrl !== undefined ? `${host.publicUrl}${path}/${token}` : undefined;

    /** RFC 6121: both subscriptions, as if each had asked the other. */
    const connect = async (one: Jid, other: Jid): Promise<void> => {
      await host.askHome(connecting, one, other.bare);
      await host.askHome(connecting, other, one.bare);
    };

    provide('invites', {
      make: ({ seconds: lifetime, ...wanted }) => make(wanted, lifetime),
      list: () => invites.list(),
      revoke: (id) => invites.revoke(id),
    });
    provide('invitedRegistration', {
      isInvited: (stream) => shown.has(stream),
      redeem: async (stream, account) => {
        const { id = '' } = shown.get(stream) ?? {};
        const invite = await invites.use(id, account.local!);
        if (invite === 'reserved') throw new StanzaError('conflict', 'The name is not available. Choose another one.');
        if (invite === undefined && id !== '')
          throw new StanzaError('not-allowed', 'The invitation is for another name, or has been used.');
        return {
          role: invite?.role ?? 'user',
          done: async () => {
            const { by, connects = false, groups = [] } = invite ?? {};
            // The account is there all the same if something of this fails.
            const failed = (what: string) => (error: unknown) =>
              log.warn({ err: error, account: account.bare, by }, `an invited user did not become ${what}`);
            if (by !== undefined && connects) await connect(account, Jid.parse(by)).catch(failed('a contact'));
            const shared = host.provided('sharedGroups');
            for (const group of groups)
              await shared?.add(group, account).catch(failed(`a member of the group ${group}`));
          },
          undo: async () => {
            if (invite !== undefined) await invites.undo(id);
          },
        };
      },
    });

    // --- before login ---------------------------------------------------------------------------------------------

    /** XEP-0445 §4. */
    const show = async ({ payload, stream, remoteAddress, extendDeadline }: Request): Promise<void> => {
      if (!tries.take(addressBlock(remoteAddress))) {
        host.limitHit('invites.tries');
        throw new StanzaError('resource-constraint', 'Too many attempts. Try again later.');
      }
      const { token = '' } = payload.attrs;
      const id = idOf(token);
      const invite = token === '' || token.length > longestToken ? undefined : await invites.look(id);
      if (invite === undefined || !invite.registers || invite.uses === 0)
        throw new StanzaError('item-not-found', 'The invitation is not valid, has expired or has been used.');
      shown.set(stream, { id });
      extendDeadline();
    };

    // --- in a browser ---------------------------------------------------------------------------------------------

    /** Counts a visitor who shows a token. Throws HttpError. */
    const demandTry = (request: HttpRequest): void => {
      if (tries.take(addressBlock(request.address))) return;
      host.limitHit('invites.tries');
      throw new HttpError(429, textsFor(request).tooMany);
    };

    /** The invitation that a page is for. Throws HttpError. */
    const invited = async (request: HttpRequest): Promise<{ readonly token: string; readonly invite: Invite }> => {
      const token = request.rest.slice(1);
      demandTry(request);
      const invite = /^[\w-]{8,128}$/.test(token) ? await invites.look(idOf(token)) : undefined;
      if (invite === undefined || invite.uses === 0) throw new HttpError(404, textsFor(request).invalid);
      return { token, invite };
    };

    const pageOf = (
      request: HttpRequest,
      token: string,
      invite: Invite,
      entered: Pick<SignUpForm, 'name' | 'refused'> = { name: '' },
    ): HttpAnswer => {
      const canSignUp = invite.registers && host.provided('registration') !== undefined;
      const least = host.accounts.minPasswordLength;
      return invitationPage(request, {
        domain: host.domain,
        inviter: invite.connects ? invite.by : undefined,
        registers: invite.registers,
        uri: uriOf(host.domain, invite, token),
        until: invite.until,
        form: canSignUp
          ? { ...entered, name: invite.name ?? entered.name, isGiven: invite.name !== undefined, least }
          : undefined,
      });
    };

    const showPage = async (request: HttpRequest): Promise<HttpAnswer> => {
      const { token, invite } = await invited(request);
      return pageOf(request, token, invite);
    };

    /** Makes an account from the form of the page. The address of the page is the secret, so that other sites cannot do it. */
    const signUp = async (request: HttpRequest): Promise<HttpAnswer> => {
      if (!/^application\/x-www-form-urlencoded\s*(?:;|$)/i.test(request.headers['content-type'] ?? ''))
        throw new HttpError(415, 'Send the form of the page.');
      const { token, invite } = await invited(request);
      const registration = host.provided('registration');
      if (!invite.registers || registration === undefined)
        throw new HttpError(403, 'With this invitation no account can be made here.');
      const form = new URLSearchParams(request.body.toString());
      const [name, password] = [form.get('name') ?? '', form.get('password') ?? ''];
      shown.set(request, { id: idOf(token) });
      try {
        const { address, secure } = request;
        const account = await registration.signUp({ name, password, stream: request, remoteAddress: address, secure });
        return welcomePage(request, account.bare, host.provided('webClient')?.url);
      } catch (error) {
        const refused = error instanceof StanzaError ? refusals[error.condition] : undefined;
        if (refused === undefined) throw error;
        return pageOf(request, token, invite, { name, refused });
      }
    };

    // --- contacts -------------------------------------------------------------------------------------------------

    /**
     * XEP-0379 §3.4, §3.5: approves a request with a token of ours before it is handled, and asks for the same. An unknown
     * token changes nothing (§4.1).
     */
    const approve = async ({ owner, stanza }: Passage): Promise<void> => {
      const { token = '' } = stanza.child(NS.pars, 'preauth')?.attrs ?? {};
      const contact = stanza.from!.toBare();
      if (token === '' || token.length > longestToken || contact.equals(owner)) return;
      const id = idOf(token);
      const invite = await invites.look(id);
      if (invite?.by !== owner.bare || !invite.connects || invite.uses === 0) return;
      const used = await invites.use(id, null);
      if (used === undefined || used === 'reserved') return;
      const before = (await roster.get(owner.bare)).get(contact.bare);
      const subscription = before?.subscription ?? 'none';
      const asks = subscription === 'none' || subscription === 'from';
      await roster.set(owner, contact, {
        groups: [],
        ...before,
        subscription,
        hidden: false,
        approved: true,
        ...(asks && { ask: true }),
      });
      if (asks) void host.route(Stanza.build('presence', { type: 'subscribe', from: owner, to: contact }));
      log.info({ account: owner.bare, contact: contact.bare }, 'an invited contact was approved');
    };

    // --- commands -------------------------------------------------------------------------------------------------

    const answer = ({ uri, url, invite }: MadeInvite): Element[] => [
      linkForm('urn:xmpp:invite#invitation', { uri, url, until: invite.until }),
    ];

    /** XEP-0401 §5.1. */
    const inviteContact: Command = {
      node: 'urn:xmpp:invite#invite',
      name: 'Invite a contact',
      target: 'server',
      access: 'users',
      run: async ({ request: { from } }) => {
        if (host.isAnonymous(from.bare)) throw new StanzaError('not-allowed');
        const registers = config.accounts || (await host.isAdmin(from.toBare()));
        const made = await make({ by: from.bare, registers, connects: true, uses: 1 });
        return { status: 'completed', payload: answer(made) };
      },
    };

    /** XEP-0401 §5.4. */
    const inviteToAccount: Command = {
      node: 'urn:xmpp:invite#create-account',
      name: 'Invite somebody to an account',
      target: 'server',
      access: 'admins',
      run: async ({ request: { from }, form: submitted, state }) => {
        if (state === undefined)
          return { status: 'executing', state: 'asked', actions: ['complete'], payload: [accountForm.form()] };
        const given = accountForm.read(submitted);
        const username = given?.username?.trim() ?? '';
        const jid = username === '' ? undefined : Jid.tryParse(`${username}@${host.domain}`);
        if (username !== '' && (jid?.local === undefined || jid.domain !== host.domain))
          throw new StanzaError('not-acceptable', 'The name is not a valid user name.');
        const connects = given?.['roster-subscription'] === true;
        const role = given?.admin === true ? 'admin' : undefined;
        const made = await make({ by: from.bare, name: jid?.local, role, registers: true, connects, uses: 1 });
        return { status: 'completed', payload: answer(made) };
      },
    };

    return [
      ...invites.hooks(),
      answers(connecting, async (contact, owner) => {
        const before = (await roster.get(owner.bare)).get(contact);
        await roster.set(owner, Jid.parse(contact), {
          groups: before?.groups ?? [],
          name: before?.name,
          subscription: 'both',
        });
        return null;
      }),
      unauthenticatedIq('set', NS.pars, 'preauth', show),
      // §3; and the name of an earlier version, which Conversations looks for
      ...[NS.ibrToken, NS.invite].map((xmlns) =>
        streamFeature('unauthenticated', ({ secure, remoteAddress }) =>
          secure || isLoopback(remoteAddress) ? el('register', { xmlns }) : undefined,
        ),
      ),
      // An invited contact is known before unknown senders are refused.
      admit(
        (passage) => {
          const { way, stanza } = passage;
          if (way === 'out' || stanza.name !== 'presence' || stanza.type !== 'subscribe') return undefined;
          return stanza.has(NS.pars, 'preauth') ? approve(passage) : undefined;
        },
        { after: ['blocking'], before: ['strangers'] },
      ),
      ...(config.page
        ? [http('GET', path, showPage, { below: true }), http('POST', path, signUp, { below: true, body: largestForm })]
        : []),
      ...(config.per_account > 0 ? [command(inviteContact)] : []),
      command(inviteToAccount),
      ...roomLinkHooks({ host, demandTry, hasPage: config.page }),
    ];
  },
});

/** What a page says about a refused registration. */
const refusals: Readonly<Partial<Record<StanzaErrorCondition, Refusal>>> = {
  conflict: 'taken',
  'not-acceptable': 'unacceptable',
  'resource-constraint': 'later',
  'not-allowed': 'used',
  'not-authorized': 'insecure',
};

type Request = Parameters<Parameters<typeof unauthenticatedIq>[3]>[0];

/** XEP-0445 §2. */
function uriOf(domain: string, { by, name, registers, connects }: Invite, token: string): string {
  if (by !== undefined && connects && name === undefined)
    return `xmpp:${escaped(by)}?roster;preauth=${token}${registers ? ';ibr=y' : ''}`;
  return `xmpp:${name === undefined ? domain : escaped(`${name}@${domain}`)}?register;preauth=${token}`;
}
