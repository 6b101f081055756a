/** `[modules.pubsub]`. */
import { z } from 'zod';
import { bytes, count } from '../../server/config/units.js';

export const settings = z.strictObject({
  subdomain: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/)
    .default('pubsub')
    .describe('The service is at this name below the host.'),
  create: z
    .enum(['users', 'admins'])
    .default('users')
    .describe('Who may make nodes at the service: users of the host, or its administrators alone.'),
  service_nodes: count({ min: 10 }).default(10_000).describe('Nodes of the service.'),
  service_nodes_per_user: count({ min: 1 }).default(100).describe('Nodes of the service that one user can make.'),
  nodes_per_account: count({ min: 10 }).default(500).describe('Nodes that one account can have (XEP-0163).'),
  changes_per_minute: count({ min: 1, unlimited: true })
    .default(600)
    .describe('Changes, such as publishing or subscribing, that one user can make in a minute.'),
  creations_per_hour: count({ min: 1, unlimited: true })
    .default(1000)
    .describe(
      'Nodes that one user can ask to be made in an hour; those that come with an item count as changes alone.',
    ),
  items_per_node: count({ min: 1 })
    .default(2000)
    .describe("Items that one node keeps at most: what the word 'max' stands for in a node's configuration."),
  items_per_account: count({ min: 10 }).default(5000).describe('Items of all nodes of one account together.'),
  item_bytes: bytes({ min: 1000 }).default(262_144).describe('Largest payload of an item.'),
  bytes_per_account: bytes({ min: 10_000, unlimited: true })
    .default(52_428_800)
    .describe('Payloads of all items of one account together.'),
  service_bytes: bytes({ min: 10_000, unlimited: true })
    .default(2_147_483_648)
    .describe('Payloads of all items of the service together. One publisher may use a quarter of what is free.'),
  subscriptions_per_node: count({ min: 1 }).default(5000).describe('Subscriptions to one node.'),
  subscriptions_per_user: count({ min: 1 })
    .default(1000)
    .describe('Subscriptions of one user at the service, or at one account.'),
  pending_per_node: count({ min: 1 })
    .default(100)
    .describe('Subscriptions to one node that wait for the word of an owner.'),
  affiliations_per_node: count({ min: 1 }).default(1000).describe('Affiliations with one node.'),
  cached: count({ min: 10 }).default(20_000).describe('Accounts whose nodes are kept in memory, without their items.'),
});

export type Settings = z.output<typeof settings>;
