/** What the service is made of. */
import type { Logger } from 'pino';
import type { z } from 'zod';
import type { Host, Services } from '../../server/module/index.js';
import type { Rates } from '../../server/rates.js';
import type { Jid } from '../../server/stanza/jid.js';
import type { DocumentStore, MapStore } from '../../storage/contract.js';
import type { Archives } from '../xep-0313-mam/services.js';
import type { Member, StoredRoom } from './room.js';
import type { settings } from './settings.js';
import type { Left } from './subscribers.js';

export type Settings = z.output<typeof settings>;

export interface Stores {
  readonly muc_rooms: DocumentStore<StoredRoom>;
  readonly muc_members: MapStore<Member>;
  readonly muc_vcards: DocumentStore<string>;
  /** By user and room, bare addresses. */
  readonly muc_left: MapStore<Left>;
}

/** What every part of the service works with, except its state in memory. */
export interface MucParts {
  readonly host: Host;
  /** The address of the service. */
  readonly jid: Jid;
  readonly config: Settings;
  readonly stores: Stores;
  readonly archive: Archives;
  readonly blocking: Services['blocking'];
  readonly blockLists: Services['blockLists'] | undefined;
  readonly consent: Services['consent'] | undefined;
  readonly reports: Services['reports'] | undefined;
  readonly presence: Services['presence'] | undefined;
  /** How often users make a room tell all of them. */
  readonly presences: Rates;
  /** Invitations, by who invites: in all rooms together. */
  readonly invites: Rates;
  /** Notices of changed affiliations, by room, who changes them, and whose they are. */
  readonly notices: Rates;
  readonly log: Logger;
}
