/** Schemas of the stored records of nodes. */
import { z } from 'zod';
import { alike, bareJid, elementXml, jid, whole } from '../../server/stanza/stored.js';
import { separator } from './holders.js';
import { affiliations, type StoredItem, type StoredNode, type Subscription, shows } from './node.js';
import { accessModels, defaults, type NodeConfig } from './node-config.js';
import { settings } from './settings.js';

const config = alike<NodeConfig>(defaults(true, settings.parse({})));

export const storedNode: z.ZodType<StoredNode> = z.object({
  v: z.literal(1),
  config: config.refine(
    ({ 'pubsub#access_model': model }) => model === undefined || accessModels.some((known) => known === model),
  ),
  creator: bareJid,
  created: whole,
  affiliations: z.record(z.string(), z.enum(affiliations)),
  declined: z.array(bareJid).exactOptional(),
  movedTo: z.string().exactOptional(),
});

/**
 * Replaces a node whose record is damaged. Its items may have been restricted, so only the account itself, or
 * administrators of the service, have access until an owner configures or deletes it.
 */
export const closedNode = (owner: string): StoredNode => ({
  v: 1,
  config: { 'pubsub#access_model': 'whitelist' },
  creator: owner,
  created: 0,
  affiliations: {},
});

export const storedItem: z.ZodType<StoredItem> = z.object({
  at: z.string(),
  by: bareJid,
  xml: z.union([z.literal(''), elementXml]),
  created: z.string().exactOptional(),
});

export const storedSubscription: z.ZodType<Subscription> = z.object({
  state: z.enum(['subscribed', 'pending']),
  deliver: z.literal(false).exactOptional(),
  expires: z.union([z.number(), z.literal('presence')]).exactOptional(),
  body: z.literal(true).exactOptional(),
  by: bareJid.exactOptional(),
  shows: z.array(z.enum(shows)).exactOptional(),
  public: z.literal(true).exactOptional(),
  type: z.enum(['items', 'nodes', 'all']).exactOptional(),
  depth: z.union([z.number(), z.literal('all')]).exactOptional(),
});

/** The node, the subscribed address, and the subid unless it is the first. */
export const subscriptionKey = z.string().refine((key) => {
  const parts = key.split(separator);
  return (parts.length === 2 || parts.length === 3) && jid.safeParse(parts[1]).success;
});
