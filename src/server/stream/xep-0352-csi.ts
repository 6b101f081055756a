/**
 * XEP-0352: Client State Indication. While the client is inactive, stanzas that can wait are held, in order. They are
 * flushed before the next stanza that cannot wait, or when the client becomes active.
 */
import type { Link, Receipt, Sent } from '../routing/link.js';
import { withCapsOf } from '../stanza/caps.js';
import { NS } from '../stanza/ns.js';
import type { Stanza } from '../stanza/stanza.js';

/** Stanzas held at most; then all are flushed. */
const most = 500;

/** A link that is notified when stanzas are held before it. */
interface Next extends Link {
  changed?(): void;
}

export class CsiLink implements Link {
  inactive = false;
  #held: Sent[] = [];

  constructor(public next: Next) {}

  get hasRoom(): boolean {
    return this.next.hasRoom !== false;
  }

  get isBacklogged(): boolean {
    return this.next.isBacklogged === true;
  }

  get unacknowledged(): Iterable<Stanza> {
    return this.next.unacknowledged ?? [];
  }

  /** Held stanzas, oldest first. */
  get held(): readonly Sent[] {
    return this.#held;
  }

  send(stanza: Stanza, receipt?: Receipt): void {
    if (!this.inactive || !canWait(stanza)) {
      if (this.#held.length > 0) this.flush();
      this.next.send(stanza, receipt);
      return;
    }
    this.#held.push({ stanza: stanza.name === 'presence' ? this.#replacing(stanza) : stanza, receipt });
    this.next.changed?.();
    if (this.#held.length >= most) this.flush();
  }

  /** Only the latest presence of a contact matters; caps it omits (XEP-0115 §8.4) are carried over. */
  #replacing(presence: Stanza): Stanza {
    const from = presence.from?.full;
    const at = this.#held.findIndex(({ stanza }) => stanza.name === 'presence' && stanza.from?.full === from);
    const [before] = at < 0 ? [] : this.#held.splice(at, 1);
    return presence.type === undefined ? withCapsOf(presence, before?.stanza) : presence;
  }

  flush(): void {
    const held = this.#held;
    this.#held = [];
    for (const { stanza, receipt } of held) this.next.send(stanza, receipt);
  }

  /** Nothing waits for the client to become active any more. */
  wake(): void {
    this.inactive = false;
    this.flush();
  }

  /** Goes on with what another node has held. */
  restore(held: readonly Sent[]): void {
    this.#held = [...held];
  }

  /** The session is over: held stanzas were never sent. */
  end(): void {
    const held = this.#held;
    this.#held = [];
    for (const { stanza, receipt } of held) receipt?.lost(stanza);
  }
}

/**
 * Presence, chat states without content, PEP events, and what a room sends to find out who is there (XEP-0045 §18.1.2):
 * not worth waking an inactive client.
 */
function canWait(stanza: Stanza): boolean {
  if (stanza.name === 'presence') return stanza.type === undefined || stanza.type === 'unavailable';
  if (stanza.name !== 'message' || stanza.type === 'error') return false;
  if (stanza.has(NS.pubsubEvent, 'event')) return !stanza.has(NS.client, 'body');
  let states = 0;
  for (const { ns, name } of stanza.childNames()) {
    if (ns === NS.chatStates) states++;
    else if (ns === NS.carbons) return carriesOnlyChatState(stanza);
    else if (
      !(ns === NS.hints || ns === NS.stanzaId || ns === NS.occupantId || (ns === NS.client && name === 'thread'))
    )
      return false;
  }
  return states > 0 || stanza.type === 'groupchat';
}

/** Whether a carbon (XEP-0280) contains a message that could wait. */
function carriesOnlyChatState(stanza: Stanza): boolean {
  return stanza.content.includes(NS.chatStates) && !/<(body|subject|encrypted|result)[\s>/]/.test(stanza.content);
}
