import type { Host, Services } from '../../server/module/index.js';
import type { Guests } from './guests.js';
import type { Holders } from './holders.js';
import type { Holder, Node, Stores, Subscriber } from './node.js';
import type { Settings } from './settings.js';
import type { WellKnownNode } from './well-known.js';

/** The state shared by all files of this folder. */
export interface PubSub {
  readonly host: Host;
  readonly settings: Settings;
  readonly stores: Stores;
  readonly roster: Services['roster'];
  readonly caps: Services['clientCaps'];
  readonly holders: Holders;
  /** Nodes of accounts registered by other modules, by name. */
  readonly wellKnown: Map<string, WellKnownNode>;
  /** Presence at the service. */
  readonly guests: Guests;
  /** Attachment summaries being computed; serialized by node. */
  readonly summaries: Map<string, Promise<void>>;
  /** Ends an expired subscription without notifying the subscriber. */
  end(holder: Holder, node: Node, subscriber: Subscriber): Promise<void>;
  /** For work that nobody awaits: logs its error. */
  aside(work: unknown): void;
}
