/** `[modules.pubsub]`. */
import { z } from 'zod';
import { bytes, count } from '../../server/config/units.js';

export const settings = z.strictObject({
  subdomain: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/)
    .default('pubsub')
    .describe('The service is at SUBDOMAIN.HOST.'),
  create: z
    .enum(['users', 'admins'])
    .default('users')
    .describe('Who may create nodes at the service: users of the host, or only its administrators.'),
  service_nodes: count({ min: 10 }).default(10_000).describe('Maximum number of nodes at the service.'),
  service_nodes_per_user: count({ min: 1 })
    .default(100)
    .describe('Maximum number of nodes at the service created by one user.'),
  nodes_per_account: count({ min: 10 }).default(500).describe('Maximum number of nodes of one account (XEP-0163).'),
  changes_per_minute: count({ min: 1, unlimited: true })
    .default(600)
    .describe('Changes per minute, such as publishing or subscribing, by one user.'),
  creations_per_hour: count({ min: 1, unlimited: true })
    .default(1000)
    .describe('Nodes that one user can create per hour. Nodes created by publishing an item count only as changes.'),
  items_per_node: count({ min: 1 })
    .default(2000)
    .describe("Maximum number of items in one node; the meaning of 'max' in a node's configuration."),
  items_per_account: count({ min: 10 }).default(5000).describe('Maximum number of items in all nodes of one account.'),
  item_bytes: bytes({ min: 1000 }).default(262_144).describe('Maximum size of the payload of an item.'),
  bytes_per_account: bytes({ min: 10_000, unlimited: true })
    .default(52_428_800)
    .describe('Maximum total size of the payloads of one account.'),
  service_bytes: bytes({ min: 10_000, unlimited: true })
    .default(2_147_483_648)
    .describe('Maximum total size of the payloads at the service. One publisher may use a quarter of the free space.'),
  subscriptions_per_node: count({ min: 1 }).default(5000).describe('Maximum number of subscriptions to one node.'),
  subscriptions_per_user: count({ min: 1 })
    .default(1000)
    .describe('Maximum number of subscriptions of one user at the service, or at one account.'),
  pending_per_node: count({ min: 1 })
    .default(100)
    .describe('Maximum number of subscriptions to one node pending approval by an owner.'),
  affiliations_per_node: count({ min: 1 }).default(1000).describe('Maximum number of affiliations of one node.'),
  cached: count({ min: 10 })
    .default(20_000)
    .describe('Maximum number of accounts whose nodes are cached in memory, without their items.'),
});

export type Settings = z.output<typeof settings>;
