/** XEP-0092: the name and version of the server. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const query = `<query xmlns='${NS.version}'/>`;

async function asks(peer: Peer) {
  await peer.sends(`<iq type='get' id='1' to='localhost'>${query}</iq>`);
  const result = await peer.receives(
    `<iq type='result' id='1' from='localhost'><query xmlns='${NS.version}'><name>*</name></query></iq>`,
  );
  return result.getChild('query', NS.version)!;
}

scenario('§2: name and version, but not the system', async ({ actor }) => {
  const answer = await asks(await actor('romeo@localhost/orchard'));
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  assert.equal(answer.getChildText('version'), version);
  assert.equal(answer.getChild('os'), undefined);
});

const hidden = { config: { modules: { version: { show_version: false, show_system: true } } } };
scenario('§5: the administrator chooses what is shown', hidden, async ({ actor }) => {
  const answer = await asks(await actor('romeo@localhost/orchard'));
  assert.equal(answer.getChildText('version'), '');
  assert.notEqual(answer.getChildText('os') ?? '', '');
});

scenario('§2: accounts have no version; clients answer for themselves', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard');
  for (const to of ['juliet@localhost', 'nobody@localhost', 'romeo@localhost']) {
    await romeo.sends(`<iq type='get' id='1' to='${to}'>${query}</iq>`);
    await romeo.receives(`<iq type='error' id='1' from='${to}'>${refusal('cancel', 'service-unavailable')}</iq>`);
  }
});
