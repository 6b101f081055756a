/** Redis under a server: stopped and started again under chat, it takes away what it held and nothing else. */
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { Redis } from 'ioredis';
import { type Peer, scenario } from '../compliance/dialogue.js';
import { befriends } from '../compliance/phrases.js';
import { freePort } from '../interop/ports.js';
import { Engine } from './server.js';

const engines: Engine[] = [];
after(() => Promise.all(engines.map((engine) => engine.remove())));
const awayPort = await freePort();

const configOf = (port: number) => ({
  storage: {
    driver: 'memory',
    answer_seconds: 1,
    redis: { addresses: [`127.0.0.1:${port}`] },
    stores: { last_activity: 'redis', last_logins: 'redis', client_caps: 'redis' },
  },
});
const options = { errors: true, nodes: 1, alone: true, isTimed: true, isConfigured: true } as const;

const last = (id: string) => `<iq type='get' id='${id}' to='juliet@localhost'><query xmlns='jabber:iq:last'/></iq>`;

const answered = (id: string) => `<iq type='result' id='${id}'><query xmlns='jabber:iq:last' seconds='0'/></iq>`;

async function chats(from: Peer, to: Peer, count: number, name: string): Promise<void> {
  for (let n = 0; n < count; n++)
    await from.sends(`<message to='juliet@localhost/balcony' type='chat' id='${name}${n}'><body>${n}</body></message>`);
  for (let n = 0; n < count; n++)
    await to.receives(`<message type='chat' id='${name}${n}'><body>${n}</body></message>`);
}

for (const how of ['stopped', 'killed', 'frozen'] as const) {
  const engine = await Engine.start();
  engines.push(engine);
  scenario(
    `Redis is ${how} and comes back under chat`,
    { ...options, config: configOf(engine.port) },
    async (scene) => {
      const { server } = scene;
      const redis = () => server.engines.states.find(({ name }) => name === 'redis')!;
      const until = async (isWorking: boolean) => {
        // Each turn asks for what is in Redis.
        for (let n = 0; redis().isWorking !== isWorking; n++) {
          await romeo.sends(last(`${isWorking}${n}`));
          await romeo.receives(answered(`${isWorking}${n}`));
        }
      };
      const romeo = await scene.actor('romeo@localhost/orchard', { presence: true });
      const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
      await befriends(romeo, juliet);
      for (const peer of [romeo, juliet]) peer.forgets();
      await chats(romeo, juliet, 20, 'before');
      assert.equal(redis().isWorking, true);

      if (how === 'frozen') engine.signal('SIGSTOP');
      else await engine.stop(how === 'killed' ? 'SIGKILL' : 'SIGTERM');
      await until(false);
      assert.ok(redis().failingSeconds !== undefined);
      await chats(romeo, juliet, 20, 'during');
      // Logins, accounts and their deletion need no Redis.
      const nurse = await scene.actor('nurse@localhost/hall', { presence: true });
      await server.accounts.remove('nurse@localhost');
      await nurse.drains();

      if (how === 'frozen') engine.signal('SIGCONT');
      else await engine.start();
      await until(true);
      await chats(romeo, juliet, 20, 'after');
      const raw = new Redis({ host: '127.0.0.1', port: engine.port });
      try {
        await server.accounts.writeLogins();
        await scene.actor('paris@localhost/tomb');
        await server.accounts.writeLogins();
        assert.equal(await raw.exists('waxwing:document:last_logins:{paris@localhost}'), 1);
        assert.equal(await raw.exists('waxwing:document:last_activity:{nurse@localhost}'), 0);
      } finally {
        raw.disconnect();
      }
    },
  );
}

scenario('a server starts without Redis', { ...options, config: configOf(awayPort) }, async (scene) => {
  const redis = () => scene.server.engines.states.find(({ name }) => name === 'redis')!;
  assert.equal(redis().isWorking, false);
  const romeo = await scene.actor('romeo@localhost/orchard', { presence: true });
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  await chats(romeo, juliet, 5, 'm');
  assert.equal(redis().isWorking, false);
});
