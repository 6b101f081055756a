/**
 * XEP-0045: Multi-User Chat. A service of rooms. Each room runs one operation at a time (room.ts), sends to its
 * occupants (muc.ts) and survives restarts, except for its occupants: clients detect that by pinging themselves
 * (XEP-0410).
 *
 * One file per concern: entering and leaving (presence.ts, leaving.ts, ghosts.ts), messages (messages.ts, subject.ts, history.ts,
 * archive.ts, tombstones.ts), invitations, voice, lists (admin.ts, affiliations.ts, roles.ts), owners (owner.ts,
 * room-config.ts), registration, discovery, IQs between occupants, the server's administrators (administration.ts), and
 * small extensions under their own numbers.
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { Rates } from '../../server/limits/rates.js';
import {
  answers,
  command,
  defineModule,
  defineQuestion,
  disco,
  document,
  event,
  every,
  type IqHandler,
  type IqRequest,
  iq,
  type Maybe,
  map,
  moves,
  service,
} from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { bareJid, elementXml } from '../../server/stanza/stored.js';
import { el } from '../../server/xml/element.js';
import { changeLists, readList } from './admin.js';
import { administration } from './administration.js';
import { change, known } from './affiliations.js';
import * as archive from './archive.js';
import { cli } from './cli.js';
import { sources } from './discovery.js';
import { lookForGhosts, removeGhosts } from './ghosts.js';
import { passIqs } from './iq.js';
import { closeAll, lost, notifyAfterCrash, notifyLost, removeDenied } from './leaving.js';
import { linkAnswers, roomLinks } from './links.js';
import { receiveMessage } from './messages.js';
import { roomsInMemory } from './moving.js';
import type { Muc } from './muc.js';
import { configureRoom, offerConfig } from './owner.js';
import { lastPresence, lastPresenceIn, receivePresence, showAvatar } from './presence.js';
import { reporting } from './proto-gc-reporting.js';
import { offerRegistration, register } from './registration.js';
import { isListed, isOpenTo, type Member, type Room, type StoredRoom } from './room.js';
import { roomForms } from './room-config.js';
import { leftover, listed, Rooms } from './rooms.js';
import { settings } from './settings.js';
import { storedMember, storedRoom } from './stored.js';
import { followsNone, forgetFormer, type Left, noSubscribers, notices, subscribedOccupants } from './subscribers.js';
import { hatCommands } from './xep-0317-hats.js';
import { moderate, moderationIn, oldModerationIn } from './xep-0425-moderation.js';
import { occupied, occupiedHere, oldSearch, search } from './xep-0433-search.js';
import { lookInto, noteSubscription, removeGhostSubscriptions, subscribing, unseen } from './xep-0437-activity.js';
import * as tokens from './xep-0488-tokens.js';
import * as mentions from './xep-0513-mentions.js';

const sweepMs = 60_000;
/** Notices per hour about one user's affiliation that one admin can cause while the user is not in the room. */
const noticesPerHour = 5;

/** Asked at the service and at each room after an account of this host was deleted. */
const account = z.object({ account: bareJid, isAnonymous: z.boolean() });
const forgotten = defineQuestion({ name: 'muc.forgotten', given: account, answer: z.null() });
const forgottenIn = defineQuestion({ name: 'muc.forgotten_in', given: account, answer: z.null() });

export default defineModule({
  cli,
  name: 'muc',
  summary: 'Multi-user chat rooms.',
  implements: {
    'XEP-0045': '1.35.5',
    'XEP-0307': '0.1',
    'XEP-0317': '0.3.1',
    'XEP-0410': '1.1.0',
    'XEP-0421': '1.0.1',
    'XEP-0425': '0.3.0',
    'XEP-0433': '0.1.0',
    'XEP-0437': '0.2.0',
    'XEP-0452': '0.2.2',
    'XEP-0463': '0.2.0',
    'XEP-0486': '0.1.0',
    'XEP-0488': '0.1.0',
    'XEP-0500': '0.1.1',
    'XEP-0502': '0.1.0',
    'XEP-0513': '0.1.0',
  },
  notes: 'XEP-0425 also as of version 0.2. Left out: absent members in the list of occupants (status 102, 103).',
  features: { service: [NS.muc] },
  config: settings,
  stores: {
    // A room with a damaged record is unavailable, and its name cannot be taken by a new room.
    muc_rooms: document<StoredRoom>({ storedAs: 'muc_rooms', value: storedRoom, key: bareJid, damaged: 'refuse' }),
    muc_members: map<Member>({ storedAs: 'muc_members', value: storedMember, key: bareJid }),
    muc_vcards: document<string>({ storedAs: 'muc_vcards', value: elementXml }),
    muc_left: map<Left>({ storedAs: 'muc_left', value: z.object({ at: z.string() }) }),
  },
  needs: ['archive', 'blocking'],
  wants: ['blockLists', 'reports', 'consent', 'presence'],
  provides: ['rooms', 'roomLinks'],

  start: async ({ host, config, stores, services, provide, log }) => {
    const parts = {
      host,
      jid: Jid.parse(`${config.subdomain}.${host.domain}`),
      config,
      stores,
      archive: services.archive,
      blocking: services.blocking,
      blockLists: services.blockLists,
      consent: services.consent,
      reports: services.reports,
      presence: services.presence,
      presences: new Rates(config.presences_per_minute, 60_000),
      invites: new Rates(config.invitations_per_hour, 3_600_000),
      notices: new Rates(noticesPerHour, 3_600_000),
      log,
    };
    const rooms = new Rooms(parts);
    const muc: Muc = { ...parts, rooms, subscribers: noSubscribers(config.activity_subscriptions) };
    await rooms.open();
    provide('rooms', administration(muc));
    provide('roomLinks', roomLinks(muc));
    const forms = roomForms(config);
    const reports = reporting(muc);

    /** Handles an IQ to the bare address of a room that exists and is open to the sender. */
    const inRoom =
      <T>(handler: (room: Room, request: IqRequest) => Maybe<T>) =>
      (request: IqRequest): Maybe<T> => {
        const { from, to } = request;
        if (to.local === undefined || to.resource !== undefined) throw new StanzaError('service-unavailable');
        return rooms.inRoomFor(from, to, (room) => {
          if (room === undefined || !isOpenTo(room, from))
            throw new StanzaError('item-not-found', 'There is no such room.');
          return handler(room, request);
        });
      };

    /** XEP-0307. */
    const uniqueName: IqHandler = ({ to }) => {
      if (to.local !== undefined) throw new StanzaError('service-unavailable');
      return el('unique', { xmlns: NS.mucUnique }, randomId().toLowerCase());
    };

    /** Removes the rights of a deleted account, so that a new account of the same name does not inherit them. */
    const dropAccount = async (jid: Jid, account: Jid): Promise<void> => {
      const member = await stores.muc_members.get(jid.bare, account.bare);
      if (member === undefined || member.affiliation === 'outcast') return;
      await rooms.inRoom(jid, async (room) => {
        if (room === undefined) return;
        const isLast = member.affiliation === 'owner' && room.owners().length === 1;
        if (!isLast) return change(muc, room, [{ user: account, affiliation: 'none' }]);
        await stores.muc_members.delete(jid.bare, [account.bare]);
        room.setMember(account.bare, undefined);
        if (![...room.members.values()].some(isListed)) await rooms.makeTemporary(room);
      });
    };

    /** An anonymous account's affiliations are in memory only; its tokens and hats are in the room's record. */
    const dropAnonymous = async (jid: Jid, { bare }: Jid): Promise<void> => {
      if (rooms.peek(jid.bare) === undefined) return;
      await rooms.inRoom(jid, async (room) => {
        if (room === undefined) return;
        const { tokens = [], wearers = {} } = room.stored;
        const { [bare]: worn, ...others } = wearers;
        const left = tokens.filter(({ creator }) => creator !== bare);
        if (worn !== undefined || left.length < tokens.length)
          await rooms.save(room, { tokens: left, wearers: others });
        if (!room.members.has(bare)) return;
        room.setMember(bare, undefined);
        if (room.owners().length === 0) await rooms.makeTemporary(room);
      });
    };

    const iqs = passIqs(muc);
    return [
      service({
        subdomain: config.subdomain,
        message: (stanza, origin) => receiveMessage(muc, stanza, origin),
        presence: (stanza, origin) => receivePresence(muc, stanza, origin),
        iq: iqs.pass,
      }),
      iq.get(
        'service',
        NS.mucAdmin,
        'query',
        inRoom((room, request) => readList(muc, room, request)),
      ),
      iq.set(
        'service',
        NS.mucAdmin,
        'query',
        inRoom((room, request) => changeLists(muc, room, request)),
      ),
      iq.get(
        'service',
        NS.mucOwner,
        'query',
        inRoom((room, request) => offerConfig(muc, forms, room, request)),
      ),
      iq.set(
        'service',
        NS.mucOwner,
        'query',
        inRoom((room, request) => configureRoom(muc, forms, room, request)),
      ),
      iq.get('service', NS.register, 'query', inRoom(offerRegistration)),
      iq.set(
        'service',
        NS.register,
        'query',
        inRoom((room, request) => register(muc, room, request)),
      ),
      iq.set(
        'service',
        NS.mam,
        'query',
        inRoom((room, request) => archive.query(muc, room, request)),
      ),
      iq.get(
        'service',
        NS.mam,
        'query',
        inRoom((room, request) => archive.fields(muc, room, request)),
      ),
      iq.get(
        'service',
        NS.mam,
        'metadata',
        inRoom((room, request) => archive.metadata(muc, room, request)),
      ),
      iq.set(
        'service',
        NS.moderate,
        'moderate',
        inRoom((room, request) => moderate(muc, room, request, moderationIn(request))),
      ),
      iq.set(
        'service',
        NS.fasten,
        'apply-to',
        inRoom((room, request) => moderate(muc, room, request, oldModerationIn(request))),
      ),
      iq.set(
        'service',
        NS.mucToken,
        'request',
        inRoom((room, asked) => tokens.request(muc, room, asked)),
      ),
      iq.get('service', NS.mucToken, 'tokens', inRoom(tokens.list)),
      iq.set(
        'service',
        NS.mucToken,
        'revoke',
        inRoom((room, request) => tokens.revoke(muc, room, request)),
      ),
      iq.get('service', NS.explicitMentions, 'query', inRoom(mentions.offerRights)),
      iq.set(
        'service',
        NS.explicitMentions,
        'query',
        inRoom((room, request) => mentions.changeRights(muc, room, request)),
      ),
      ...(reports === undefined
        ? []
        : [
            iq.set('service', NS.gcReport, 'report-participant', inRoom(reports.participant)),
            iq.set('service', NS.gcReport, 'report-chat', reports.chat),
          ]),
      iq.get('service', NS.mucUnique, 'unique', uniqueName),
      iq.get('service', NS.channelSearchQuery, 'search', (request) => search(muc, request)),
      iq.get('service', NS.channelSearchOld, 'search', (request) => oldSearch(muc, request)),
      ...sources(muc).map((source) => disco('service', source)),
      ...hatCommands(muc).map(command),
      event('accountDeleted', async ({ jid, isAnonymous = false }) => {
        await host.askHome(forgotten, muc.jid, { account: jid.bare, isAnonymous });
      }),
      // The service has the list of rooms; each room drops the account at its own home.
      answers(forgotten, async (given) => {
        for (const jid of rooms.all()) await host.askHome(forgottenIn, jid, given);
        return null;
      }),
      answers(forgottenIn, async ({ account, isAnonymous }, room) => {
        await (isAnonymous ? dropAnonymous : dropAccount)(room, Jid.parse(account));
        return null;
      }),
      answers(known, ({ who }, owner) => muc.consent?.knows(owner, Jid.parse(who)) ?? false),
      answers(lastPresence, (given, room) => lastPresenceIn(muc, room, given)),
      answers(listed, ({ room, entry }) => rooms.noteListed(Jid.parse(room), entry)),
      answers(leftover, (_, room) => rooms.removeLeftover(room)),
      answers(lost, (given, room) => notifyLost(muc, room, given)),
      ...linkAnswers(muc),
      answers(occupied, (given) => occupiedHere(muc, given)),
      answers(subscribing, (given) => noteSubscription(muc, given)),
      answers(unseen, (given, room) => lookInto(muc, room, given)),
      event('avatarChanged', (changed) => showAvatar(muc, changed)),
      moves(roomsInMemory(rooms, (bare) => host.isAnonymous(bare))),
      moves(notices(muc.subscribers)),
      moves(subscribedOccupants(muc.subscribers, rooms)),
      moves(iqs.memory),
      moves(parts.notices.memory('muc.notices', (key) => key.slice(0, key.indexOf(' ')))),
      // What is known of a room that has just come here is handed over when it has been read.
      event('leaving', ({ concerns }) => rooms.reading(concerns)),
      event('moved', ({ concerns }) => {
        rooms.moved(concerns);
        iqs.moved(concerns);
        followsNone(muc.subscribers, concerns);
      }),
      event('reloaded', () => removeDenied(muc)),
      event('serverListsChanged', () => removeDenied(muc)),
      event('stopping', () => closeAll(muc)),
      event('revived', ({ session }) => notifyAfterCrash(muc, session)),
      every(sweepMs, async () => {
        await removeGhosts(muc);
        await removeGhostSubscriptions(muc);
        forgetFormer(muc.subscribers, rooms);
        await rooms.sweep();
      }),
      every(Math.min(sweepMs, config.silence_seconds * 250), () => lookForGhosts(muc)),
    ];
  },
});
