/** For libraries whose users write and read XML: their requests, and received stanzas. */

import { createHash } from 'node:crypto';
import { NS } from '../../src/server/stanza/ns.js';
import { type Element, parse } from '../../src/server/xml/element.js';
import type { Archived, Contact, Device, Happening, Inbox, Occupant, Pep, Query, Rooms } from './device.js';

/** Asks by IQ; rejects where an error comes. Payload and answer are XML, the address is not. */
export type Ask = (type: 'get' | 'set', payload: string, to?: string) => Promise<Element>;

type Abilities = Omit<Device, 'library' | 'inbox' | 'jid' | 'online' | 'offline' | 'destroy' | 'mechanism'>;

/** Sends a stanza. */
export type Send = (xml: string) => Promise<void>;

export const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

export function abilities(ask: Ask, send: Send, inbox: Inbox): Abilities {
  return {
    say: (to, body, id) =>
      send(`<message to="${to}" type="chat" id="${id ?? crypto.randomUUID()}"><body>${escaped(body)}</body></message>`),
    retract: (to, id) =>
      send(
        `<message to="${to}" type="chat" id="${crypto.randomUUID()}"><retract xmlns='${NS.retract}' id="${id}"/><store xmlns='${NS.hints}'/></message>`,
      ),
    subscribe: (to) => send(`<presence to="${to}" type="subscribe"/>`),
    accept: (from) => send(`<presence to="${from}" type="subscribed"/>`),
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
    history: async (query, of) => {
      inbox.take('archived');
      const fin = child(await ask('set', queryOf(query), of), 'fin', NS.mam);
      // They come before the answer.
      return { messages: inbox.take('archived'), isLast: fin.attrs.complete === 'true' };
    },
    preferences: async () => {
      const prefs = child(await ask('get', `<prefs xmlns='${NS.mam}'/>`), 'prefs', NS.mam);
      const jids = (list: string) =>
        prefs
          .getChild(list)
          ?.getChildren('jid')
          .map((jid) => jid.getText()) ?? [];
      return { default: prefs.attrs.default ?? '', always: jids('always'), never: jids('never') };
    },
    setPreferences: async ({ default: usual, always, never }) => {
      const list = (name: string, jids: readonly string[]) =>
        `<${name}>${jids.map((jid) => `<jid>${jid}</jid>`).join('')}</${name}>`;
      await ask(
        'set',
        `<prefs xmlns='${NS.mam}' default='${usual}'>${list('always', always)}${list('never', never)}</prefs>`,
      );
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
    rooms: roomsOf(ask, send, inbox),
    pep: pepOf(ask),
  };
}

function child(answer: Element, name: string, ns: string): Element {
  const found = answer.getChild(name, ns);
  if (found === undefined) throw new Error(`no <${name}/> in ${answer}`);
  return found;
}

const field = (name: string, value: string): string => `<field var='${name}'><value>${escaped(value)}</value></field>`;

const submitted = (values: Readonly<Record<string, string>>): string =>
  `<x xmlns='${NS.dataForms}' type='submit'>${Object.entries(values)
    .map(([name, value]) => field(name, value))
    .join('')}</x>`;

function queryOf({ with: peer, start, text, after, before, max }: Query): string {
  const form = submitted({
    FORM_TYPE: NS.mam,
    ...(peer !== undefined && { with: peer }),
    ...(start !== undefined && { start: start.toISOString() }),
    ...(text !== undefined && { [`{${NS.fullText}}fulltext`]: text }),
  });
  const page = [
    `<max>${max}</max>`,
    after === undefined ? '' : `<after>${after}</after>`,
    before === undefined ? '' : `<before>${before}</before>`,
  ];
  return `<query xmlns='${NS.mam}'>${form}<set xmlns='${NS.rsm}'>${page.join('')}</set></query>`;
}

function roomsOf(ask: Ask, send: Send, inbox: Inbox): Rooms {
  /** Resolves with the presence that shows it as available. */
  const becomes = async (address: string): Promise<Occupant> => {
    const came = await inbox.find(
      (one): one is Extract<Happening, { kind: 'occupant' | 'refused' }> =>
        'from' in one &&
        one.from === address &&
        (one.kind === 'refused' || (one.kind === 'occupant' && one.type === 'available' && one.codes.includes(110))),
      `presence of its own from ${address}`,
    );
    if (came.kind === 'refused') throw new Error(came.condition);
    return came;
  };
  const items = (room: string, item: string): Promise<Element> =>
    ask('set', `<query xmlns='${NS.mucAdmin}'>${item}</query>`, room);
  const because = (reason = ''): string => `<reason>${escaped(reason)}</reason>`;
  return {
    enter: async (room, nick, history = {}) => {
      const wanted = [
        history.max === undefined ? '' : `maxstanzas='${history.max}'`,
        history.since === undefined ? '' : `since='${history.since.toISOString()}'`,
      ];
      await send(
        `<presence to="${room}/${escaped(nick)}"><x xmlns='${NS.muc}'><history ${wanted.join(' ')}/></x></presence>`,
      );
      return becomes(`${room}/${nick}`);
    },
    leave: async (room, nick) => {
      await send(`<presence to="${room}/${escaped(nick)}" type="unavailable"/>`);
      await inbox.next('occupant', { from: `${room}/${nick}`, type: 'unavailable', codes: [110] });
    },
    say: (room, body) => send(`<message to="${room}" type="groupchat"><body>${escaped(body)}</body></message>`),
    whisper: (room, nick, body) =>
      send(
        `<message to="${room}/${escaped(nick)}" type="chat"><body>${escaped(body)}</body><x xmlns='${NS.mucUser}'/></message>`,
      ),
    rename: async (room, nick) => {
      await send(`<presence to="${room}/${escaped(nick)}"/>`);
      await becomes(`${room}/${nick}`);
    },
    setSubject: (room, subject) =>
      send(`<message to="${room}" type="groupchat"><subject>${escaped(subject)}</subject></message>`),
    configure: async (room, values) => {
      const form = Object.keys(values).length === 0 ? {} : { FORM_TYPE: NS.mucRoomConfig, ...values };
      await ask('set', `<query xmlns='${NS.mucOwner}'>${submitted(form)}</query>`, room);
    },
    configuration: async (room) => {
      const answer = await ask('get', `<query xmlns='${NS.mucOwner}'/>`, room);
      const form = child(child(answer, 'query', NS.mucOwner), 'x', NS.dataForms);
      return Object.fromEntries(
        form.getChildren('field').map((one) => [one.attrs.var ?? '', one.getChildText('value') ?? '']),
      );
    },
    invite: (room, jid, reason) =>
      send(
        `<message to="${room}"><x xmlns='${NS.mucUser}'><invite to="${jid}">${because(reason)}</invite></x></message>`,
      ),
    inviteDirectly: (room, jid, reason) =>
      send(`<message to="${jid}"><x xmlns='${NS.conference}' jid="${room}" reason="${escaped(reason)}"/></message>`),
    kick: async (room, nick, reason) => {
      await items(room, `<item nick="${escaped(nick)}" role='none'>${because(reason)}</item>`);
    },
    affiliate: async (room, jid, affiliation, reason) => {
      await items(room, `<item jid="${jid}" affiliation='${affiliation}'>${because(reason)}</item>`);
    },
    affiliated: async (room, affiliation) =>
      child(
        await ask('get', `<query xmlns='${NS.mucAdmin}'><item affiliation='${affiliation}'/></query>`, room),
        'query',
        NS.mucAdmin,
      )
        .getChildren('item')
        .map(({ attrs }) => attrs.jid ?? ''),
    moderate: async (room, id, reason) => {
      const retract = `<retract xmlns='${NS.retract}'/>`;
      await ask('set', `<moderate xmlns='${NS.moderate}' id="${id}">${retract}${because(reason)}</moderate>`, room);
    },
    isIn: (room, nick) =>
      ask('get', `<ping xmlns='${NS.ping}'/>`, `${room}/${nick}`).then(
        () => true,
        (error: unknown) => {
          if (/not-acceptable/.test(String(error))) return false;
          throw error;
        },
      ),
    name: async (room) =>
      child(await ask('get', `<query xmlns='${NS.discoInfo}'/>`, room), 'query', NS.discoInfo).getChild('identity')
        ?.attrs.name ?? '',
    list: async (service) =>
      child(await ask('get', `<query xmlns='${NS.discoItems}'/>`, service), 'query', NS.discoItems)
        .getChildren('item')
        .map(({ attrs }) => attrs.jid ?? ''),
    setPhoto: async (room, mediaType, base64) => {
      const photo = `<PHOTO><TYPE>${mediaType}</TYPE><BINVAL>${base64}</BINVAL></PHOTO>`;
      await ask('set', `<vCard xmlns='${NS.vcardTemp}'>${photo}</vCard>`, room);
    },
    photo: async (room) =>
      child(await ask('get', `<vCard xmlns='${NS.vcardTemp}'/>`, room), 'vCard', NS.vcardTemp)
        .getChild('PHOTO')
        ?.getChildText('BINVAL') ?? '',
    destroy: async (room, reason) => {
      await ask('set', `<query xmlns='${NS.mucOwner}'><destroy>${because(reason)}</destroy></query>`, room);
    },
  };
}

const avatarData = 'urn:xmpp:avatar:data';
const avatarMetadata = 'urn:xmpp:avatar:metadata';

/** Bookmarks as XEP-0402 has them. */
function pepOf(ask: Ask): Pep {
  const publish = async (node: string, id: string, payload: string, options = ''): Promise<void> => {
    const item = `<item id="${id}">${payload}</item>`;
    await ask('set', `<pubsub xmlns='${NS.pubsub}'><publish node='${node}'>${item}</publish>${options}</pubsub>`);
  };
  const items = async (of: string | undefined, node: string, id?: string): Promise<Element[]> => {
    const wanted = id === undefined ? '' : `<item id="${id}"/>`;
    const answer = await ask(
      'get',
      `<pubsub xmlns='${NS.pubsub}'><items node='${node}'>${wanted}</items></pubsub>`,
      of,
    );
    return child(child(answer, 'pubsub', NS.pubsub), 'items', NS.pubsub).getChildren('item');
  };
  const ofBookmarks = `<publish-options>${submitted({
    FORM_TYPE: 'http://jabber.org/protocol/pubsub#publish-options',
    'pubsub#persist_items': 'true',
    'pubsub#max_items': 'max',
    'pubsub#send_last_published_item': 'never',
    'pubsub#access_model': 'whitelist',
  })}</publish-options>`;
  return {
    setAvatar: async (mediaType, base64) => {
      const bytes = Buffer.from(base64, 'base64');
      const id = createHash('sha1').update(bytes).digest('hex');
      await publish(avatarData, id, `<data xmlns='${avatarData}'>${base64}</data>`);
      const info = `<info id="${id}" type="${mediaType}" bytes="${bytes.length}"/>`;
      await publish(avatarMetadata, id, `<metadata xmlns='${avatarMetadata}'>${info}</metadata>`);
    },
    avatar: async (of) => {
      const [current] = await items(of, avatarMetadata);
      const id = current?.getChild('metadata', avatarMetadata)?.getChild('info')?.attrs.id ?? '';
      const [item] = await items(of, avatarData, id);
      return item?.getChildText('data', avatarData) ?? '';
    },
    bookmark: (room, name) =>
      publish(
        NS.bookmarks,
        room,
        `<conference xmlns='${NS.bookmarks}' name="${escaped(name)}" autojoin="false"><nick>me</nick></conference>`,
        ofBookmarks,
      ),
    unbookmark: async (room) => {
      const retract = `<retract node='${NS.bookmarks}' notify='true'><item id="${room}"/></retract>`;
      await ask('set', `<pubsub xmlns='${NS.pubsub}'>${retract}</pubsub>`);
    },
    bookmarks: async () =>
      Object.fromEntries(
        (await items(undefined, NS.bookmarks)).map((item) => [
          item.attrs.id ?? '',
          item.getChild('conference', NS.bookmarks)?.attrs.name ?? '',
        ]),
      ),
  };
}

const contactOf = (item: Element): Contact => ({
  jid: item.attrs.jid ?? '',
  subscription: item.attrs.subscription ?? 'none',
  name: item.attrs.name ?? '',
  groups: item.getChildren('group').map((group) => group.getText()),
});

/** A stanza as an event of a device. */
export function happenings(xml: string): Happening[] {
  const stanza = parse(xml, NS.client);
  const from = stanza.attrs.from ?? '';
  if (stanza.attrs.type === 'error' && stanza.name !== 'iq') {
    const error = stanza.getChild('error');
    const condition = error?.children.find((one): one is Element => typeof one !== 'string')?.name ?? '';
    return [{ kind: 'refused', from, condition }];
  }
  switch (stanza.name) {
    case 'message': {
      const result = stanza.getChild('result', NS.mam);
      const archived = result?.getChild('forwarded', NS.forward)?.getChild('message');
      if (archived !== undefined) return [archivedOf(archived, result?.attrs.id ?? '')];
      for (const direction of ['sent', 'received'] as const) {
        const carbon = stanza.getChild(direction, NS.carbons);
        const inner = carbon?.getChild('forwarded', NS.forward)?.getChild('message');
        if (inner !== undefined) return messageOf(inner, direction);
      }
      return [...roomMessageOf(stanza), ...messageOf(stanza, undefined)];
    }
    case 'presence': {
      const id = stanza.getChild('x', NS.vcardUpdate)?.getChildText('photo') || undefined;
      return [
        occupantOf(stanza) ?? { kind: 'presence', from, type: stanza.attrs.type ?? 'available' },
        ...(id === undefined ? [] : [{ kind: 'avatar', from, id, by: 'presence' } as const]),
      ];
    }
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
  if (body === null) return [];
  return [
    {
      kind: 'message',
      from: message.attrs.from ?? '',
      type: message.attrs.type ?? 'normal',
      body,
      carbon,
      delayed: message.getChild('delay', NS.delay) !== undefined,
      ids: Object.fromEntries(
        message.getChildren('stanza-id', NS.stanzaId).map(({ attrs }) => [attrs.by ?? '', attrs.id ?? '']),
      ),
      occupant: message.getChild('occupant-id', NS.occupantId)?.attrs.id,
    },
  ];
}

const archivedOf = (message: Element, id: string): { readonly kind: 'archived' } & Archived => ({
  kind: 'archived',
  id,
  from: message.attrs.from ?? '',
  body: message.getChildText('body') ?? '',
  isTombstone: message.getChild('retracted', NS.retract) !== undefined,
});

/** The room of a message. */
function roomMessageOf(message: Element): Happening[] {
  const from = message.attrs.from ?? '';
  const user = message.getChild('x', NS.mucUser);
  const invitation = user?.getChild('invite');
  if (invitation !== undefined) {
    const reason = invitation.getChildText('reason') ?? '';
    return [{ kind: 'invited', room: from, by: invitation.attrs.from ?? '', reason, isDirect: false }];
  }
  const direct = message.getChild('x', NS.conference)?.attrs;
  if (direct !== undefined)
    return [{ kind: 'invited', room: direct.jid ?? '', by: from, reason: direct.reason ?? '', isDirect: true }];
  const retraction = message.getChild('retract', NS.retract);
  if (retraction?.getChild('moderated', NS.moderate) !== undefined) {
    const reason = retraction.getChildText('reason') ?? '';
    return [{ kind: 'moderated', from, id: retraction.attrs.id ?? '', reason }];
  }
  if (retraction !== undefined) return [{ kind: 'retracted', from, id: retraction.attrs.id ?? '' }];
  const subject = message.getChildText('subject');
  if (message.attrs.type === 'groupchat' && subject !== null && message.getChild('body') === undefined)
    return [{ kind: 'subject', from, subject }];
  const codes = codesOf(user);
  return codes.length === 0 ? [] : [{ kind: 'changed', from, codes }];
}

const codesOf = (user: Element | undefined): number[] =>
  user?.getChildren('status').map(({ attrs }) => Number(attrs.code)) ?? [];

function occupantOf(presence: Element): Occupant | undefined {
  const user = presence.getChild('x', NS.mucUser);
  if (user === undefined) return undefined;
  const item = user.getChild('item');
  const destroyed = user.getChild('destroy');
  return {
    kind: 'occupant',
    from: presence.attrs.from ?? '',
    type: presence.attrs.type ?? 'available',
    affiliation: item?.attrs.affiliation ?? '',
    role: item?.attrs.role ?? '',
    codes: codesOf(user),
    nick: item?.attrs.nick,
    reason: (destroyed ?? item)?.getChildText('reason') ?? undefined,
    occupant: presence.getChild('occupant-id', NS.occupantId)?.attrs.id,
    isDestroyed: destroyed !== undefined,
  };
}
