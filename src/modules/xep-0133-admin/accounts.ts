/** XEP-0133 §4.1 to §4.10: commands for single accounts. */
import { z } from 'zod';
import { accountRefusal } from '../../server/account-refusal.js';
import { Jid } from '../../server/address/jid.js';
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
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import { asking } from './asking.js';

/** Maximum accounts in one form. */
const mostAtOnce = 100;

/** Asked at an account's home: its statistics and connections. */
const statistics = defineQuestion({
  name: 'admin.statistics',
  given: z.null(),
  answer: z.object({ addresses: z.array(z.string()), contacts: z.number(), resources: z.array(z.string()) }),
});

/** Asked at an account's home: its contacts as its clients see them, by bare address. */
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

/** Asked at an account's home: ends all its sessions, or that of a resource. */
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

  /** Throws StanzaError if one of them is not an account of this host. */
  const known = async (jids: readonly Jid[]): Promise<readonly Jid[]> => {
    if (jids.length > mostAtOnce) throw new StanzaError('not-acceptable', `At most ${mostAtOnce} accounts at once.`);
    for (const jid of jids)
      if (!isOurs(jid) || !(await host.accounts.exists(jid.bare)))
        throw new StanzaError('not-acceptable', `${jid.bare} is not an account of this host.`);
    return jids;
  };

  /** Applies a change to each account. Refuses if the administrator is one of them, to prevent a lockout. */
  const toOthers = async (jids: readonly Jid[], { from }: IqRequest, change: (bare: string) => Promise<unknown>) => {
    if (jids.some((jid) => jid.sameBare(from)))
      throw new StanzaError('not-allowed', 'You cannot do this to your own account. Ask another administrator.');
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
      const reason = new StreamError('policy-violation', 'An administrator ended the session.');
      const isMeant = ({ jid }: Session) => resource === undefined || jid.resource === resource;
      for (const session of host.sessions(owner.bare).filter(isMeant)) host.end(session, reason);
      return null;
    }),
  ];

  const commands = [
    asking({
      node: 'add-user',
      name: 'Add a user',
      instructions: 'Creates an account.',
      fields: {
        accountjid,
        password: { type: 'text-private', label: 'The password', required: true },
        'password-verify': { type: 'text-private', label: 'The password again', required: true },
      },
      run: async (given) => {
        if (given.password !== given['password-verify'])
          throw new StanzaError('not-acceptable', 'The passwords differ. Enter the same password twice.');
        if (!isOurs(given.accountjid))
          throw new StanzaError('not-acceptable', `The address must be at ${host.domain}.`);
        await host.accounts.create(given.accountjid.toBare(), given.password).catch(rethrow);
      },
    }),
    asking({
      node: 'delete-user',
      name: 'Delete users',
      instructions: 'Deletes accounts and all their data.',
      fields: { accountjids },
      run: (given, request) => toOthers(given.accountjids, request, (bare) => host.accounts.remove(bare)),
    }),
    asking({
      node: 'disable-user',
      name: 'Disable users',
      instructions: 'Prevents accounts from logging in. Their data is retained.',
      fields: { accountjids },
      run: (given, request) => toOthers(given.accountjids, request, (bare) => host.accounts.disable(bare)),
    }),
    asking({
      node: 'reenable-user',
      name: 'Enable users',
      instructions: 'Lets disabled accounts log in again.',
      fields: { accountjids },
      run: (given, request) => toOthers(given.accountjids, request, (bare) => host.accounts.enable(bare)),
    }),
    asking({
      node: 'end-user-session',
      name: 'End sessions of users',
      instructions: 'Ends all sessions of an account, or the session of a full address.',
      fields: { accountjids },
      run: async (given) => {
        for (const jid of await known(given.accountjids))
          await host.askHome(ending, jid.toBare(), { resource: jid.resource });
      },
    }),
    asking({
      node: 'change-user-password',
      name: 'Change the password of a user',
      instructions: 'Existing sessions continue.',
      fields: { accountjid, password: { type: 'text-private', label: 'The new password', required: true } },
      run: async (given) => {
        await known([given.accountjid]);
        await host.accounts.setPassword(given.accountjid.bare, given.password).catch(rethrow);
      },
    }),
    asking({
      node: 'get-user-roster',
      name: 'Get the contact list of a user',
      instructions: 'Shows the contacts of accounts, as their clients see them.',
      fields: { accountjids },
      run: async (given) => {
        const payload: Element[] = [];
        for (const jid of await known(given.accountjids)) {
          const element = about(jid.bare);
          element.cnode(rosterOf(await host.askHome(contacts, jid.toBare(), null)));
          payload.push(element);
        }
        return { payload };
      },
    }),
    asking({
      node: 'get-user-lastlogin',
      name: 'Get the time of the last login of a user',
      instructions: 'Shows when accounts last logged in.',
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
      instructions: 'Shows statistics and connections of accounts. Fill in one of the fields.',
      // The specification shows the first field; some clients send the second.
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
