/**
 * A storage that does not answer, or fails: clients get an answer to everything in bounded time (RFC 6120 §8.2.3,
 * XEP-0198 §4), what needs no storage goes on, and afterwards all is as before. Nothing that was acknowledged is lost.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Storage, StorageError } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { around, mulberry32 } from '../../src/storage/wrappers.js';
import { type Peer, scenario } from './dialogue.js';
import { befriends } from './phrases.js';

/** A storage in memory whose operations can be made to hang or to fail. Those that hang are carried out afterwards. */
class Engine {
  #state: 'works' | 'hangs' | 'fails' = 'works';
  #waiting: (() => void)[] = [];
  readonly inner = new MemoryStorage();

  readonly open = (): Storage =>
    around(this.inner, async (_, run) => {
      if (this.#state === 'hangs') await new Promise<void>((resolve) => this.#waiting.push(resolve));
      if (this.#state === 'fails') throw new StorageError('unavailable', 'the connection is refused');
      return run();
    });

  set state(state: 'works' | 'hangs' | 'fails') {
    this.#state = state;
    if (state !== 'hangs') for (const go of this.#waiting.splice(0)) go();
  }
}

const config = { storage: { answer_seconds: 1 } };
const options = { errors: true, config, nodes: 1, alone: true, isTimed: true } as const;
const chat = (id: string, to: string) => `<message to='${to}' type='chat' id='${id}'><body>${id}</body></message>`;
const constrained = (id: string) =>
  `<message type='error' id='${id}'><error type='wait'><resource-constraint xmlns='${NS.stanzas}'/></error></message>`;

for (const failing of ['hangs', 'fails'] as const) {
  const engine = new Engine();
  scenario(`the storage ${failing}, and works again`, { ...options, storage: engine.open }, async (scene) => {
    const { server, stage } = scene;
    const romeo = await scene.actor('romeo@localhost/orchard', { presence: true });
    const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
    await befriends(romeo, juliet);
    await scene.actor('nurse@localhost/hall');
    for (const peer of [romeo, juliet]) peer.forgets();
    engine.state = failing;

    // Until the breaker opens, each is answered when its time is over.
    for (let n = 0; n < 6; n++) await romeo.sends(chat(`m${n}`, 'nurse@localhost'));
    for (let n = 0; n < 6; n++) await romeo.receives(constrained(`m${n}`));
    assert.equal(server.engines.states[0]!.isWorking, false);
    const vcard = `<iq type='get' id='v'><vCard xmlns='vcard-temp'/></iq>`;
    await romeo.sends(vcard);
    await romeo.receives(
      `<iq type='error' id='v'><error type='wait'><resource-constraint xmlns='${NS.stanzas}'/></error></iq>`,
    );

    // What needs no storage goes on.
    await romeo.sends(`<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>`);
    await romeo.receives(`<iq type='result' id='p'/>`);
    await romeo.sends('<presence><show>away</show></presence>');
    await juliet.receives(`<presence from='${romeo.jid}'><show>away</show></presence>`);
    await romeo.receives(`<presence from='${romeo.jid}'><show>away</show></presence>`);
    await romeo.sends(`<iq type='get' id='q' to='${juliet.jid}'><query xmlns='jabber:iq:version'/></iq>`);
    await juliet.receives(`<iq type='get' id='q' from='${romeo.jid}'><query xmlns='jabber:iq:version'/></iq>`);

    // RFC 6120 §6.5.11: an account that is not in memory cannot log in, and its password is not to blame.
    const late = await scene.connect({ transport: 'tls' });
    await late.opens();
    await late.receivesFeatures();
    const plain = Buffer.from('\0tybalt\0pencil').toString('base64');
    await late.sends(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${plain}</auth>`);
    await late.receives(
      `<failure xmlns='${NS.sasl}'><temporary-auth-failure/><text xml:lang='en'>Try again later.</text></failure>`,
    );

    const { text } = await server.metrics.text();
    assert.match(text, /^waxwing_engine_up\{engine="storage"\} 0$/m);
    engine.state = 'works';
    while (!server.engines.states[0]!.isWorking) await new Promise((resolve) => setTimeout(resolve, 20));
    await romeo.sends(chat('over', 'juliet@localhost'));
    await juliet.receives(chat('over', 'juliet@localhost'));
    await romeo.receivesNothing();
    const lines = stage.takeErrors().map((line) => JSON.parse(line) as { msg: string });
    const outages = lines.filter(({ msg }) => /the storage does not work/.test(msg));
    assert.equal(outages.length, 1, 'logged once');
    assert.ok(lines.length <= 3, lines.map(({ msg }) => msg).join('\n'));
  });
}

const mamPage = (id: string, after: string | undefined) =>
  `<iq type='set' id='${id}'><query xmlns='urn:xmpp:mam:2' queryid='${id}'>` +
  `<set xmlns='${NS.rsm}'><max>50</max>${after === undefined ? '' : `<after>${after}</after>`}</set></query></iq>`;

/** The ids of the messages in the peer's archive. */
async function archived(peer: Peer): Promise<string[]> {
  const ids: string[] = [];
  for (let after: string | undefined, page = 0; ; page++) {
    const id = `page-${page}`;
    await peer.sends(mamPage(id, after));
    for (;;) {
      const answer = await peer.receivesAny();
      const message = answer
        .getChild('result', 'urn:xmpp:mam:2')
        ?.getChild('forwarded', NS.forward)
        ?.getChild('message', NS.client);
      if (message !== undefined) ids.push(message.attrs.id as string);
      else if (answer.attrs.id === id) {
        const fin = answer.getChild('fin', 'urn:xmpp:mam:2');
        after = fin?.getChild('set', NS.rsm)?.getChildText('last', NS.rsm) ?? undefined;
        if (after === undefined || fin?.attrs.complete === 'true') return ids;
        break;
      }
    }
  }
}

for (const seed of [1, 2]) {
  const engine = new Engine();
  scenario(
    `what is acknowledged while the storage comes and goes is stored (${seed})`,
    { ...options, storage: engine.open },
    async (scene) => {
      const random = mulberry32(seed);
      const writers = await Promise.all(
        ['romeo', 'benvolio', 'mercutio'].map((name) => scene.actor(`${name}@localhost/street`, { presence: true })),
      );
      const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
      for (const writer of writers) {
        await writer.sends(`<enable xmlns='${NS.sm}'/>`);
        await writer.receives(`<enabled xmlns='${NS.sm}'/>`);
      }
      let isOver = false;
      const weather = (async () => {
        for (let n = 0; n < 25; n++) {
          engine.state = (['works', 'hangs', 'fails', 'works'] as const)[Math.floor(random() * 4)]!;
          await new Promise((resolve) => setTimeout(resolve, 20 + random() * 300));
        }
        engine.state = 'works';
        isOver = true;
      })();
      const refused = new Map<Peer, Set<string>>();
      const sent = new Map<Peer, string[]>();
      await Promise.all(
        writers.map(async (writer, at) => {
          const ids: string[] = [];
          const errors = new Set<string>();
          sent.set(writer, ids);
          refused.set(writer, errors);
          while (!isOver) {
            for (let n = 0; n < 5; n++) {
              const id = `${at}-${ids.length}`;
              ids.push(id);
              await writer.sends(chat(id, 'juliet@localhost'));
            }
            // XEP-0198 §4: it is answered once all of them are stored or refused.
            await writer.sends(`<r xmlns='${NS.sm}'/>`);
            for (;;) {
              const answer = await writer.receivesAny();
              if (answer.name === 'message') {
                assert.equal(answer.attrs.type, 'error');
                errors.add(answer.attrs.id as string);
              } else if (answer.name === 'a') {
                if (Number(answer.attrs.h) === ids.length) break;
                // Some may be in a later commit than others.
                await writer.sends(`<r xmlns='${NS.sm}'/>`);
              }
            }
          }
        }),
      );
      await weather;
      while (!scene.server.engines.states[0]!.isWorking) await new Promise((resolve) => setTimeout(resolve, 20));
      const seen = juliet.forgets().map(({ attrs }) => attrs.id as string);
      assert.equal(new Set(seen).size, seen.length, 'nothing is delivered twice');
      const inbox = await archived(juliet);
      let count = 0;
      for (const writer of writers) {
        const own = await archived(await scene.actor(`${writer.jid.split('/')[0]}/home`));
        for (const id of sent.get(writer)!) {
          if (refused.get(writer)!.has(id)) continue;
          count++;
          for (const archive of [inbox, own])
            assert.equal(archive.filter((one) => one === id).length, 1, `${id} was acknowledged`);
          assert.ok(seen.includes(id), `${id} was delivered`);
        }
      }
      assert.ok(count > 20, `${count} messages were acknowledged`);
      scene.stage.takeErrors();
    },
  );
}
