/** What ends with presence (§6.3, §12.4, §12.5, `pubsub#purge_offline`). */

import { z } from 'zod';
import { defineQuestion } from '../../server/module/index.js';
import type { Jid } from '../../server/stanza/jid.js';
import { retractEvent } from './events.js';
import { notify } from './notify.js';
import type { PubSub } from './pubsub.js';
import { drop } from './subscriptions.js';

/** At every node: a client of this host has gone. */
export const left = defineQuestion({
  name: 'pubsub.left',
  given: z.object({ jid: z.string(), isLast: z.boolean() }),
  answer: z.null(),
});

/** Somebody goes offline at this address: what was to last so long is over. `isLast`: there is no other client. */
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

/** `pubsub#purge_offline`: what this address has published to such nodes of an account or the service goes. */
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
        await holders.written(holder, holders.removeItems(holder, node, items!, ids));
        if (node.config['pubsub#notify_retract'])
          notify(pubsub, holder, node, retractEvent(holder, node, ids), { by: publisher });
      },
    );
}
