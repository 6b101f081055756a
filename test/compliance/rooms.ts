/** Phrases that several dialogues in rooms use (XEP-0045). Rooms are at conference.localhost. */
import { NS } from '../../src/server/stanza/ns.js';
import type { Peer } from './dialogue.js';

export const service = 'conference.localhost';

export const item = (affiliation: string, role: string): string =>
  `<item affiliation='${affiliation}' role='${role}'/>`;

/** The presence that joins a room; `inside` is put into `<x/>`. */
export const joins = (address: string, inside = ''): string =>
  `<presence to='${address}'><x xmlns='${NS.muc}'>${inside}</x></presence>`;

const submission = (fields: Readonly<Record<string, string | readonly string[]>>): string =>
  `<x xmlns='${NS.dataForms}' type='submit'>
    <field var='FORM_TYPE'><value>${NS.mucRoomConfig}</value></field>
    ${Object.entries(fields)
      .map(([name, values]) => {
        const all = typeof values === 'string' ? [values] : values;
        return `<field var='${name}'>${all.map((value) => `<value>${value}</value>`).join('')}</field>`;
      })
      .join('')}</x>`;

export const configuration = (room: string, fields: Readonly<Record<string, string | readonly string[]>>): string =>
  `<iq type='set' id='config' to='${room}@${service}'>
    <query xmlns='${NS.mucOwner}'>${submission(fields)}</query></iq>`;

/** The owner configures a room; ignores the resulting stanzas. */
export async function configures(
  owner: Peer,
  room: string,
  fields: Readonly<Record<string, string | readonly string[]>>,
): Promise<void> {
  await owner.sends(configuration(room, fields));
  await owner.syncs();
  const result = owner.forgets().find(({ attrs }) => attrs.id === 'config');
  if (result?.attrs.type !== 'result') throw new Error(`the room was not configured: ${result}`);
}

export const opens = (owner: Peer, room: string): Promise<void> => configures(owner, room, {});

/** A user joins as `nick`; ignores the resulting stanzas. */
export async function enters(peer: Peer, room: string, nick: string, inside = ''): Promise<void> {
  await peer.sends(joins(`${room}@${service}/${nick}`, inside));
  await peer.syncs();
  const [self] = peer
    .forgets()
    .filter(({ name, attrs }) => name === 'presence' && attrs.type !== 'unavailable')
    .slice(-1);
  if (self === undefined || self.attrs.type === 'error') throw new Error(`${nick} could not enter: ${self}`);
}

/** Makes an open room and enters it. */
export async function founds(
  owner: Peer,
  room: string,
  nick: string,
  fields: Readonly<Record<string, string | readonly string[]>> = {},
): Promise<void> {
  await enters(owner, room, nick);
  await configures(owner, room, fields);
}

/** Changes an affiliation; ignores the resulting stanzas. */
export async function grants(owner: Peer, room: string, jid: string, affiliation: string): Promise<void> {
  await owner.sends(
    `<iq type='set' id='grant' to='${room}@${service}'><query xmlns='${NS.mucAdmin}'>
      <item affiliation='${affiliation}' jid='${jid}'/></query></iq>`,
  );
  await owner.syncs();
  const result = owner.forgets().find(({ attrs }) => attrs.id === 'grant');
  if (result?.attrs.type !== 'result') throw new Error(`not granted: ${result}`);
}

/** All ignore what they have received. */
export async function quiets(...peers: readonly Peer[]): Promise<void> {
  for (const peer of peers) {
    await peer.syncs();
    peer.forgets();
  }
}
