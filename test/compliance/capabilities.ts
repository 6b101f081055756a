/** Clients that announce capabilities (XEP-0115), for dialogues. */
import { capsHash } from '../../src/server/stanza/caps.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { Peer } from './dialogue.js';

let versions = 0;

export interface Capabilities {
  readonly ver: string;
  readonly presence: string;
  /** The content of the answer to disco#info. */
  readonly info: string;
}

/** Capabilities that no other client has, so the server does not know them yet. */
export function capabilities(...features: string[]): Capabilities {
  const name = `client ${++versions}`;
  const all = [NS.discoInfo, ...features];
  const ver = capsHash([{ category: 'client', type: 'pc', name }], all);
  return {
    ver,
    presence: `<presence><c xmlns='${NS.caps}' hash='sha-1' node='urn:example:client' ver='${ver}'/></presence>`,
    info: `<identity category='client' type='pc' name='${name}'/>${all.map((one) => `<feature var='${one}'/>`).join('')}`,
  };
}

/** Answers the question for the capabilities that it announced. */
export async function explains(peer: Peer, { ver, info }: Capabilities): Promise<void> {
  const [asked] = (await until(peer, (xml) => xml.getChild('query', NS.discoInfo) !== undefined)).slice(-1);
  const { from, id } = asked!.attrs;
  await peer.sends(
    `<iq type='result' to='${from}' id='${id}'><query xmlns='${NS.discoInfo}' node='urn:example:client#${ver}'>${info}</query></iq>`,
  );
}

async function until(peer: Peer, isLast: (element: Awaited<ReturnType<Peer['receivesAny']>>) => boolean) {
  const passed = [];
  for (;;) {
    const element = await peer.receivesAny();
    passed.push(element);
    if (isLast(element)) return passed;
  }
}

/** Becomes available with these features, answers the query for them, and ignores other stanzas. */
export async function appears(peer: Peer, ...features: string[]): Promise<void> {
  const caps = capabilities(...features);
  await peer.sends(caps.presence);
  await explains(peer, caps);
  await peer.syncs();
  peer.forgets();
}
