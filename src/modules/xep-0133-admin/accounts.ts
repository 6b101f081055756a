/** XEP-0133 §4.1 to §4.10: what concerns single accounts. */
import { z } from 'zod';
import { accountRefusal } from '../../server/account-refusal.js';
import {
  answers,
  type Command,
  defineQuestion,
  type Hook,
  type Host,
  type IqRequest,
  type Services,
} from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { StanzaError, StreamError } from '../../server/stanza/errors.js';
import { type Field, form } from '../../server/stanza/forms.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import { asking } from './asking.js';

/** Accounts that one form may name. */
const mostAtOnce = 100;

/** At an account: what it has, and where it is connected. */
const statistics = defineQuestion({
  name: 'admin.statistics',
  given: z.null(),
  answer: z.object({ addresses: z.array(z.string()), contacts: z.number(), resources: z.array(z.string()) }),
});

/** At an account: its contacts as its clients see them, by bare address. */
const contacts = defineQuestion({
  name: 'admin.contacts',
  given: z.null(),
  answer: z.array(
    z.tuple([
      z.string(),
      z.object({
        name: z.string().optional(),
        groups: z.array(z.string()).readonly(),
        subscription: z.enum(['none', 'to', 'from', 'both']),
        ask: z.boolean().optional(),
      }),
    ]),
  ),
});
type Contacts = z.output<typeof contacts.answer>;

/** At an account: its sessions end, or the one of a resource. */
const ending = defineQuestion({
  name: 'admin.end_sessions',
  given: z.object({ resource: z.string().optional() }),
  answer: z.null(),
});

export function accountCommands(
  host: Host,
  roster: Services['roster'],
): { readonly commands: Command[]; readonly hooks: Hook[] } {
  const accountjid = { type: 'jid-single', label: 'The address of the account', required: true } as const;
  const accountjids = { type: 'jid-multi', label: 'The addresses of the accounts', required: true } as const;

  const isOurs = (jid: Jid) => jid.local !== undefined && jid.domain === host.domain;

  /** Throws StanzaError where one of them is no account of this host. */
  const known = async (jids: readonly Jid[]): Promise<readonly Jid[]> => {
    if (jids.length > mostAtOnce) throw new StanzaError('not-acceptable', `At most ${mostAtOnce} at once.`);
    for (const jid of jids)
      if (!isOurs(jid) || !(await host.accounts.exists(jid.bare)))
        throw new StanzaError('not-acceptable', `${jid.bare} is no account here.`);
    return jids;
  };

  /** Does it to each; refuses where the asker is among them, who would lock himself out. */
  const toOthers = async (jids: readonly Jid[], { from }: IqRequest, change: (bare: string) => Promise<unknown>) => {
    if (jids.some((jid) => jid.sameBare(from)))
      throw new StanzaError('not-allowed', 'Somebody else has to do that to your account.');
    for (const { bare } of await known(jids)) await change(bare).catch(rethrow);
  };

  const statisticsOf = async (bare: string): Promise<Element> => {
    const { addresses, contacts: size, resources } = await host.askHome(statistics, Jid.parse(bare), null);
    return about(
      bare,
      { var: 'ipaddresses', type: 'text-multi', value: addresses },
      { var: 'rostersize', type: 'text-single', value: size },
      { var: 'onlineresources', type: 'text-multi', value: resources },
    );
  };

  const shownTo = async (owner: Jid): Promise<Contacts> =>
    [...(await roster.get(owner.bare))].filter(([, { hidden }]) => !hidden);

  const hooks = [
    answers(statistics, async (_, owner) => {
      const size = (await shownTo(owner)).length;
      const sessions = host.sessions(owner.bare);
      return {
        addresses: sessions.flatMap(({ connection }) => connection?.remoteAddress ?? []),
        contacts: size,
        resources: sessions.map(({ jid }) => jid.resource ?? ''),
      };
    }),
    answers(contacts, (_, owner) => shownTo(owner)),
    answers(ending, ({ resource }, owner) => {
      const reason = new StreamError('policy-violation', 'The session was ended by an administrator.');
      const isMeant = ({ jid }: Session) => resource === undefined || jid.resource === resource;
      for (const session of host.sessions(owner.bare).filter(isMeant)) host.end(session, reason);
      return null;
    }),
  ];

  const commands = [
    asking({
      node: 'add-user',
      name: 'Add a user',
      instructions: 'Make an account.',
      fields: {
        accountjid,
        password: { type: 'text-private', label: 'The password', required: true },
        'password-verify': { type: 'text-private', label: 'The password again', required: true },
      },
      run: async (given) => {
        if (given.password !== given['password-verify'])
          throw new StanzaError('not-acceptable', 'The passwords are not the same.');
        if (!isOurs(given.accountjid)) throw new StanzaError('not-acceptable', `Not an address of ${host.domain}.`);
        await host.accounts.create(given.accountjid.toBare(), given.password).catch(rethrow);
      },
    }),
    asking({
      node: 'delete-user',
      name: 'Delete users',
      instructions: 'Remove accounts and everything that is kept for them.',
      fields: { accountjids },
      run: (given, request) => toOthers(given.accountjids, request, (bare) => host.accounts.remove(bare)),
    }),
    asking({
      node: 'disable-user',
      name: 'Disable users',
      instructions: 'Keep accounts from logging in. What is kept for them stays.',
      fields: { accountjids },
      run: (given, request) => toOthers(given.accountjids, request, (bare) => host.accounts.disable(bare)),
    }),
    asking({
      node: 'reenable-user',
      name: 'Enable users again',
      instructions: 'Let disabled accounts log in again.',
      fields: { accountjids },
      run: (given, request) => toOthers(given.accountjids, request, (bare) => host.accounts.enable(bare)),
    }),
    asking({
      node: 'end-user-session',
      name: 'End sessions of users',
      instructions: 'End all sessions of an account, or the one of a full address.',
      fields: { accountjids },
      run: async (given) => {
        for (const jid of await known(given.accountjids))
          await host.askHome(ending, jid.toBare(), { resource: jid.resource });
      },
    }),
    asking({
      node: 'change-user-password',
      name: 'Change the password of a user',
      instructions: 'The account keeps its sessions.',
      fields: { accountjid, password: { type: 'text-private', label: 'The new password', required: true } },
      run: async (given) => {
        await known([given.accountjid]);
        await host.accounts.setPassword(given.accountjid.bare, given.password).catch(rethrow);
      },
    }),
    asking({
      node: 'get-user-roster',
      name: 'Get the contact list of a user',
      instructions: 'The contacts of accounts, as their clients see them.',
      fields: { accountjids },
      run: async (given) => {
        const payload: Element[] = [];
        for (const jid of await known(given.accountjids)) {
          const told = about(jid.bare);
          told.cnode(rosterOf(await host.askHome(contacts, jid.toBare(), null)));
          payload.push(told);
        }
        return { payload };
      },
    }),
    asking({
      node: 'get-user-lastlogin',
      name: 'Get the time of the last login of a user',
      instructions: 'When accounts last logged in.',
      fields: { accountjids },
      run: async (given) => {
        const payload: Element[] = [];
        for (const { bare } of await known(given.accountjids)) {
          const at = await host.accounts.lastLogin(bare);
          const value = at === undefined ? [] : [formatDateTime(at)];
          payload.push(about(bare, { var: 'lastlogin', type: 'text-single', value }));
        }
        return { payload };
      },
    }),
    asking({
      node: 'user-stats',
      name: 'Get statistics of a user',
      instructions: 'What accounts have and where they are connected. Fill in one of the fields.',
      // The specification shows the first, and some clients send the second.
      fields: { accountjid: { ...accountjid, required: false }, accountjids: { ...accountjids, required: false } },
      run: async (given) => {
        const asked = [...(given.accountjid ? [given.accountjid] : []), ...(given.accountjids ?? [])];
        if (asked.length === 0) throw new StanzaError('not-acceptable', 'Fill in at least one address.');
        const named = new Set((await known(asked)).map(({ bare }) => bare));
        const payload: Element[] = [];
        for (const bare of named) payload.push(await statisticsOf(bare));
        return { payload };
      },
    }),
  ];
  return { commands, hooks };
}

const about = (bare: string, ...fields: readonly Field[]): Element =>
  form({
    type: 'result',
    formType: NS.admin,
    fields: [{ var: 'accountjids', type: 'jid-multi', value: [bare] }, ...fields],
  });

/** RFC 6121 §2.1.2. */
function rosterOf(items: Contacts): Element {
  return el(
    'query',
    { xmlns: NS.roster },
    ...items.map(([jid, { name, subscription, ask, groups }]) =>
      el(
        'item',
        { jid, name, subscription, ask: ask ? 'subscribe' : undefined },
        ...groups.map((group) => el('group', null, group)),
      ),
    ),
  );
}

function rethrow(error: unknown): never {
  throw accountRefusal(error);
}
