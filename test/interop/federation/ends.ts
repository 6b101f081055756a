/** A server is stopped or killed, and starts again. `other` is that server. */
import { patience } from '../server.js';
import { ofOneAttempt } from './client.js';
import { until } from './program.js';
import { newRoom, opens } from './rooms.js';
import { converse, reaches } from './routes.js';
import type { Play } from './scene.js';

export const ends: readonly Play[] = [
  {
    title: 'the other server restarts, and is killed and starts again',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      let there = juliet;
      let attempts = 0;
      // ejabberd makes rosters durable late, but in any case when it stops.
      for (const how of ['stop', 'kill'] as const) {
        await other[how]();
        there.cut();
        // Nobody is there: the sender gets an error, and nothing waits.
        await until('an error', 3 * patience, async () => {
          const id = `${how}${attempts++}`;
          romeo.sends(`<message to='${juliet.bare}' type='chat' id='${id}'><body>Anybody?</body></message>`);
          const error = `<message from='${juliet.bare}' type='error' id='${id}'><error/></message>`;
          await romeo.gets(error, ofOneAttempt);
          return true;
        });
        await other.start();
        // RFC 6121 §4.3: who logs in learns by probes who is there, and is seen.
        there = await scene.someone(other, { bare: juliet.bare, resource: how });
        await there.gets(`<presence from='${romeo.jid}'/>`);
        await romeo.gets(`<presence from='${there.jid}'/>`);
        await reaches(romeo, there);
        await reaches(there, romeo);
        await converse(romeo, there);
        await converse(there, romeo);
      }
    },
  },
  {
    title: 'who was in a room when their server was killed is removed from it, and comes back',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const room = newRoom(one);
      await opens(romeo, room, 'romeo');
      await juliet.can.rooms.enter(room, 'juliet');
      await romeo.inbox.next('occupant', { from: `${room}/juliet`, type: 'available' });
      await other.kill();
      juliet.cut();
      // XEP-0045 §18.1.2: what cannot be delivered removes the occupant. What the other server writes before it notices
      // the end of the connection is lost, and is not reported by anybody.
      await until('the removal of the occupant', 2 * patience, async () => {
        await romeo.can.rooms.say(room, 'Are you there?');
        await romeo.inbox.next('message', { from: `${room}/romeo`, body: 'Are you there?' });
        return romeo.inbox
          .take('occupant')
          .some(({ from, type }) => from === `${room}/juliet` && type === 'unavailable');
      });
      await other.start();
      const again = await scene.someone(other, { bare: juliet.bare });
      await reaches(again, romeo);
      await again.can.rooms.enter(room, 'juliet');
      await again.inbox.next('occupant', { from: `${room}/romeo`, type: 'available' });
      await romeo.can.rooms.say(room, 'Welcome');
      await again.inbox.next('message', { from: `${room}/romeo`, body: 'Welcome' });
    },
  },
  {
    title: 'a room whose server was killed: who was in it notices by a ping (XEP-0410), and comes back',
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const room = newRoom(other);
      await opens(juliet, room, 'juliet');
      await juliet.can.rooms.configure(room, { 'muc#roomconfig_persistentroom': '1' });
      await romeo.can.rooms.enter(room, 'romeo');
      await other.kill();
      juliet.cut();
      await other.start();
      const again = await scene.someone(other, { bare: juliet.bare });
      await reaches(romeo, again);
      const isIn = await romeo.can.rooms.isIn(room, 'romeo').catch((error: unknown) => {
        if (/item-not-found|service-unavailable/.test(String(error))) return false;
        throw error;
      });
      if (!isIn) await romeo.can.rooms.enter(room, 'romeo');
      await again.can.rooms.enter(room, 'juliet');
      await romeo.can.rooms.say(room, 'Still here');
      await again.inbox.next('message', { from: `${room}/romeo`, body: 'Still here' });
      await again.can.rooms.say(room, 'Me too');
      await romeo.inbox.next('message', { from: `${room}/juliet`, body: 'Me too' });
    },
  },
];
