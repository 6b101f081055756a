/** Subscriptions and items that end when a client becomes unavailable (§6.3, §12.4, §12.5, `pubsub#purge_offline`). */

import { z } from 'zod';
import type { Jid } from '../../server/address/jid.js';
import { defineQuestion } from '../../server/module/index.js';
import { retractEvent } from './events.js';
import { notify } from './notify.js';
import type { PubSub } from './pubsub.js';
import { drop } from './subscriptions.js';

/** Asked at every node: a local client has become unavailable. */
export const clientLeft = defineQuestion({
  name: 'pubsub.clientLeft',
  given: z.object({ jid: z.string(), isLast: z.boolean() }),
  answer: z.null(),
});

/** Ends the temporary subscriptions of an unavailable client. `isLast` tells that the account has no other client. */
export async function leaves(pubsub: PubSub, jid: Jid, isLast: boolean): Promise<void> {
  const { holders } = pubsub;
  for (const address of isLast && jid.resource !== undefined ? [jid.full, jid.bare] : [jid.full])
    for (const { bare, node, key } of holders.ending(address))
      await holders.inTurn(
        bare,
        node,
        () => undefined,
        ({ holder, node: found }) =>
          found === undefined ? undefined : drop(pubsub, holder, found, found.subscriptions.get(key)),
      );
}

/** `pubsub#purge_offline`: removes the publisher's items from such nodes of an account or the service. */
export async function purgeOf(pubsub: PubSub, bare: string, publisher: string): Promise<void> {
  const { holders } = pubsub;
  const { fleeting } = await holders.get(bare);
  for (const { name } of [...fleeting])
    await holders.inTurn(
      bare,
      name,
      () => undefined,
      async ({ holder, node, items }) => {
        if (node?.config['pubsub#purge_offline'] !== true) return;
        const ids = [...items!.index].flatMap(([id, { by }]) => (by === publisher ? id : []));
        if (ids.length === 0) return;
        await holders.commit(holder, holders.removeItems(holder, node, items!, ids));
        if (node.config['pubsub#notify_retract'])
          notify(pubsub, holder, node, retractEvent(holder, node, ids), { by: publisher });
      },
    );
}
