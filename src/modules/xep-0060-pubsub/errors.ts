/** XEP-0060's error conditions, with the stanza errors that carry them. */
import { StanzaError, type StanzaErrorCondition } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { el } from '../../server/xml/element.js';

type Condition =
  | 'closed-node'
  | 'invalid-jid'
  | 'invalid-options'
  | 'invalid-payload'
  | 'invalid-subid'
  | 'item-forbidden'
  | 'item-required'
  | 'jid-required'
  | 'max-items-exceeded'
  | 'max-nodes-exceeded'
  | 'node-full'
  | 'nodeid-required'
  | 'not-in-roster-group'
  | 'not-subscribed'
  | 'payload-required'
  | 'payload-too-big'
  | 'pending-subscription'
  | 'precondition-not-met'
  | 'presence-subscription-required'
  | 'subid-required'
  | 'too-many-subscriptions'
  | 'unsupported-access-model';

const withExtra = (condition: StanzaErrorCondition, name: string, text?: string, feature?: string): StanzaError =>
  new StanzaError(condition, text, {
    // XEP-0060 uses other types than RFC 6120 for some conditions
    ...(condition === 'feature-not-implemented' ? { type: 'cancel' } : {}),
    ...(name === 'too-many-subscriptions' ? { type: 'wait' } : {}),
    extra: [el(name, { xmlns: NS.pubsubErrors, feature })],
  });

export const pubsubError = (condition: StanzaErrorCondition, name: Condition, text?: string): StanzaError =>
  withExtra(condition, name, text);

/** The node or the service does not support this feature of §10, named without its prefix. */
export const unsupported = (feature: string): StanzaError =>
  withExtra('feature-not-implemented', 'unsupported', undefined, feature);

export const noSuchNode = (): StanzaError => new StanzaError('item-not-found');
/** §6.1.3.11: the node was deleted and has a new address. */
export const moved = (uri: string): StanzaError => new StanzaError('gone', undefined, { uri });
export const forbidden = (): StanzaError => new StanzaError('forbidden');
