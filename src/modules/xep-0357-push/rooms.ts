/**
 * Messages of rooms. A room sends them to the clients in it, of which one that has lost its connection is woken, and
 * copies to the accounts of members who are not in it. The user's bookmark says when to notify (XEP-0402, XEP-0492).
 */
import { Jid } from '../../server/address/jid.js';
import { monotonic } from '../../server/clock.js';
import type { Host, Maybe, Services } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import { Cache } from '../../storage/cache.js';
import type { Bookmark } from '../xep-0402-bookmarks/services.js';
import { mentions, type Notifications, settingIn } from './mentions.js';

/** Rooms of which it is known whether they are private, and for how long, in ms. */
const knownRooms = 10_000;
const knownMs = 3_600_000;
const askMs = 10_000;

interface RoomsParts {
  readonly host: Host;
  readonly bookmarks: Services['bookmarks'] | undefined;
  readonly presence: Services['presence'] | undefined;
  /** For rooms whose bookmark says nothing. 'auto': as XEP-0492 recommends. */
  usual(): 'auto' | Notifications;
}

export class Rooms {
  readonly #parts: RoomsParts;
  /** Whether only members may enter a room, by bare address. */
  readonly #privacy: Cache<{ readonly at: number; readonly isPrivate: boolean }>;

  constructor(parts: RoomsParts) {
    this.#parts = parts;
    this.#privacy = new Cache(knownRooms, (room) => this.#ask(room));
  }

  /**
   * Whether the account wants copies of the messages of a room that it is not in: it has bookmarked it, to enter it by
   * itself.
   */
  async wantsCopies(owner: Jid, room: Jid): Promise<boolean> {
    const bookmark = await this.#bookmark(owner, room);
    return bookmark?.autojoin === true && settingIn(bookmark.extensions) !== 'never';
  }

  /** Whether a message is to wake the apps of a user. `session`: the client that it was sent to, if one. */
  async concerns(owner: Jid, stanza: Stanza, session?: Session): Promise<boolean> {
    const { from } = stanza;
    if (from?.local === undefined) return false;
    const room = from.toBare();
    const bookmark = await this.#bookmark(owner, room);
    const nick = (session && this.#nickOf(session, room)) ?? bookmark?.nick ?? owner.local!;
    // The user's own message comes back.
    if (session !== undefined && from.resource === nick) return false;
    const setting = settingIn(bookmark?.extensions ?? []) ?? (await this.#usual(room));
    if (setting !== 'mentions') return setting === 'always';
    return stanza.has(NS.mentions, 'mentions') || mentions(stanza, { account: owner, nick });
  }

  #bookmark(owner: Jid, room: Jid): Maybe<Bookmark | null> {
    return this.#parts.bookmarks?.get(owner, room) ?? null;
  }

  /** The nickname of a client in a room that it has entered. */
  #nickOf(session: Session, room: Jid): string | undefined {
    for (const to of this.#parts.presence?.directed(session).values() ?? [])
      if (to.sameBare(room) && to.resource !== undefined) return to.resource;
    return undefined;
  }

  /** XEP-0492: "always" in private rooms, "on-mention" in public ones. */
  async #usual(room: Jid): Promise<Notifications> {
    const usual = this.#parts.usual();
    if (usual !== 'auto') return usual;
    const known = this.#privacy.peek(room.bare);
    if (known !== undefined && monotonic() - known.at > knownMs) this.#privacy.delete(room.bare);
    return (await this.#privacy.get(room.bare)).isPrivate ? 'always' : 'mentions';
  }

  /** A room that does not say is taken to be private: rather a notification too many. Never rejects. */
  async #ask(room: string): Promise<{ readonly at: number; readonly isPrivate: boolean }> {
    const { host } = this.#parts;
    const query = el('query', { xmlns: NS.discoInfo });
    const request = Stanza.build('iq', { type: 'get', from: host.jid, to: Jid.parse(room) }, query);
    let isPrivate = true;
    try {
      const answer = await host.ask(request, { timeoutMs: askMs });
      const features = answer.child(NS.discoInfo, 'query')?.getChildren('feature', NS.discoInfo) ?? [];
      isPrivate = !features.some(({ attrs }) => attrs.var === 'muc_open');
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
    }
    return { at: monotonic(), isPrivate };
  }
}
