/** What the tests ask of a client library: one device of one account, whatever the library calls these things. */

import { NS } from '../../src/server/stanza/ns.js';
import { type Element, parse } from '../../src/server/xml/element.js';

/** What came to a device, in terms that all libraries share. */
export type Happening =
  | {
      readonly kind: 'message';
      readonly from: string;
      readonly body: string;
      readonly carbon: 'sent' | 'received' | undefined;
      readonly delayed: boolean;
    }
  /** `type` is `available` where the stanza has none. */
  | { readonly kind: 'presence'; readonly from: string; readonly type: string }
  | { readonly kind: 'contact'; readonly jid: string; readonly subscription: string; readonly name: string }
  /** Out of the archive (XEP-0313), for `archive`. */
  | { readonly kind: 'archived'; readonly body: string }
  /** Its connection is there again; whether its session is the same. */
  | { readonly kind: 'back'; readonly resumed: boolean };

type Kind = Happening['kind'];
type Of<K extends Kind> = Extract<Happening, { kind: K }>;

/** Patience with what has to happen, in ms. */
const patience = 10_000;

/** What happened to a device and no test has looked at. */
export class Inbox {
  readonly #happenings: Happening[] = [];
  readonly #watchers = new Set<() => void>();

  constructor(readonly owner: string) {}

  put(happening: Happening): void {
    this.#happenings.push(happening);
    for (const watch of [...this.#watchers]) watch();
  }

  /** The first of this kind that fits; what came before it stays. Takes it out. */
  next<K extends Kind>(kind: K, wanted: Partial<Of<K>> = {}): Promise<Of<K>> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const at = this.#happenings.findIndex((one) => one.kind === kind && fits(one, wanted));
        if (at < 0) return;
        clearTimeout(timer);
        this.#watchers.delete(look);
        resolve(this.#happenings.splice(at, 1)[0] as Of<K>);
      };
      const timer = setTimeout(() => {
        this.#watchers.delete(look);
        const came = this.#happenings.map((one) => JSON.stringify(one)).join('\n  ');
        reject(new Error(`${this.owner} got no ${kind} ${JSON.stringify(wanted)}; what came:\n  ${came || 'nothing'}`));
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

/** Addresses match also where only the bare one is asked for. */
function fits(happening: Happening, wanted: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(wanted).every(([key, value]) => {
    const found = (happening as unknown as Record<string, unknown>)[key];
    if (found === value) return true;
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

  say(to: string, body: string): Promise<void>;
  subscribe(to: string): Promise<void>;
  /** Lets them see its presence. */
  accept(from: string): Promise<void>;
  roster(): Promise<readonly Contact[]>;
  setContact(jid: string, name: string, groups: readonly string[]): Promise<void>;
  removeContact(jid: string): Promise<void>;
  enableCarbons(): Promise<void>;

  setCard(name: string): Promise<void>;
  /** The full name on somebody's card. */
  card(of: string): Promise<string>;
  setPrivate(text: string): Promise<void>;
  private(): Promise<string>;
  /** What was said to and by somebody, at most 50 messages (XEP-0313). */
  archive(peer: string): Promise<readonly string[]>;
  ping(to: string): Promise<void>;
  version(of: string): Promise<string>;
  features(of: string): Promise<readonly string[]>;
  block(jid: string): Promise<void>;
  unblock(jid: string): Promise<void>;
  blocked(): Promise<readonly string[]>;
  /** The nodes of the ad-hoc commands that somebody offers. */
  commands(of: string): Promise<readonly string[]>;
}

/** How a device gets to the server. */
export interface Account {
  /** `user@localhost`; the resource is `resource`. */
  readonly bare: string;
  readonly resource: string;
  readonly password: string;
}

// ---------------------------------------------------------------------------------------------------------------
// Libraries whose users write and read XML themselves

/** Asks by IQ; rejects where an error comes. Payload and answer are XML. */
export type Ask = (type: 'get' | 'set', payload: string, to?: string) => Promise<Element>;

type Abilities = Omit<
  Device,
  'library' | 'inbox' | 'jid' | 'online' | 'offline' | 'destroy' | 'mechanism' | 'say' | 'subscribe' | 'accept'
>;

export const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

export function abilities(ask: Ask, inbox: Inbox): Abilities {
  const child = (answer: Element, name: string, ns: string): Element => {
    const found = answer.getChild(name, ns);
    if (found === undefined) throw new Error(`no <${name}/> in ${answer}`);
    return found;
  };
  return {
    roster: async () =>
      child(await ask('get', `<query xmlns='${NS.roster}'/>`), 'query', NS.roster)
        .getChildren('item')
        .map(contactOf),
    setContact: async (jid, name, groups) => {
      const inside = groups.map((group) => `<group>${escaped(group)}</group>`).join('');
      await ask(
        'set',
        `<query xmlns='${NS.roster}'><item jid="${jid}" name="${escaped(name)}">${inside}</item></query>`,
      );
    },
    removeContact: async (jid) => {
      await ask('set', `<query xmlns='${NS.roster}'><item jid="${jid}" subscription='remove'/></query>`);
    },
    enableCarbons: async () => {
      await ask('set', `<enable xmlns='${NS.carbons}'/>`);
    },
    setCard: async (name) => {
      await ask('set', `<vCard xmlns='${NS.vcardTemp}'><FN>${escaped(name)}</FN></vCard>`);
    },
    card: async (of) =>
      child(await ask('get', `<vCard xmlns='${NS.vcardTemp}'/>`, of), 'vCard', NS.vcardTemp).getChildText('FN') ?? '',
    setPrivate: async (text) => {
      await ask('set', `<query xmlns='${NS.private}'><kept xmlns='test:kept'>${escaped(text)}</kept></query>`);
    },
    private: async () =>
      child(
        await ask('get', `<query xmlns='${NS.private}'><kept xmlns='test:kept'/></query>`),
        'query',
        NS.private,
      ).getChildText('kept', 'test:kept') ?? '',
    archive: async (peer) => {
      inbox.take('archived');
      const field = (name: string, value: string) => `<field var='${name}'><value>${value}</value></field>`;
      await ask(
        'set',
        `<query xmlns='${NS.mam}'><x xmlns='${NS.dataForms}' type='submit'>${field('FORM_TYPE', NS.mam)}${field('with', peer)}</x><set xmlns='${NS.rsm}'><max>50</max></set></query>`,
      );
      // They come before the answer.
      return inbox.take('archived').map(({ body }) => body);
    },
    ping: async (to) => {
      await ask('get', `<ping xmlns='${NS.ping}'/>`, to);
    },
    version: async (of) =>
      child(await ask('get', `<query xmlns='${NS.version}'/>`, of), 'query', NS.version).getChildText('name') ?? '',
    features: async (of) =>
      child(await ask('get', `<query xmlns='${NS.discoInfo}'/>`, of), 'query', NS.discoInfo)
        .getChildren('feature')
        .map(({ attrs }) => attrs.var ?? ''),
    block: async (jid) => {
      await ask('set', `<block xmlns='${NS.blocking}'><item jid="${jid}"/></block>`);
    },
    unblock: async (jid) => {
      await ask('set', `<unblock xmlns='${NS.blocking}'><item jid="${jid}"/></unblock>`);
    },
    blocked: async () =>
      child(await ask('get', `<blocklist xmlns='${NS.blocking}'/>`), 'blocklist', NS.blocking)
        .getChildren('item')
        .map(({ attrs }) => attrs.jid ?? ''),
    commands: async (of) =>
      child(await ask('get', `<query xmlns='${NS.discoItems}' node='${NS.commands}'/>`, of), 'query', NS.discoItems)
        .getChildren('item')
        .map(({ attrs }) => attrs.node ?? ''),
  };
}

const contactOf = (item: Element): Contact => ({
  jid: item.attrs.jid ?? '',
  subscription: item.attrs.subscription ?? 'none',
  name: item.attrs.name ?? '',
  groups: item.getChildren('group').map((group) => group.getText()),
});

/** What a stanza means to a device. */
export function happenings(xml: string): Happening[] {
  const stanza = parse(xml, NS.client);
  const from = stanza.attrs.from ?? '';
  switch (stanza.name) {
    case 'message': {
      const archived = stanza.getChild('result', NS.mam)?.getChild('forwarded', NS.forward)?.getChild('message');
      if (archived !== undefined) return [{ kind: 'archived', body: archived.getChildText('body') ?? '' }];
      for (const direction of ['sent', 'received'] as const) {
        const carbon = stanza.getChild(direction, NS.carbons);
        const inner = carbon?.getChild('forwarded', NS.forward)?.getChild('message');
        if (inner !== undefined) return messageOf(inner, direction);
      }
      return messageOf(stanza, undefined);
    }
    case 'presence':
      return [{ kind: 'presence', from, type: stanza.attrs.type ?? 'available' }];
    case 'iq':
      return (stanza.attrs.type === 'set' ? (stanza.getChild('query', NS.roster)?.getChildren('item') ?? []) : []).map(
        (item) => ({ kind: 'contact', ...contactOf(item) }),
      );
    default:
      return [];
  }
}

function messageOf(message: Element, carbon: 'sent' | 'received' | undefined): Happening[] {
  const body = message.getChildText('body');
  if (body === null || message.attrs.type === 'error') return [];
  const delayed = message.getChild('delay', NS.delay) !== undefined;
  return [{ kind: 'message', from: message.attrs.from ?? '', body, carbon, delayed }];
}
