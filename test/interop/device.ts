/** What the tests request of a client library: one device of one account, in terms common to all libraries. */
import { patience } from './server.js';

/** Received events, in terms common to all libraries. */
export type Happening =
  | {
      readonly kind: 'message';
      readonly from: string;
      readonly type: string;
      readonly body: string;
      readonly carbon: 'sent' | 'received' | undefined;
      readonly delayed: boolean;
      /** Its ids in archives, by the bare addresses of these (XEP-0359). */
      readonly ids: Readonly<Record<string, string>>;
      /** XEP-0421. */
      readonly occupant: string | undefined;
      /** The decrypted content of OMEMO (XEP-0384). */
      readonly isEncrypted?: boolean;
    }
  /** `type` is `available` if the stanza has none. */
  | { readonly kind: 'presence'; readonly from: string; readonly type: string }
  | { readonly kind: 'contact'; readonly jid: string; readonly subscription: string; readonly name: string }
  /** A presence or a message was refused. */
  | { readonly kind: 'refused'; readonly from: string; readonly condition: string }
  | Occupant
  | { readonly kind: 'subject'; readonly from: string; readonly subject: string }
  | {
      readonly kind: 'invited';
      readonly room: string;
      readonly by: string;
      readonly reason: string;
      readonly isDirect: boolean;
    }
  /** `from` is the room, `id` the archive id of the message. */
  | { readonly kind: 'moderated'; readonly from: string; readonly id: string; readonly reason: string }
  /** Its author took it back; `id` is the message's own. */
  | { readonly kind: 'retracted'; readonly from: string; readonly id: string }
  /** A new avatar of a user, from a notification of XEP-0084 or a presence (XEP-0153). */
  | { readonly kind: 'avatar'; readonly from: string; readonly id: string; readonly by: 'pep' | 'presence' }
  /** The room is another one than before. */
  | { readonly kind: 'changed'; readonly from: string; readonly codes: readonly number[] }
  /** Out of an archive (XEP-0313), for `history`. */
  | ({ readonly kind: 'archived' } & Archived)
  /** Its connection is there again; whether its session is the same. */
  | { readonly kind: 'back'; readonly resumed: boolean };

/** An occupant of a room, from their presence. */
export interface Occupant {
  readonly kind: 'occupant';
  /** room/nickname */
  readonly from: string;
  /** `available` if the stanza has none. */
  readonly type: string;
  readonly affiliation: string;
  readonly role: string;
  readonly codes: readonly number[];
  /** The new nickname. */
  readonly nick: string | undefined;
  readonly reason: string | undefined;
  /** XEP-0421. */
  readonly occupant: string | undefined;
  /** Of a room that is destroyed. */
  readonly isDestroyed: boolean;
}

export interface Archived {
  readonly id: string;
  readonly from: string;
  readonly body: string;
  /** Its message was retracted. */
  readonly isTombstone: boolean;
}

type Kind = Happening['kind'];
type Of<K extends Kind> = Extract<Happening, { kind: K }>;

/** Events that no test has consumed. */
export class Inbox {
  readonly #happenings: Happening[] = [];
  readonly #watchers = new Set<() => void>();

  constructor(readonly owner: string) {}

  put(happening: Happening): void {
    this.#happenings.push(happening);
    for (const watch of [...this.#watchers]) watch();
  }

  /** Removes and returns the first match of this kind; earlier ones stay. */
  next<K extends Kind>(kind: K, wanted: Partial<Of<K>> = {}): Promise<Of<K>> {
    const isIt = (one: Happening): one is Of<K> => one.kind === kind && fits(one, wanted);
    return this.find(isIt, `${kind} ${JSON.stringify(wanted)}`);
  }

  /** Like next(). `what` names the expected event. */
  find<H extends Happening>(isIt: (one: Happening) => one is H, what: string): Promise<H> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const at = this.#happenings.findIndex(isIt);
        if (at < 0) return;
        clearTimeout(timer);
        this.#watchers.delete(look);
        resolve(this.#happenings.splice(at, 1)[0] as H);
      };
      const timer = setTimeout(() => {
        this.#watchers.delete(look);
        const came = this.#happenings.map((one) => JSON.stringify(one)).join('\n  ');
        reject(new Error(`${this.owner} got no ${what}; what came:\n  ${came || 'nothing'}`));
      }, patience);
      this.#watchers.add(look);
      look();
    });
  }

  /** All of this kind that have come. Takes them out. */
  take<K extends Kind>(kind: K): Of<K>[] {
    const taken = this.#happenings.filter((one): one is Of<K> => one.kind === kind);
    for (const one of taken) this.#happenings.splice(this.#happenings.indexOf(one), 1);
    return taken;
  }
}

/** Addresses also match by bare address if only that is expected; lists match if they contain the expected entries. */
function fits(happening: Happening, wanted: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(wanted).every(([key, value]) => {
    const found = (happening as unknown as Record<string, unknown>)[key];
    if (found === value) return true;
    if (Array.isArray(found) && Array.isArray(value)) return value.every((one) => found.includes(one));
    return key === 'from' && typeof found === 'string' && found.split('/')[0] === value;
  });
}

export interface Contact {
  readonly jid: string;
  readonly subscription: string;
  readonly name: string;
  readonly groups: readonly string[];
}

export interface Device {
  readonly library: string;
  readonly inbox: Inbox;
  /** The full address; once it is online. */
  readonly jid: string;
  /** Logs in, asks for the roster, becomes available. */
  online(): Promise<void>;
  /** Ends its session. */
  offline(): Promise<void>;
  /** Ends it, whatever it does. */
  destroy(): Promise<void>;
  /** The SASL mechanism that it logged in by, where the library tells. */
  readonly mechanism: string | undefined;

  /** `id` is the stanza's. */
  say(to: string, body: string, id?: string): Promise<void>;
  /** In OMEMO (XEP-0384), for all devices of these people; in a room where they are in one. Not all libraries know it. */
  readonly sayEncrypted?: (to: string, body: string, people?: readonly string[]) => Promise<void>;
  /** Retracts a sent message (XEP-0424). Not all libraries support it. */
  readonly retract?: (to: string, id: string) => Promise<void>;
  subscribe(to: string): Promise<void>;
  /** Lets them see its presence. */
  accept(from: string): Promise<void>;
  roster(): Promise<readonly Contact[]>;
  setContact(jid: string, name: string, groups: readonly string[]): Promise<void>;
  removeContact(jid: string): Promise<void>;
  enableCarbons(): Promise<void>;

  setCard(name: string): Promise<void>;
  /** The full name in a vCard. */
  card(of: string): Promise<string>;
  setPrivate(text: string): Promise<void>;
  private(): Promise<string>;
  /** A page of the archive of a room, or its own (XEP-0313). */
  history(query: Query, of?: string): Promise<Page>;
  /** XEP-0441. */
  preferences(): Promise<Preferences>;
  setPreferences(preferences: Preferences): Promise<void>;
  ping(to: string): Promise<void>;
  version(of: string): Promise<string>;
  features(of: string): Promise<readonly string[]>;
  block(jid: string): Promise<void>;
  unblock(jid: string): Promise<void>;
  blocked(): Promise<readonly string[]>;
  /** The nodes of a user's ad-hoc commands. */
  commands(of: string): Promise<readonly string[]>;
  readonly rooms: Rooms;
  readonly pep: Pep;
}

/** What people publish of themselves (XEP-0163), in the form that their library knows. */
export interface Pep {
  /** XEP-0084. */
  setAvatar(mediaType: string, base64: string): Promise<void>;
  /** In base64. */
  avatar(of: string): Promise<string>;
  /** Besides those that there are. */
  bookmark(room: string, name: string): Promise<void>;
  unbookmark(room: string): Promise<void>;
  /** Names by rooms. */
  bookmarks(): Promise<Readonly<Record<string, string>>>;
  /** The full name on a card of version 4 (XEP-0292). Not all libraries know it. */
  readonly setCard4?: (name: string) => Promise<void>;
  readonly card4?: (of: string) => Promise<string>;
}

export interface Query {
  readonly with?: string;
  /** Not before this time. */
  readonly start?: Date;
  /** Messages with this text (XEP-0431). */
  readonly text?: string;
  /** After or before the message with this id; an empty `before` is the last page. */
  readonly after?: string;
  readonly before?: string;
  readonly max: number;
}

export interface Preferences {
  readonly default: string;
  readonly always: readonly string[];
  readonly never: readonly string[];
}

export interface Page {
  readonly messages: readonly Archived[];
  /** There is nothing further in this direction. */
  readonly isLast: boolean;
}

/** Actions in rooms (XEP-0045 and its extensions). A refused one rejects with the condition in the message. */
export interface Rooms {
  /** Resolves with its own presence there. */
  enter(room: string, nick: string, history?: { readonly max?: number; readonly since?: Date }): Promise<Occupant>;
  /** Resolves once it gets its own unavailable presence. */
  leave(room: string, nick: string): Promise<void>;
  say(room: string, body: string): Promise<void>;
  whisper(room: string, nick: string, body: string): Promise<void>;
  rename(room: string, nick: string): Promise<void>;
  setSubject(room: string, subject: string): Promise<void>;
  /** Values by field name. None: the default configuration. */
  configure(room: string, values: Readonly<Record<string, string>>): Promise<void>;
  configuration(room: string): Promise<Readonly<Record<string, string>>>;
  /** By way of the room. */
  invite(room: string, jid: string, reason: string): Promise<void>;
  /** XEP-0249. */
  inviteDirectly(room: string, jid: string, reason: string): Promise<void>;
  kick(room: string, nick: string, reason: string): Promise<void>;
  affiliate(room: string, jid: string, affiliation: string, reason?: string): Promise<void>;
  affiliated(room: string, affiliation: string): Promise<readonly string[]>;
  /** XEP-0425. Not all libraries know it. */
  readonly moderate?: (room: string, id: string, reason: string) => Promise<void>;
  /** XEP-0410: whether the room has it for an occupant. */
  isIn(room: string, nick: string): Promise<boolean>;
  name(room: string): Promise<string>;
  /** The addresses of the rooms of a service. */
  list(service: string): Promise<readonly string[]>;
  setPhoto(room: string, mediaType: string, base64: string): Promise<void>;
  /** In base64. */
  photo(room: string): Promise<string>;
  destroy(room: string, reason: string): Promise<void>;
}

/** How a device gets to the server. */
export interface Account {
  /** `user@localhost`; the resource is `resource`. */
  readonly bare: string;
  readonly resource: string;
  readonly password: string;
}
