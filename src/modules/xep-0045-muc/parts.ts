/** Dependencies of the service. */
import type { Logger } from 'pino';
import type { z } from 'zod';
import type { Jid } from '../../server/address/jid.js';
import type { Rates } from '../../server/limits/rates.js';
import type { Host, Services } from '../../server/module/index.js';
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
  /** Keys are the bare addresses of user and room. */
  readonly muc_left: MapStore<Left>;
}

/** What every part of the service uses, except its in-memory state. */
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
  /** Rate of presences that a user can make a room broadcast. */
  readonly presences: Rates;
  /** Rate of invitations by inviter, over all rooms. */
  readonly invites: Rates;
  /** Rate of notices about changed affiliations, by room, actor and user. */
  readonly notices: Rates;
  readonly log: Logger;
}
