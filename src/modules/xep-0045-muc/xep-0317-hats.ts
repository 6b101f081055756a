/** XEP-0317: hats, titles that admins give to users of a room, shown in presence and managed by commands (XEP-0050). */
import { createHash } from 'node:crypto';
import type { Jid } from '../../server/address/jid.js';
import type { Command, CommandResult, CommandStep, Maybe } from '../../server/module/index.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { form, table } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import type { Element } from '../../server/xml/element.js';
import { announce, announceChange, type Muc } from './muc.js';
import { isAtLeast } from './privileges.js';
import { type Hat, isOpenTo, isWelcome, type Room } from './room.js';

/** Hats per room, and users with a hat per room. */
const mostHats = 50;
const mostWearers = 1000;

const created = defineForm(NS.hatsCommands, {
  'hats#title': { type: 'text-single', label: 'Title', required: true, longest: 200 },
  'hats#uri': { type: 'text-single', label: 'Unique URI', required: true, longest: 500 },
  'hats#hue': { type: 'text-single', label: 'Custom color', longest: 20 },
});
const named = defineForm(NS.hatsCommands, {
  'hats#uri': { type: 'text-single', label: 'The hat', required: true },
});
const assigned = defineForm(NS.hatsCommands, {
  'hats#jid': { type: 'jid-single', label: 'User address', required: true },
  'hats#uri': { type: 'text-single', label: 'The hat', required: true },
});

/** §3: a hash that changes with the list of hats. */
export const hatsHash = (hats: readonly Hat[]): string =>
  createHash('sha1')
    .update(JSON.stringify([...hats].sort((one, other) => (one.uri < other.uri ? -1 : 1))))
    .digest('hex');

const done: CommandResult = { status: 'completed' };

export function hatCommands(muc: Muc): Command[] {
  /** A command of a room, for its admins by default. */
  const command = (
    node: string,
    name: string,
    run: (room: Room, step: CommandStep) => Maybe<CommandResult>,
    mayRun = (room: Room, user: Jid) => isAtLeast(room.affiliationOf(user), 'admin'),
  ) => ({
    node: `${NS.hatsCommands}:${node}`,
    name,
    target: 'service' as const,
    access: 'anyone' as const,
    run: (step: CommandStep) =>
      muc.rooms.inRoomFor(step.request.from, step.request.to, (room) => {
        const { from, to } = step.request;
        if (room === undefined || to.resource !== undefined || !isOpenTo(room, from))
          throw new StanzaError('item-not-found');
        if (!mayRun(room, from)) throw new StanzaError('forbidden');
        return run(room, step);
      }),
  });

  return [
    command('create', 'Create a hat', async (room, { form: submission }) => {
      if (submission === undefined) return asking(created.form({}, { title: 'Creating a Hat' }));
      const values = created.read(submission);
      if (values === undefined) return done;
      const { 'hats#title': title, 'hats#uri': uri, 'hats#hue': hue } = values;
      const others = hatsOf(room).filter((hat) => hat.uri !== uri);
      if (others.length >= mostHats)
        throw new StanzaError('resource-constraint', 'The room has too many hats. Remove one first.');
      if (hue && !(Number(hue) >= 0 && Number(hue) <= 360))
        throw new StanzaError('not-acceptable', 'The hue must be an angle from 0 to 360.');
      await muc.rooms.save(room, { hats: [...others, { uri, title, ...(hue && { hue }) }] });
      showWearers(muc, room, uri);
      announceChange(muc, room, ['104']);
      return done;
    }),
    command('destroy', 'Destroy a hat', async (room, { form: submission }) => {
      if (submission === undefined) return asking(choice(room, 'Destroying a Hat', false));
      const values = named.read(submission);
      if (values === undefined) return done;
      const uri = values['hats#uri'];
      demandHat(room, uri);
      const before = wearersOf(room);
      const wearers = Object.fromEntries(
        Object.entries(before)
          .map(([user, uris]) => [user, uris.filter((worn) => worn !== uri)] as const)
          .filter(([, uris]) => uris.length > 0),
      );
      const affected = Object.keys(before).filter((user) => before[user]!.includes(uri));
      await muc.rooms.save(room, { hats: hatsOf(room).filter((hat) => hat.uri !== uri), wearers });
      for (const user of affected) show(muc, room, user);
      announceChange(muc, room, ['104']);
      return done;
    }),
    command(
      'list',
      'List hats',
      (room) => ({
        status: 'completed',
        payload: [
          table({
            title: 'Hats List',
            columns: [
              { var: 'hats#title', type: 'text-single' },
              { var: 'hats#uri', type: 'text-single' },
              { var: 'hats#hue', type: 'text-single' },
            ],
            rows: hatsOf(room).map(({ title, uri, hue }) => ({
              'hats#title': title,
              'hats#uri': uri,
              'hats#hue': hue,
            })),
          }),
        ],
      }),
      // §3.4: everyone who may enter
      (room, user) => isWelcome(room, room.affiliationOf(user)),
    ),
    command('assign', 'Assign a hat', async (room, { form: submission }) => {
      if (submission === undefined) return asking(choice(room, 'Assigning a Hat', true));
      const values = assigned.read(submission);
      if (values === undefined) return done;
      const { 'hats#jid': jid, 'hats#uri': uri } = values;
      demandHat(room, uri);
      const wearers = wearersOf(room);
      const worn = wearers[jid.bare] ?? [];
      if (worn.length === 0 && Object.keys(wearers).length >= mostWearers)
        throw new StanzaError('resource-constraint', 'Too many users of the room wear hats.');
      await muc.rooms.save(room, { wearers: { ...wearers, [jid.bare]: [...new Set([...worn, uri])] } });
      show(muc, room, jid.bare);
      return done;
    }),
    command('unassign', 'Remove a hat', async (room, { form: submission }) => {
      if (submission === undefined) return asking(choice(room, 'Removing a Hat', true));
      const values = assigned.read(submission);
      if (values === undefined) return done;
      const { 'hats#jid': jid, 'hats#uri': uri } = values;
      const { [jid.bare]: worn = [], ...others } = wearersOf(room);
      if (!worn.includes(uri)) throw new StanzaError('item-not-found', 'The user does not wear this hat.');
      const left = worn.filter((other) => other !== uri);
      await muc.rooms.save(room, { wearers: left.length === 0 ? others : { ...others, [jid.bare]: left } });
      show(muc, room, jid.bare);
      return done;
    }),
    command('list-assigned', 'List assigned hats', (room) => ({
      status: 'completed',
      payload: [
        table({
          title: 'Assigned Hats List',
          columns: [
            { var: 'hats#jid', type: 'jid-single' },
            { var: 'hats#uri', type: 'text-single' },
            { var: 'hats#title', type: 'text-single' },
            { var: 'hats#hue', type: 'text-single' },
          ],
          rows: Object.entries(wearersOf(room)).flatMap(([user, uris]) =>
            hatsOf(room)
              .filter(({ uri }) => uris.includes(uri))
              .map(({ uri, title, hue }) => ({
                'hats#jid': user,
                'hats#uri': uri,
                'hats#title': title,
                'hats#hue': hue,
              })),
          ),
        }),
      ],
    })),
  ];
}

const asking = (payload: Element): CommandResult => ({ status: 'executing', payload: [payload] });

const choice = (room: Room, title: string, ofUser: boolean): Element =>
  form({
    type: 'form',
    formType: NS.hatsCommands,
    title,
    fields: [
      ...(ofUser ? [{ var: 'hats#jid', type: 'jid-single' as const, label: 'User address', required: true }] : []),
      {
        var: 'hats#uri',
        type: 'list-single' as const,
        label: 'The hat',
        options: hatsOf(room).map((hat) => ({ value: hat.uri, label: hat.title })),
      },
    ],
  });

const hatsOf = ({ stored }: Room): readonly Hat[] => stored.hats ?? [];
const wearersOf = ({ stored }: Room): Readonly<Record<string, readonly string[]>> => stored.wearers ?? {};

function demandHat(room: Room, uri: string): void {
  if (!hatsOf(room).some((hat) => hat.uri === uri)) throw new StanzaError('item-not-found', 'There is no such hat.');
}

function showWearers(muc: Muc, room: Room, uri: string): void {
  for (const [user, uris] of Object.entries(wearersOf(room))) if (uris.includes(uri)) show(muc, room, user);
}

/** Announces the hats that a user wears now. */
function show(muc: Muc, room: Room, user: string): void {
  for (const occupant of room.occupantsOf(user)) {
    occupant.shown = {};
    announce(muc, room, occupant);
  }
}
