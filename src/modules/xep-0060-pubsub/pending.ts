/** §8.7: an ad-hoc command (XEP-0050) for owners to request their pending subscriptions. */
import type { Command, Target } from '../../server/module/index.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { affiliationOf } from './access.js';
import { forbidden, noSuchNode } from './errors.js';
import type { PubSub } from './pubsub.js';
import { askAgain, pendingNodes } from './subscriptions.js';

const formType = `${NS.pubsub}#subscribe_authorization`;
const answerForm = defineForm(formType, {
  'pubsub#node': { type: 'list-single', options: [] as string[], open: true, required: true },
});

export const pendingCommand = (pubsub: PubSub, target: Target): Command => ({
  node: `${NS.pubsub}#get-pending`,
  name: 'Pending subscription requests',
  target,
  access: target === 'account' ? 'owner' : 'anyone',
  run: async ({ request: { from, to }, form, state }) => {
    const holder = await pubsub.holders.get(to.bare);
    if (state === undefined) {
      const owns = [...holder.nodes.values()].some((node) => affiliationOf(holder, node, from.bare) === 'owner');
      if (!owns) throw new StanzaError('forbidden', undefined, { type: 'cancel' }); // §8.7.3.3
      const nodes = pendingNodes(holder, from.bare);
      const choice = defineForm(formType, {
        'pubsub#node': { type: 'list-single', label: 'Node', options: nodes, required: true },
      });
      return { status: 'executing', state: true, payload: [choice.form()] };
    }
    const name = answerForm.read(form)?.['pubsub#node'];
    const node = name === undefined ? undefined : holder.nodes.get(name);
    if (node === undefined) throw noSuchNode(); // §8.7.3.4
    if (affiliationOf(holder, node, from.bare) !== 'owner') throw forbidden();
    // After the answer
    setImmediate(() => askAgain(pubsub, holder, node, from.toBare()));
    return { status: 'completed' };
  },
});
