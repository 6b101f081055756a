/** XEP-0047, XEP-0231: what two clients send each other inside of their streams arrives as it was sent, in its order. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';

const ibb = 'http://jabber.org/protocol/ibb';
const bob = 'urn:xmpp:bob';
const from = 'romeo@localhost/orchard';
const to = 'juliet@elsewhere.example/balcony';

scenario('XEP-0047 §2: a stream over IQs is opened, carries bytes, and is closed', async ({ actor }) => {
  const romeo = await actor(from);
  const juliet = await actor(to);
  const exchange = async (id: string, payload: string) => {
    await romeo.sends(`<iq type='set' id='${id}' to='${to}'>${payload}</iq>`);
    const received = await juliet.receives(`<iq type='set' id='${id}' from='${from}' to='${to}'>${payload}</iq>`, {
      exactly: true,
    });
    await juliet.sends(`<iq type='result' id='${id}' to='${from}'/>`);
    await romeo.receives(`<iq type='result' id='${id}' from='${to}' to='${from}'/>`, { exactly: true });
    return received;
  };
  await exchange('open', `<open xmlns='${ibb}' block-size='4096' sid='s' stanza='iq'/>`);
  const file = randomBytes(20_000);
  const parts: string[] = [];
  for (let seq = 0; seq * 4096 < file.length; seq++) {
    const part = file.subarray(seq * 4096, (seq + 1) * 4096).toString('base64');
    const received = await exchange(`d${seq}`, `<data xmlns='${ibb}' seq='${seq}' sid='s'>${part}</data>`);
    parts.push(received.getChildText('data', ibb)!);
  }
  assert.ok(Buffer.concat(parts.map((part) => Buffer.from(part, 'base64'))).equals(file));
  await exchange('close', `<close xmlns='${ibb}' sid='s'/>`);
});

scenario('XEP-0047 §4: messages stay in order, and unchanged', async ({ actor }) => {
  const romeo = await actor(from);
  const juliet = await actor(to);
  const data = (seq: number) =>
    `<message to='${to}' id='m${seq}'><data xmlns='${ibb}' sid='s' seq='${seq}'>${Buffer.from([seq]).toString('base64')}</data></message>`;
  await romeo.sends(Array.from({ length: 100 }, (_, seq) => data(seq)).join(''));
  for (let seq = 0; seq < 100; seq++) await juliet.receives(data(seq), { exactly: false });
});

scenario('XEP-0047 §2.1: a stream to an offline client cannot be opened', async ({ actor }) => {
  const romeo = await actor(from);
  await romeo.sends(`<iq type='set' id='1' to='${to}'><open xmlns='${ibb}' block-size='4096' sid='s'/></iq>`);
  await romeo.receives(
    `<iq type='error' id='1' from='${to}'><error><service-unavailable xmlns='${NS.stanzas}'/></error></iq>`,
  );
});

scenario('XEP-0231 §2.3: data is requested by its hash, and may be as large as a stanza', async ({ actor }) => {
  const romeo = await actor(from);
  const juliet = await actor(to);
  const image = randomBytes(8192);
  const cid = `sha1+${createHash('sha1').update(image).digest('hex')}@bob.xmpp.org`;
  await romeo.sends(`<iq type='get' id='1' to='${to}'><data xmlns='${bob}' cid='${cid}'/></iq>`);
  await juliet.receives(`<iq type='get' id='1' from='${from}'><data xmlns='${bob}' cid='${cid}'/></iq>`);
  const data = `<data xmlns='${bob}' cid='${cid}' max-age='86400' type='image/png'>${image.toString('base64')}</data>`;
  await juliet.sends(`<iq type='result' id='1' to='${from}'>${data}</iq>`);
  await romeo.receives(`<iq type='result' id='1' from='${to}' to='${from}'>${data}</iq>`, { exactly: true });
});
