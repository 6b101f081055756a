/**
 * XEP-0398: User Avatar to vCard-Based Avatars Conversion. The avatar is stored in the nodes of XEP-0084. A vCard
 * (XEP-0054) shows it as its PHOTO to readers that may read the nodes, a PHOTO written there is published to the nodes,
 * and the hash of XEP-0153 is added to the account's presence. A PHOTO that cannot be converted stays in the vCard.
 *
 * Neither vCard nor presence reveals an avatar, or its hash, to anybody who may not read it.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Jid } from '../server/address/jid.js';
import { count } from '../server/config/units.js';
import { adorn, defineModule, event, sessionState } from '../server/module/index.js';
import type { Origin, Passage } from '../server/routing/passage.js';
import type { Session } from '../server/routing/session.js';
import { StanzaError } from '../server/stanza/errors.js';
import { randomId } from '../server/stanza/ids.js';
import { NS } from '../server/stanza/ns.js';
import type { Stanza } from '../server/stanza/stanza.js';
import { childrenOf, type Element, el } from '../server/xml/element.js';
import { Cache } from '../storage/cache.js';

declare module '../server/module/index.js' {
  interface Events {
    /**
     * The avatar of an account has changed or was removed (XEP-0398). `hadOne`: it had one before. `sessions`: those
     * whose clients let the server announce it.
     */
    avatarChanged: { readonly owner: Jid; readonly hadOne: boolean; readonly sessions: readonly Session[] };
  }
}

interface Avatar {
  /** The SHA-1 of the picture, as written in the node; '' if it was removed. */
  readonly id: string;
  readonly type: string;
  /** Whether it is in the nodes; otherwise it is in the vCard. */
  readonly inNodes: boolean;
}

interface Picture {
  readonly id: string;
  readonly type: string;
  readonly bytes: number;
  /** Without white space. */
  readonly base64: string;
}

const nodes = [NS.avatarMetadata, NS.avatarData];
/** The access model of vCards: everybody who could read the PHOTO in the vCard can read the node. */
const asCard = { 'pubsub#access_model': 'open' } as const;

/** Set if the client itself announces that it has no avatar. */
const isWithout = sessionState({ name: 'without_avatar', default: false, stored: z.boolean() });

export default defineModule({
  name: 'avatars',
  summary: 'Keeps the avatar of an account the same in its pubsub nodes, its vCard and its presence.',
  implements: { 'XEP-0084': '1.1.4', 'XEP-0153': '1.1.1', 'XEP-0398': '1.0.0' },
  features: { account: [NS.avatarConversion] },
  config: z.strictObject({
    cached: count({ min: 10 }).default(20_000).describe('Accounts whose avatar metadata is cached in memory.'),
  }),
  needs: ['pep', 'vcard', 'roster'],
  sessionStates: [isWithout],

  start: ({ host, config, services: { pep, vcard, roster } }) => {
    const avatars = new Cache<Avatar | null>(config.cached, async (owner) => {
      const last = await pep.last(owner, NS.avatarMetadata);
      if (last === undefined) {
        const picture = pictureIn((await vcard.get(owner)) ?? el('vCard', { xmlns: NS.vcardTemp }));
        return picture === undefined ? null : { id: picture.id, type: picture.type, inNodes: false };
      }
      const info = shownInfo(last.payload);
      const hasData = info !== undefined && (await pep.has(owner, NS.avatarData, info.id));
      return hasData ? { ...info, inNodes: true } : { id: '', type: '', inNodes: true };
    });

    // --- presence (§4, XEP-0153 §4.1) ---------------------------------------------------------------------------------

    /** Whether an avatar may be revealed to `peer`, who gets presence; if undefined, to all contacts. */
    const mayKnow = async (owner: Jid, { inNodes }: Avatar, peer: Jid | undefined): Promise<boolean> => {
      for (const node of inNodes ? nodes : [NS.vcard4Node]) {
        const model = await pep.access(owner.bare, node);
        if (model === undefined || model === 'open') continue;
        if (model !== 'presence') return false;
        if (peer !== undefined && peer.bare !== owner.bare && !(await roster.sees(owner.bare, peer))) return false;
      }
      return true;
    };

    const show = async (passage: Passage, avatar: Avatar | null, isEmpty: boolean): Promise<void> => {
      const { owner, stanza } = passage;
      if (avatar === null ? !isEmpty : avatar.id !== '' && !(await mayKnow(owner, avatar, stanza.to))) return;
      const id = avatar?.id.toLowerCase() || undefined;
      passage.stanza = stanza
        .without(NS.vcardUpdate, 'x')
        .plus(el('x', { xmlns: NS.vcardUpdate }, el('photo', null, id)));
    };

    /** Re-reads the avatar. If it has changed, sends presence with the new hash and emits `avatarChanged`. */
    const refresh = async (owner: Jid, before: Avatar | null, isHalfDone = false): Promise<void> => {
      avatars.delete(owner.bare);
      const after = await avatars.get(owner.bare);
      if (after?.id === before?.id || (isHalfDone && after?.id === '')) return;
      const hadOne = before !== null && before.id !== '';
      const sessions = host.sessions(owner.bare).filter((session) => !session.get(isWithout));
      for (const session of sessions)
        if (session.presence !== undefined)
          await host.fromSession(session.presence.without(NS.vcardUpdate, 'x'), session, forSession(session));
      await host.emit('avatarChanged', { owner, hadOne, sessions });
    };

    /** What contacts know if the avatar is not in memory: the account has moved to this node, or has long been idle. */
    const shownBy = (owner: Jid): Avatar | null => {
      const photos = host.sessions(owner.bare).flatMap(({ presence }) => (presence && photoOf(presence)) ?? []);
      const [id] = photos.filter((photo) => photo !== '');
      return id === undefined ? null : { id, type: '', inNodes: false };
    };

    // --- the nodes (XEP-0084) ---------------------------------------------------------------------------------------

    const watch = (node: string, check: (id: string, payload: Element | undefined) => void): void =>
      pep.know(node, {
        around: async (owner, { publish }, proceed) => {
          if (publish !== undefined) check(publish.id, publish.payload);
          const before = await avatars.get(owner.bare);
          await proceed();
          // New data replaces the previous picture; the metadata that makes it current follows.
          await refresh(owner, before, node === NS.avatarData && publish !== undefined);
        },
      });
    watch(NS.avatarData, checkData);
    watch(NS.avatarMetadata, checkMetadata);

    // --- cards (§3) -------------------------------------------------------------------------------------------------

    const publish = async (owner: Jid, { id, type, bytes, base64 }: Picture): Promise<void> => {
      const data = el('data', { xmlns: NS.avatarData }, base64);
      await pep.change(owner, NS.avatarData, { publish: new Map([[id, data]]) }, { make: asCard });
      const info = el('info', { id, type, bytes: String(bytes) });
      const metadata = el('metadata', { xmlns: NS.avatarMetadata }, info);
      await pep.change(owner, NS.avatarMetadata, { publish: new Map([[id, metadata]]) }, { make: asCard });
    };

    /** XEP-0084 §3.5. */
    const disable = (owner: Jid): Promise<void> => {
      const metadata = el('metadata', { xmlns: NS.avatarMetadata });
      return pep.change(owner, NS.avatarMetadata, { publish: new Map([[randomId(), metadata]]) }, { make: asCard });
    };

    vcard.filter('content', {
      /** §5.2: readers that may not read the nodes do not get the picture from the vCard. */
      read: async (card, owner, who) => {
        const avatar = await avatars.get(owner.bare);
        if (avatar === null || !avatar.inNodes || avatar.id === '') return card;
        for (const node of nodes) if (!(await pep.mayRead(owner.bare, node, who))) return card;
        const data = await pep.item(owner.bare, NS.avatarData, avatar.id);
        return data === undefined ? card : withPhoto(card, avatar.type, data.getText().replace(/\s+/g, ''));
      },
      /** §3.2. A vCard without a PHOTO removes the avatar. */
      write: async (card, owner) => {
        const before = await avatars.get(owner.bare);
        const picture = pictureIn(card);
        if (picture !== undefined) {
          // Writing back an unchanged vCard changes neither the avatar nor its access model.
          if (!before?.inNodes || before.id.toLowerCase() !== picture.id) {
            pep.demandPace(owner);
            await publish(owner, picture);
            await refresh(owner, before);
          }
          return el('vCard', card.attrs, ...card.children.filter((child) => child !== picture.element));
        }
        if (before !== null && before.id !== '' && card.getChildren('PHOTO', NS.vcardTemp).every(isEmptyPhoto)) {
          pep.demandPace(owner);
          await disable(owner);
          await refresh(owner, before);
        }
        return card;
      },
    });

    return [
      event('moved', ({ concerns }) => avatars.deleteIf(concerns)),
      adorn((passage) => {
        const { stanza, owner, origin } = passage;
        if (stanza.type !== undefined) return undefined;
        const photo = photoOf(stanza);
        if (stanza.to === undefined && origin.session !== undefined) {
          origin.session.set(isWithout, photo === '');
        }
        if (photo === '') return undefined;
        const isEmpty = photo === undefined && stanza.has(NS.vcardUpdate, 'x');
        const known = avatars.get(owner.bare);
        if (known instanceof Promise) return known.then((avatar) => show(passage, avatar, isEmpty));
        return known === null && !isEmpty ? undefined : show(passage, known, isEmpty);
      }),
      event('cardChanged', ({ owner }) => {
        const before = avatars.peek(owner.bare);
        return before?.inNodes ? undefined : refresh(owner, before === undefined ? shownBy(owner) : before);
      }),
      event('accountDeleted', ({ jid }) => avatars.delete(jid.bare), { before: 'all' }),
    ];
  },
});

/** The hash that a client announces itself: '' for no avatar, undefined if it announces nothing. */
const photoOf = (presence: Stanza): string | undefined =>
  presence.child(NS.vcardUpdate, 'x')?.getChildText('photo', NS.vcardUpdate)?.trim();

const forSession = (session: Session): Origin => ({ session, acknowledges: false, acknowledgeAfter() {} });

const invalid = (text: string): StanzaError =>
  new StanzaError('bad-request', text, { extra: [el('invalid-payload', { xmlns: NS.pubsubErrors })] });

/** XEP-0084 §4.1, §3.1. */
export function checkData(id: string, payload: Element | undefined): void {
  if (payload?.is('data', NS.avatarData) !== true) throw invalid('The payload must be a data element.');
  const bytes = decoded(payload.getText());
  if (bytes === undefined) throw invalid('The data element must contain valid Base64.');
  if (sha1(bytes) !== id.toLowerCase()) throw invalid('The item id must be the SHA-1 of the picture.');
}

/** XEP-0084 §4.2.1. */
export function checkMetadata(_id: string, payload: Element | undefined): void {
  if (payload?.is('metadata', NS.avatarMetadata) !== true) throw invalid('The payload must be a metadata element.');
  for (const { attrs } of payload.getChildren('info', NS.avatarMetadata))
    if (!/^[0-9a-f]{40}$/i.test(attrs.id ?? ''))
      throw invalid('The id of an info element must be the SHA-1 of the picture.');
}

/** §3.1: the picture that is published in the data node and not at a URL. */
function shownInfo(metadata: Element): { id: string; type: string } | undefined {
  const info = metadata.getChildren('info', NS.avatarMetadata).find(({ attrs }) => attrs.url === undefined);
  return info?.attrs.id === undefined ? undefined : { id: info.attrs.id, type: info.attrs.type ?? 'image/png' };
}

const sha1 = (bytes: Buffer): string => createHash('sha1').update(bytes).digest('hex');

/** Strict Base64, ignoring white space (XEP-0153 §4.6). Returns undefined if it is invalid or empty. */
function decoded(text: string): Buffer | undefined {
  const base64 = text.replace(/\s+/g, '');
  if (base64 === '' || base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
  return Buffer.from(base64, 'base64');
}

/** The first PHOTO of a vCard that is a supported picture. */
function pictureIn(card: Element): (Picture & { readonly element: Element }) | undefined {
  for (const element of card.getChildren('PHOTO', NS.vcardTemp)) {
    const text = element.getChildText('BINVAL', NS.vcardTemp) ?? '';
    const bytes = decoded(text);
    const type = bytes && (typeOf(bytes) ?? named(element));
    if (bytes === undefined || type === undefined) continue;
    return { element, id: sha1(bytes), type, bytes: bytes.length, base64: text.replace(/\s+/g, '') };
  }
  return undefined;
}

const signatures: readonly (readonly [type: string, start: string])[] = [
  ['image/png', '\x89PNG'],
  ['image/jpeg', '\xff\xd8\xff'],
  ['image/gif', 'GIF8'],
];

/** XEP-0153 §5: the type by the signature of the file, ignoring TYPE. */
const typeOf = (bytes: Buffer): string | undefined =>
  signatures.find(([, start]) => bytes.subarray(0, start.length).equals(Buffer.from(start, 'latin1')))?.[0];

function named(photo: Element): string | undefined {
  const type = photo.getChildText('TYPE', NS.vcardTemp)?.trim().toLowerCase();
  return type !== undefined && /^image\/[a-z0-9.+-]{1,50}$/.test(type) ? type : undefined;
}

const isEmptyPhoto = (photo: Element): boolean =>
  (photo.getChildText('BINVAL', NS.vcardTemp) ?? '').trim() === '' &&
  photo.getChild('EXTVAL', NS.vcardTemp) === undefined;

/** The vCard with this picture in place of its own PHOTO. */
function withPhoto(card: Element | undefined, type: string, base64: string): Element {
  const others = childrenOf(card ?? el('vCard')).filter(
    (child) => !child.is('PHOTO', NS.vcardTemp) || child.getChild('EXTVAL', NS.vcardTemp) !== undefined,
  );
  const photo = el('PHOTO', null, el('TYPE', null, type), el('BINVAL', null, base64));
  return el('vCard', { ...card?.attrs, xmlns: NS.vcardTemp }, ...others, photo);
}
