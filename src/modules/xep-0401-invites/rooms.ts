/** Links to rooms: a page for people without an app, and a command that makes links with a token (XEP-0488). */
import { Jid } from '../../server/address/jid.js';
import {
  type Command,
  command,
  type Hook,
  type Host,
  type HttpAnswer,
  HttpError,
  type HttpRequest,
  http,
} from '../../server/module/index.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { escaped, linkForm } from './links.js';
import { roomPage, textsFor } from './page.js';

/** Of the pages, below those of other invitations. */
const path = '/invite/room';
const mostDays = 3650;
const mostUses = 10_000;
const usualDays = 7;
const daySeconds = 86_400;

const wanted = defineForm('urn:waxwing:invite-to-room', {
  room: { type: 'jid-single', label: 'The room', required: true },
  days: { type: 'text-single', label: 'Days until the link expires (empty: 7)' },
  uses: { type: 'text-single', label: 'How many people can become members with it (empty: any number)' },
});

export interface RoomLinkParts {
  readonly host: Host;
  /** Throws HttpError if the visitor has tried too many tokens. */
  demandTry(request: HttpRequest): void;
  readonly hasPage: boolean;
}

export function roomLinkHooks({ host, demandTry, hasPage }: RoomLinkParts): Hook[] {
  const show = async (request: HttpRequest): Promise<HttpAnswer> => {
    const links = host.provided('roomLinks');
    const { name, token } = partsOf(request.rest);
    if (token !== '') demandTry(request);
    const room = name === undefined ? undefined : Jid.tryParse(`${name}@${links?.jid.domain}`);
    const found = room?.local === undefined ? undefined : await links?.look(room, token);
    if (room === undefined || found === undefined) throw new HttpError(404, textsFor(request).invalid);
    return roomPage(request, { ...found, uri: uriOf(room, token) });
  };

  const invite: Command = {
    node: 'invite-to-room',
    name: 'Invite to a room by a link',
    target: 'server',
    access: 'users',
    run: async ({ request: { from }, form: submitted, state }) => {
      const links = host.provided('roomLinks');
      if (links === undefined) throw new StanzaError('service-unavailable');
      if (state === undefined)
        return { status: 'executing', state: 'asked', actions: ['complete'], payload: [wanted.form()] };
      const given = wanted.read(submitted);
      const { room } = given ?? {};
      if (room?.local === undefined || room.domain !== links.jid.domain)
        throw new StanzaError('not-acceptable', `Name a room of ${links.jid.domain}.`);
      const days = numberIn(given?.days, mostDays) ?? usualDays;
      const uses = numberIn(given?.uses, mostUses);
      const { token, until } = await links.issue(room.toBare(), from.toBare(), {
        seconds: days * daySeconds,
        uses,
      });
      const url = hasPage && host.publicUrl !== undefined ? `${host.publicUrl}${pathOf(room, token)}` : undefined;
      return {
        status: 'completed',
        payload: [linkForm('urn:waxwing:invite-to-room', { uri: uriOf(room, token), url, until })],
      };
    },
  };

  return [command(invite), ...(hasPage ? [http('GET', path, show, { below: true })] : [])];
}

/** `/NAME` or `/NAME/TOKEN`. */
function partsOf(rest: string): { readonly name: string | undefined; readonly token: string } {
  const [, encoded, token = ''] = /^\/([^/]+)(?:\/([\w-]{1,128}))?$/.exec(rest) ?? [];
  try {
    return { name: encoded === undefined ? undefined : decodeURIComponent(encoded), token };
  } catch {
    return { name: undefined, token };
  }
}

const pathOf = ({ local }: Jid, token: string): string => `${path}/${encodeURIComponent(local!)}/${token}`;

/** XEP-0045 §17.1.1, XEP-0488 §4.4. */
const uriOf = ({ bare }: Jid, token: string): string =>
  `xmpp:${escaped(bare)}?join${token === '' ? '' : `;password=${token}`}`;

/** Undefined if nothing was entered. Throws StanzaError. */
function numberIn(text: string | undefined, most: number): number | undefined {
  const trimmed = text?.trim() ?? '';
  if (trimmed === '') return undefined;
  const number = /^\d{1,6}$/.test(trimmed) ? Number(trimmed) : 0;
  if (number < 1 || number > most) throw new StanzaError('not-acceptable', `Write a number from 1 to ${most}.`);
  return number;
}
