import type { Host, Services } from '../../server/module/index.js';
import type { Guests } from './guests.js';
import type { Holders } from './holders.js';
import type { Holder, Node, Stores, Subscriber } from './node.js';
import type { Settings } from './settings.js';
import type { WellKnownNode } from './well-known.js';

/** What all files of this folder work with. */
export interface PubSub {
  readonly host: Host;
  readonly settings: Settings;
  readonly stores: Stores;
  readonly roster: Services['roster'];
  readonly caps: Services['clientCaps'];
  readonly holders: Holders;
  /** Nodes of accounts that modules know more of, by their names. */
  readonly wellKnown: Map<string, WellKnownNode>;
  /** Who is present at the service. */
  readonly guests: Guests;
  /** Summaries of attachments that are being made, so that one comes after the other. */
  readonly summaries: Map<string, Promise<void>>;
  /** Ends a subscription without a word to the subscriber, where it is found to be over. */
  end(holder: Holder, node: Node, subscriber: Subscriber): Promise<void>;
  /** For what nobody waits for: logs what became of it if it fails. */
  aside(work: unknown): void;
}
