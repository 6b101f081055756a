/**
 * XEP-0133 §4.23 to §4.28: announcements: sent now, once per account at its next login (message of the day), and to
 * each new account (welcome message). Headlines, so that they are not stored offline.
 */
import { z } from 'zod';
import type { Jid } from '../../server/address/jid.js';
import { answers, type Command, defineQuestion, event, type Hook, type Host } from '../../server/module/index.js';
import { stanzaId } from '../../server/stanza/ids.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import type { DocumentStore } from '../../storage/contract.js';
import { answering, asking } from './asking.js';

/** The texts of the host. An edited message of the day keeps its id, so that nobody gets it twice (§4.25). */
export interface Greetings {
  readonly motd?: { readonly id: string; readonly text: string };
  readonly welcome?: string;
}

export const storedGreetings = z.object({
  motd: z.object({ id: z.string(), text: z.string() }).exactOptional(),
  welcome: z.string().exactOptional(),
});

/** Sent to every node: sends the announcement to its online accounts. */
const announced = defineQuestion({
  name: 'admin.announce',
  given: z.object({ text: z.string() }),
  answer: z.null(),
});

/** Sent to every node: the greetings have changed. */
const changed = defineQuestion({
  name: 'admin.greetings',
  given: z.object({ next: storedGreetings, isSent: z.boolean() }),
  answer: z.null(),
});

/** Of an account: the message of the day it got last, and whether the welcome message is pending. */
export interface Greeted {
  readonly motd?: string;
  readonly isNew?: boolean;
}

export interface GreetingStores {
  readonly greetings: DocumentStore<Greetings>;
  readonly greeted: DocumentStore<Greeted>;
}

/** Accounts greeted before yielding to other work. */
const batch = 100;

export async function announcements(
  host: Host,
  { greetings, greeted }: GreetingStores,
): Promise<{ commands: Command[]; hooks: Hook[]; announce(text: string): Promise<void> }> {
  let current = (await greetings.get(host.domain)) ?? {};

  /** `isSent`: send the message of the day to online accounts now. */
  const change = async (next: Greetings, isSent = false) => {
    await greetings.set(host.domain, next);
    await host.askNodes(changed, { next, isSent });
  };

  const say = (to: Jid, subject: string, text: string) =>
    host.route(
      Stanza.build(
        'message',
        { from: host.jid, to, type: 'headline' },
        el('subject', null, subject),
        el('body', null, text),
      ),
    );

  /** Runs `act` for every online account whose home is this node, in batches so that other work can run. */
  const toAll = async (act: (account: Jid) => Promise<void>) => {
    const accounts = new Map<string, Jid>();
    for (const { jid } of host.allSessions()) accounts.set(jid.bare, jid.toBare());
    const all = [...accounts.values()];
    for (let at = 0; at < all.length; at += batch) {
      await Promise.all(all.slice(at, at + batch).map(act));
      await new Promise(setImmediate);
    }
  };

  const announce = async (text: string): Promise<void> => {
    await host.askNodes(announced, { text });
  };

  /** Sends the greetings that the account has not had yet. */
  const greet = async (to: Jid): Promise<void> => {
    const { motd, welcome } = current;
    if (motd === undefined && welcome === undefined) return;
    const before = (await greeted.get(to.bare)) ?? {};
    const isWelcome = before.isNew === true && welcome !== undefined;
    const isDue = motd !== undefined && before.motd !== motd.id;
    if (!isWelcome && !isDue) return;
    if (isWelcome) await say(to, 'Welcome', welcome);
    if (isDue) await say(to, 'Message of the day', motd.text);
    const motdSent = isDue ? motd.id : before.motd;
    await greeted.set(to.bare, motdSent === undefined ? {} : { motd: motdSent });
  };

  const text = (label: string) => ({ type: 'text-multi', label, required: true }) as const;
  const lines = (written: string | undefined) => (written === undefined ? undefined : written.split('\n'));

  const setMotd = async (id: string, written: readonly string[]) => {
    await change({ ...current, motd: { id, text: written.join('\n') } }, true);
  };

  const commands = [
    asking({
      node: 'announce',
      name: 'Send an announcement to online users',
      instructions: 'Sends a message to all online users.',
      fields: { announcement: text('Announcement') },
      run: (given) => announce(given.announcement.join('\n')),
    }),
    asking({
      node: 'set-motd',
      name: 'Set the message of the day',
      instructions: 'Sends the message to each user once, now or at their next login.',
      fields: { motd: text('Message of the day') },
      run: (given) => setMotd(stanzaId(host.domain), given.motd),
    }),
    asking({
      node: 'edit-motd',
      name: 'Edit the message of the day',
      instructions: 'Users who already got the message do not get it again.',
      fields: { motd: text('Message of the day') },
      values: () => ({ motd: lines(current.motd?.text) }),
      run: (given) => setMotd(current.motd?.id ?? stanzaId(host.domain), given.motd),
    }),
    answering('delete-motd', 'Delete the message of the day', async () => {
      const { motd: _, ...rest } = current;
      await change(rest);
    }),
    asking({
      node: 'set-welcome',
      name: 'Set the welcome message',
      instructions: 'Sends the message to new users at their first login.',
      fields: { welcome: text('Welcome message') },
      values: () => ({ welcome: lines(current.welcome) }),
      run: (given) => change({ ...current, welcome: given.welcome.join('\n') }),
    }),
    answering('delete-welcome', 'Delete the welcome message', async () => {
      const { welcome: _, ...rest } = current;
      await change(rest);
    }),
  ];

  return {
    commands,
    announce,
    hooks: [
      event('available', ({ session }) => greet(session.jid)),
      answers(announced, async ({ text }) => {
        await toAll(async (account) => say(account, 'Announcement', text));
        return null;
      }),
      answers(changed, async ({ next, isSent }) => {
        current = next;
        if (isSent) await toAll(greet);
        return null;
      }),
      event('accountCreated', ({ jid }) =>
        current.welcome === undefined ? undefined : greeted.set(jid.bare, { isNew: true }),
      ),
    ],
  };
}
