/**
 * XEP-0163 §4.3.2, XEP-0060 §12.1: the last items that a session gets when it turns up: of its own account, of its
 * contacts, each once for every interest that it says it has.
 */
import type { RosterItem } from '../../server/module.js';
import type { Session } from '../../server/routing/session.js';
import { Jid } from '../../server/stanza/jid.js';
import { barrier } from './access.js';
import type { Holder, Node, PubSub } from './node.js';
import { interest, tell, wants } from './notify.js';

const suffix = '+notify';

/** The names of nodes. */
const interestsIn = (features: ReadonlySet<string>): string[] =>
  [...features].flatMap((feature) => (feature.endsWith(suffix) ? [feature.slice(0, -suffix.length)] : []));

const sees = (item: RosterItem | undefined): boolean => item?.subscription === 'to' || item?.subscription === 'both';

/** `gained`: features of the session that are new. */
export async function greet(pubsub: PubSub, session: Session, gained: ReadonlySet<string>): Promise<void> {
  const { host, roster } = pubsub;
  const interests = interestsIn(gained);
  if (interests.length === 0) return;
  const { bare } = session.jid;
  await sendLast(pubsub, bare, session, interests, undefined);
  for (const [contact, item] of await roster.get(bare)) {
    if (session.presence === undefined) return; // gone meanwhile
    const jid = sees(item) ? Jid.parse(contact) : undefined;
    if (jid === undefined || jid.domain !== host.domain || jid.local === undefined) continue;
    const entry = (await roster.get(contact)).get(bare);
    if (entry?.subscription === 'from' || entry?.subscription === 'both')
      await sendLast(pubsub, contact, session, interests, entry);
  }
}

/**
 * A contact gets to see an account, or more of it (XEP-0163 §7, XEP-0060 §12.1): its sessions get what they would have
 * been told. `before`: the entry of the roster as it was.
 */
export async function introduce(
  pubsub: PubSub,
  owner: Jid,
  contact: Jid,
  entry: RosterItem,
  before: RosterItem | undefined,
): Promise<void> {
  for (const session of pubsub.host.sessions(contact.bare)) {
    if (session.presence === undefined) continue;
    const interests = interestsIn(pubsub.caps.features(session));
    if (interests.length > 0) await sendLast(pubsub, owner.bare, session, interests, entry, before);
  }
}

/** XEP-0060 §12.1: contacts that a changed access model lets in get the last item. `before`: the node as it was. */
export async function reveal(pubsub: PubSub, holder: Holder, node: Node, before: Node): Promise<void> {
  if (!holder.isAccount) return;
  for (const [contact, entry] of await pubsub.roster.get(holder.jid.bare)) {
    if (entry.subscription !== 'from' && entry.subscription !== 'both') continue;
    if (barrier(holder, before, contact, entry) === undefined) continue;
    for (const session of pubsub.host.sessions(contact))
      if (wants(pubsub, session, interest(node.name)))
        await sendLast(pubsub, holder.jid.bare, session, [node.name], entry);
  }
}

/** What one account has for a session. `entry`: of its roster, for the session's account. */
async function sendLast(
  pubsub: PubSub,
  bare: string,
  session: Session,
  interests: readonly string[],
  entry: RosterItem | undefined,
  before?: RosterItem,
): Promise<void> {
  const wasContact = before?.subscription === 'from' || before?.subscription === 'both';
  const known = pubsub.holders.get(bare);
  const holder: Holder = known instanceof Promise ? await known : known;
  if (holder.nodes.size === 0) return;
  for (const name of interests) {
    const node = holder.nodes.get(name);
    if (node?.config['pubsub#send_last_published_item'] !== 'on_sub_and_presence') continue;
    if (!node.config['pubsub#deliver_notifications'] || !node.config['pubsub#persist_items']) continue;
    if (barrier(holder, node, session.jid.bare, entry) !== undefined) continue;
    if (wasContact && barrier(holder, node, session.jid.bare, before) === undefined) continue;
    const found = pubsub.holders.last(holder, node);
    const last = found instanceof Promise ? await found : found;
    if (last === undefined || !wants(pubsub, session, interest(name))) continue;
    if (bare === session.jid.bare) session.send(last.with({ to: session.jid }));
    else pubsub.aside(tell(pubsub, last.with({ to: session.jid })));
  }
}
