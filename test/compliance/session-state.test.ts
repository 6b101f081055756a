/**
 * Session state that modules declare survives a restart and a crash (docs/decisions/0004-resumption-after-a-crash.md): that
 * of a module of one's own like that of ours, and what earlier versions wrote.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { z } from 'zod';
import { enabled as copied } from '../../src/modules/xep-0280-carbons.js';
import { Jid } from '../../src/server/address/jid.js';
import { createServer } from '../../src/server/index.js';
import { defineModule, derive, type IqRequest, iq, sessionState } from '../../src/server/module/index.js';
import { Session } from '../../src/server/routing/session.js';
import { writeStates } from '../../src/server/routing/session-state.js';
import { NS } from '../../src/server/stanza/ns.js';
import { el } from '../../src/server/xml/element.js';
import type { DocumentStore, Storage } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { hits, type Peer, type Scene, scenario } from './dialogue.js';

const ns = 'urn:example:moods';

/** Its value has a form of its own for storage. */
const moods = sessionState<ReadonlySet<string>>({
  name: 'example.moods',
  default: new Set(),
  stored: z.codec(z.array(z.string()), z.set(z.string()), {
    decode: (all) => new Set(all),
    encode: (all) => [...all],
  }),
});
const asked = sessionState({ name: 'example.asked', default: 0, stored: false });
/** The account's other sessions, as they were when this one was written down. */
const company = sessionState({ name: 'example.company', default: '', stored: z.string() });
const motto = sessionState({ name: 'example.motto', default: '', stored: z.string() });

/** A module from outside: notes moods of a session and tells them; `for`: of another session of the account. */
const example = defineModule({
  name: 'moods',
  summary: 'Remembers moods.',
  implements: {},
  sessionStates: [moods, asked, motto, company],
  start: ({ host }) => {
    const meant = ({ payload, session, to: owner }: IqRequest) =>
      payload.attrs.for === undefined
        ? session!
        : host.sessions(owner.bare).find(({ jid }) => jid.resource === payload.attrs.for)!;
    return [
      iq.set('account', ns, 'mood', (request) => {
        const session = meant(request);
        const { mood, words } = request.payload.attrs;
        if (mood !== undefined) session.set(moods, new Set([...session.get(moods), mood]));
        if (words !== undefined) session.set(motto, 'word '.repeat(Number(words)));
      }),
      iq.get('account', ns, 'mood', (request) => {
        const session = meant(request);
        session.set(asked, session.get(asked) + 1);
        const words = session.get(motto).split(' ').length - 1;
        return el('mood', {
          xmlns: ns,
          moods: [...session.get(moods)].join(' '),
          asked: `${session.get(asked)}`,
          words: `${words}`,
          company: session.get(company),
        });
      }),
      derive(company, ({ jid }) =>
        host
          .sessions(jid.bare)
          .filter((other) => !other.jid.equals(jid))
          .map((other) => other.jid.resource)
          .join(' '),
      ),
    ];
  },
});

const own = { modules: [example], alone: true, stays: 'about what the server stores when it stops' };
const keeping = { ...own, config: { stream_management: { snapshot_after_seconds: 0 } } };

async function feels(peer: Peer, attributes: string): Promise<void> {
  await peer.sends(`<iq type='set' id='m'><mood xmlns='${ns}' ${attributes}/></iq>`);
  await takes(peer, `<iq type='result' id='m'/>`);
}

/** The answer, with or without a following request for an acknowledgement. */
async function takes(peer: Peer, stanza: string) {
  const answer = await peer.receives(stanza);
  await peer.syncs();
  peer.forgets();
  return answer;
}

async function mood(peer: Peer): Promise<readonly (string | undefined)[]> {
  await peer.sends(`<iq type='get' id='q'><mood xmlns='${ns}'/></iq>`);
  const answer = await takes(peer, `<iq type='result' id='q'><mood xmlns='${ns}'/></iq>`);
  const { moods, asked, words } = answer.getChild('mood', ns)!.attrs;
  return [moods, asked, words];
}

async function resumes(scene: Scene, peer: Peer, id: string): Promise<Peer> {
  const back = await scene.known(peer.jid);
  await back.sends(`<resume xmlns='${NS.sm}' previd='${id}' h='${peer.handled}'/>`);
  await back.receives(`<resumed xmlns='${NS.sm}' previd='${id}'/>`);
  back.jid = peer.jid;
  return back;
}

type SavedSession = Record<string, unknown> & { readonly state: Record<string, unknown> };
const records = (storage: Storage): DocumentStore<SavedSession> => storage.document('stream_management');

/** The stored record of a session, once there is one. */
async function stored(storage: Storage, id: string): Promise<SavedSession> {
  for (;;) {
    const record = await records(storage).get(id);
    if (record !== undefined) return record;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The server restarts and finds this record, or none, as after a crash at that time. */
const crashes = ({ stage }: Scene, id: string, record: SavedSession | undefined): Promise<void> =>
  stage.restart((storage) => (record === undefined ? records(storage).forget(id) : records(storage).set(id, record)));

async function managed(scene: Scene): Promise<readonly [juliet: Peer, id: string]> {
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  return [juliet, (await juliet.managesStream()).attrs.id!];
}

/** The same, and asleep: it hears nothing more. */
const asleep = async (scene: Scene): Promise<readonly [juliet: Peer, id: string]> => {
  const [juliet, id] = await managed(scene);
  await feels(juliet, "mood='glad'");
  juliet.cut();
  return [juliet, id];
};

scenario('the state of a third-party module survives several restarts', own, async (scene) => {
  const [juliet, id] = await managed(scene);
  await feels(juliet, "mood='glad'");
  await feels(juliet, `mood='"brave" &amp; ëlse' words='3'`);
  const all = '"brave" & ëlse';
  assert.deepEqual(await mood(juliet), [`glad ${all}`, '1', '3']);
  await Promise.all([scene.stage.restart(), juliet.receivesStreamError('system-shutdown')]);
  await scene.stage.restart();
  const back = await resumes(scene, juliet, id);
  assert.deepEqual(await mood(back), [`glad ${all}`, '1', '3'], 'what is not stored begins anew');
  await feels(back, "mood='calm'");
  assert.deepEqual(await mood(back), [`glad ${all} calm`, '2', '3']);
  const other = await scene.actor('juliet@localhost/garden');
  assert.deepEqual(await mood(other), ['', '1', '0'], 'each session has its own');
});

scenario('it survives a crash', keeping, async (scene) => {
  const storage = scene.server.storage;
  const [juliet, id] = await managed(scene);
  await feels(juliet, "mood='glad'");
  const record = await stored(storage, id);
  await crashes(scene, id, record);
  const back = await resumes(scene, juliet, id);
  assert.deepEqual(await mood(back), ['glad', '1', '0']);
});

scenario(
  "a session's snapshot becomes stale when another session's handler changes its state",
  keeping,
  async (scene) => {
    const storage = scene.server.storage;
    const [juliet, id] = await managed(scene);
    const garden = await scene.actor('juliet@localhost/garden');
    await stored(storage, id);
    await garden.sends(`<iq type='set' id='m'><mood xmlns='${ns}' for='balcony' mood='sad'/></iq>`);
    await garden.receives(`<iq type='result' id='m'/>`);
    assert.equal(await records(storage).get(id), undefined, 'nobody is told before');
    await crashes(scene, id, undefined);
    const back = await scene.known(juliet.jid);
    await back.sends(`<resume xmlns='${NS.sm}' previd='${id}' h='${juliet.handled}'/>`);
    await back.receives(`<failed xmlns='${NS.sm}'/>`);
  },
);

scenario(
  'a damaged state is reset to its default, without affecting others',
  { ...own, errors: true },
  async (scene) => {
    const [juliet, id] = await managed(scene);
    await juliet.sends(`<iq type='set' id='c'><enable xmlns='${NS.carbons}'/></iq>`);
    await takes(juliet, `<iq type='result' id='c'/>`);
    await feels(juliet, "mood='glad' words='2'");
    juliet.cut();
    await scene.stage.restart(async (storage) => {
      const record = await stored(storage, id);
      const damaged = { ...record.state, [moods.name]: ['glad', 1], presence: '<presence', unknown: true };
      await records(storage).set(id, { ...record, state: damaged });
    });
    const logged = scene.stage.takeErrors().map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      logged.map(({ msg, store, owner, key }) => [msg, store, owner, key]),
      ['presence', moods.name].map((key) => ['a stored record is damaged', 'stream_management', id, key]),
    );
    const back = await resumes(scene, juliet, id);
    assert.deepEqual(await mood(back), ['', '1', '2']);
    const session = scene.server.sessions.find(Jid.parse(juliet.jid))!;
    assert.deepEqual([session.available, session.get(copied)], [false, true]);
  },
);

scenario(
  'a state that is too large is not stored, and logged once; the rest is',
  { ...own, errors: true },
  async (scene) => {
    const both: (readonly [Peer, string])[] = [];
    for (const resource of ['balcony', 'chamber']) {
      const juliet = await scene.actor(`juliet@localhost/${resource}`);
      both.push([juliet, (await juliet.managesStream()).attrs.id!]);
      await feels(juliet, "mood='glad' words='60000'");
      juliet.cut();
    }
    await scene.stage.restart();
    const logged = scene.stage.takeErrors().map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      logged.map(({ msg, state }) => [msg, state]),
      [['could not store the state of a session', motto.name]],
    );
    for (const [juliet, id] of both) assert.deepEqual(await mood(await resumes(scene, juliet, id)), ['glad', '1', '0']);
  },
);

scenario('for a crash such a session is not stored at all', { ...keeping, errors: true }, async (scene) => {
  const [large] = await managed(scene);
  await feels(large, "words='60000'");
  const small = await scene.actor('juliet@localhost/chamber');
  const id = (await small.managesStream()).attrs.id!;
  await feels(small, "mood='glad'");
  await stored(scene.server.storage, id);
  assert.deepEqual(await records(scene.server.storage).owners({ limit: 10 }), [id]);
  assert.ok((await hits(scene, 'stream_management.state')) > 0);
  assert.equal(scene.stage.takeErrors().length, 1);
});

scenario('records of the previous version can be read', own, async (scene) => {
  const romeo = 'romeo@localhost/orchard';
  const [juliet, id] = await asleep(scene);
  await scene.stage.restart(async (storage) => {
    const { state: _, ...record } = await stored(storage, id);
    await records(storage).set(id, {
      ...record,
      presence: `<presence xmlns='jabber:client' from='${juliet.jid}'><priority>-1</priority></presence>`,
      priority: -1,
      interested: true,
      carbons: true,
      directed: [romeo],
    } as unknown as SavedSession);
  });
  const gets = await scene.actor(romeo);
  const back = await resumes(scene, juliet, id);
  const session = scene.server.sessions.find(Jid.parse(juliet.jid))!;
  assert.deepEqual([session.available, session.priority, session.get(copied)], [true, -1, true]);
  await back.sends(`<iq type='set' id='r'><query xmlns='${NS.roster}'><item jid='nurse@localhost'/></query></iq>`);
  await back.receives(`<iq type='set'><query xmlns='${NS.roster}'><item jid='nurse@localhost'/></query></iq>`);
  back.cut();
  scene.server.kick(session);
  await gets.receives(`<presence from='${juliet.jid}' type='unavailable'/>`);
});

scenario('XEP-0191 §3.3: clients that requested the block list get pushes after a restart', own, async (scene) => {
  const [juliet, id] = await managed(scene);
  await juliet.sends(`<iq type='get' id='b'><blocklist xmlns='${NS.blocking}'/></iq>`);
  await takes(juliet, `<iq type='result' id='b'/>`);
  const chamber = await scene.actor('juliet@localhost/chamber');
  const other = (await chamber.managesStream()).attrs.id!;
  await scene.stage.restart();
  const [back, silent] = [await resumes(scene, juliet, id), await resumes(scene, chamber, other)];
  const block = `<block xmlns='${NS.blocking}'><item jid='romeo@localhost'/></block>`;
  const garden = await scene.actor('juliet@localhost/garden');
  await garden.sends(`<iq type='set' id='b'>${block}</iq>`);
  await garden.receives(`<iq type='result' id='b'/>`);
  await back.receives(`<iq type='set'>${block}</iq>`);
  await silent.syncs();
  assert.deepEqual(
    silent.forgets().filter(({ name }) => name === 'iq'),
    [],
  );
});

/** The server reads it again when it reloads. */
const relays = { uris: ['stun:one.example.org'] };

scenario(
  'XEP-0215 §3.2: clients that requested the services get pushes after a restart',
  { ...own, config: { modules: { external_services: relays } } },
  async (scene) => {
    const [juliet, id] = await managed(scene);
    await juliet.sends(
      `<iq type='get' id='s' to='localhost'><services xmlns='${NS.externalServices}' type='stun'/></iq>`,
    );
    await takes(juliet, `<iq type='result' id='s'/>`);
    await scene.stage.restart();
    const back = await resumes(scene, juliet, id);
    relays.uris.push('stun:two.example.org', 'turn:three.example.org');
    await scene.server.reload();
    await back.receives(
      `<iq type='set' from='localhost'><services xmlns='${NS.externalServices}' type='stun'>
        <service action='add' type='stun' host='two.example.org' port='3478' transport='udp'/>
      </services></iq>`,
    );
  },
);

scenario('XEP-0153 §4.1: an avatar hidden by the client stays hidden after a restart', own, async (scene) => {
  const [juliet, id] = await managed(scene);
  await juliet.sends(`<presence><x xmlns='${NS.vcardUpdate}'><photo/></x></presence>`);
  await takes(juliet, `<presence from='${juliet.jid}'/>`);
  await scene.stage.restart();
  await resumes(scene, juliet, id);
  const garden = await scene.actor('juliet@localhost/garden', { presence: true });
  const png = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64',
  );
  const hash = createHash('sha1').update(png).digest('hex');
  const publish = (node: string, payload: string) =>
    `<iq type='set' id='p'><pubsub xmlns='${NS.pubsub}'><publish node='${node}'><item id='${hash}'>${payload}</item></publish></pubsub></iq>`;
  await garden.sends(publish(NS.avatarData, `<data xmlns='${NS.avatarData}'>${png.toString('base64')}</data>`));
  await garden.receives(`<iq type='result' id='p'/>`);
  const info = `<info id='${hash}' type='image/png' bytes='${png.length}'/>`;
  await garden.sends(publish(NS.avatarMetadata, `<metadata xmlns='${NS.avatarMetadata}'>${info}</metadata>`));
  await garden.receivesAnyOrder([`<iq type='result' id='p'/>`, `<presence from='${garden.jid}'/>`]);
  await garden.receivesNothing();
});

scenario('a derived state is stored as it was at the time of the snapshot', own, async (scene) => {
  const [juliet, id] = await managed(scene);
  const garden = await scene.actor('juliet@localhost/garden');
  await garden.managesStream();
  await scene.stage.restart();
  const back = await resumes(scene, juliet, id);
  await back.sends(`<iq type='get' id='q'><mood xmlns='${ns}'/></iq>`);
  await takes(back, `<iq type='result' id='q'><mood xmlns='${ns}' company='garden'/></iq>`);
});

test('a session is stored completely, or marked as incomplete', () => {
  const session = new Session(Jid.parse('juliet@localhost/x'), { send: () => {} });
  session.set(motto, 'glad');
  const failures: string[] = [];
  const written = (odd: () => unknown) =>
    writeStates(
      [motto, company, asked],
      (state) => (state === company ? odd() : session.get(state)),
      (state, error) => failures.push(`${state.name} ${(error as Error).name}`),
    );
  assert.deepEqual(
    written(() => ''),
    { values: { [motto.name]: 'glad' }, size: 19, isWhole: true },
  );
  assert.equal(written(() => undefined).isWhole, false, 'it cannot be told now');
  assert.equal(failures.length, 0);
  const broken = () => {
    throw new RangeError();
  };
  for (const odd of [broken, () => 7, () => 'x'.repeat(300_000)]) {
    const { values, isWhole } = written(odd);
    assert.deepEqual([values, isWhole], [{ [motto.name]: 'glad' }, false]);
  }
  assert.deepEqual(
    failures.map((line) => line.replace(company.name, '')),
    [' RangeError', ' ZodError', ' TooMuchState'],
  );
});

test('only the module that declares a state derives it', async () => {
  const other = defineModule({
    name: 'other',
    summary: 'Works out what is another’s.',
    implements: {},
    start: () => [derive(company, () => '')],
  });
  await assert.rejects(
    createServer({ text: '[hosts.localhost]', modules: [example, other], storage: new MemoryStorage() }),
    /module other must derive example.company/,
  );
});

test('two modules cannot declare one state, nor one of the server', async () => {
  for (const name of ['carbons', 'presence']) {
    const other = defineModule({
      name: 'other',
      summary: 'Takes the name of another.',
      implements: {},
      sessionStates: [sessionState({ name, default: 0, stored: false })],
      start: () => [],
    });
    await assert.rejects(
      createServer({ text: '[hosts.localhost]', modules: [other], storage: new MemoryStorage() }),
      /module other.* session state /,
    );
  }
});

test('a state that no module declares cannot be set', () => {
  const session = new Session(Jid.parse('juliet@localhost/x'), { send: () => {} });
  const state = sessionState({ name: 'nowhere', default: 7, stored: false });
  assert.throws(() => session.set(state, 8), /nowhere/);
  assert.equal(session.get(state), 7);
});
