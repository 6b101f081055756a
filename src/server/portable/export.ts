/** Writes accounts in the format of XEP-0227: page by page, so that an archive of any size needs little memory. */
import type { Accounts } from '../accounts/index.js';
import { Jid } from '../address/jid.js';
import type { LocalHost } from '../routing/host.js';
import { NS } from '../stanza/ns.js';
import { escapeAttribute, serialize } from '../xml/element.js';
import { accountElement, keyElements } from './account.js';
import { persisting } from './home.js';

/** Accounts per read. */
const page = 100;

export const exportHead = `<?xml version="1.0" encoding="UTF-8"?>\n<server-data xmlns="${NS.pie}">\n`;
export const exportEnd = '</server-data>\n';

/** The `<user/>` of an account, in pieces. `keys`: with what its user logs in by; yields nothing if there is no such account. */
export async function* exportOf(
  host: LocalHost,
  owner: Jid,
  { keys }: { readonly keys: boolean },
): AsyncGenerator<string> {
  const found = await host.accounts.stored(owner.bare);
  if (found === undefined) return;
  await host.askHome(persisting, owner, null);
  yield `<user xmlns="${NS.pie}" name="${escapeAttribute(owner.local ?? '')}">`;
  yield serialize(accountElement(found.account));
  if (keys) for (const element of keyElements(found.keys)) yield serialize(element);
  for (const portable of host.hooks.portables.values()) yield* portable.export(owner);
  yield '</user>\n';
}

/** The `<host/>` with these accounts, or with all of them. `count` is called for each account. */
export async function* exportHost(
  host: LocalHost,
  only: readonly Jid[] | undefined,
  count: (account: { readonly isComplete: boolean; readonly bare: string }) => void,
): AsyncGenerator<string> {
  yield `<host xmlns="${NS.pie}" jid="${escapeAttribute(host.domain)}">\n`;
  for await (const { bare, importing } of only === undefined
    ? all(host.accounts, host.domain)
    : named(host.accounts, only)) {
    yield* exportOf(host, Jid.parse(bare), { keys: true });
    count({ bare, isComplete: !importing });
  }
  yield '</host>\n';
}

async function* all(accounts: Accounts, domain: string) {
  for (let after: string | undefined; ; ) {
    const { accounts: found, next } = await accounts.list(domain, { after, limit: page });
    yield* found;
    if (next === undefined) return;
    after = next;
  }
}

async function* named(accounts: Accounts, only: readonly Jid[]) {
  for (const { bare } of only) {
    const account = await accounts.get(bare);
    if (account !== undefined) yield account;
  }
}
