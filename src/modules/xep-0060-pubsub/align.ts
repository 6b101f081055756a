import { followersOf, isAttachments, shared } from './managed.js';
import type { Holder, Node } from './node.js';
import { differing } from './node-config.js';
import type { PubSub } from './pubsub.js';
import { dropBarred } from './subscriptions.js';

/** Copies the access rules of a node to its followers, so that the same readers have access (XEP-0470 §4.3, §4.6). */
export async function align(pubsub: PubSub, holder: Holder, node: Node): Promise<void> {
  const { holders } = pubsub;
  for (const follower of followersOf(holder, node)) {
    if (holder.nodes.get(follower.name) !== follower) continue; // removed meanwhile
    const changed = isAttachments(follower.name)
      ? { ...shared(node), 'pubsub#publish_model': node.config['pubsub#publish_model'] }
      : shared(node);
    const config = differing({ ...follower.config, ...changed }, holder.defaults);
    const { affiliations } = node.stored;
    await holders.commit(holder, holders.change(holder, follower, { config, affiliations }));
    await dropBarred(pubsub, holder, follower);
  }
}
