/** Pictures, cards and bookmarks that one library writes in the form that it knows, and others read in theirs. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, describe } from 'node:test';
import type { Device } from './device.js';
import { Profanity } from './profanity.js';
import { Stage, without } from './stage.js';
import { steps } from './steps.js';
import { type Way, ways } from './ways.js';

const stage = Stage.forThisFile();
const skip = without('javascript') || without('slixmpp');

const kinds: readonly Way[] = [ways.xmppJsTls, ways.stanzaJs, ways.slixmppTls, ways.strophe];

/** 1×1, each of another colour: no two writers have the same. */
const pictures = [
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==',
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+P+/HgAFhAJ/wlseKgAAAABJRU5ErkJggg==',
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==',
];

describe('one account with every library, and a contact', { skip, concurrency: false }, () => {
  const step = steps();
  const account = stage.account('one');
  const devices: Device[] = [];
  /** One that asks to be notified. */
  let contact: Device;
  let watcher: Device;
  after(() => profanity?.quits());
  let profanity: Profanity | undefined;

  step('all log in', async () => {
    contact = await stage.keep(ways.slixmppTls.device(stage.account('contact'), stage.port('c2s_tls')));
    watcher = await stage.keep(ways.stanzaJs.device(stage.account('watcher'), stage.port('https')));
    for (const [at, way] of kinds.entries())
      devices.push(await stage.keep(way.device({ ...account, resource: `r${at}` }, stage.port(way.listener))));
    await Promise.all([...devices, contact, watcher].map((device) => device.online()));
    for (const other of [contact, watcher]) {
      await other.subscribe(account.bare);
      const bare = other.jid.split('/')[0]!;
      await devices[0]!.inbox.next('presence', { from: bare, type: 'subscribe' });
      await devices[0]!.accept(bare);
      await other.inbox.next('presence', { from: devices[0]!.jid, type: 'available' });
    }
  });

  for (const [at, { name }] of kinds.entries()) {
    step(`an avatar by ${name} (XEP-0084)`, async () => {
      const picture = pictures[at]!;
      const id = createHash('sha1').update(Buffer.from(picture, 'base64')).digest('hex');
      await devices[at]!.pep.setAvatar('image/png', picture);
      await contact.inbox.next('avatar', { from: account.bare, id, by: 'pep' });
      await watcher.inbox.next('avatar', { from: account.bare, id, by: 'presence' });
      for (const device of [...devices, contact, watcher]) {
        assert.equal(compact(await device.pep.avatar(account.bare)), picture, device.library);
        assert.equal(compact(await device.rooms.photo(account.bare)), picture, `${device.library}, on the card`);
      }
    });

    step(`a bookmark by ${name}`, async () => {
      const room = `room${at}@conference.localhost`;
      await devices[at]!.pep.bookmark(room, `Röom <${at}>`);
      const expected = Object.fromEntries(
        Array.from({ length: at + 1 }, (_, each) => [`room${each}@conference.localhost`, `Röom <${each}>`]),
      );
      for (const device of devices) assert.deepEqual(await device.pep.bookmarks(), expected, device.library);
    });

    step(`a vCard by ${name}`, async () => {
      await devices[at]!.setCard(`Name & ${at}`);
      for (const device of [...devices, contact]) {
        assert.equal(await device.card(account.bare), `Name & ${at}`, device.library);
        assert.equal((await device.pep.card4?.(account.bare)) ?? `Name & ${at}`, `Name & ${at}`, device.library);
      }
    });
  }

  step('a vCard4 (XEP-0292)', async () => {
    const writer = devices.find(({ pep }) => pep.setCard4 !== undefined)!;
    await writer.pep.setCard4!('Name of <four>');
    for (const device of [...devices, contact])
      assert.equal(await device.card(account.bare), 'Name of <four>', device.library);
  });

  step('the picture of a vCard', async () => {
    const id = createHash('sha1').update(Buffer.from(pictures[0]!, 'base64')).digest('hex');
    await devices[0]!.rooms.setPhoto(account.bare, 'image/png', pictures[0]!);
    await contact.inbox.next('avatar', { from: account.bare, id, by: 'pep' });
    for (const device of devices)
      assert.equal(compact(await device.pep.avatar(account.bare)), pictures[0], device.library);
  });

  step('bookmarks are removed', async () => {
    const left = new Map(kinds.map((_, each) => [`room${each}@conference.localhost`, `Röom <${each}>`]));
    for (const [at, device] of devices.entries()) {
      // Not its own.
      const room = `room${(at + 1) % devices.length}@conference.localhost`;
      await device.pep.unbookmark(room);
      left.delete(room);
      if (left.size > 0)
        for (const other of devices)
          assert.deepEqual(
            await other.pep.bookmarks(),
            Object.fromEntries(left),
            `${device.library}, ${other.library}`,
          );
    }
  });

  const withProfanity = async (): Promise<void> => {
    await devices[0]!.pep.bookmark('verona@conference.localhost', 'Verona');
    profanity = await Profanity.start();
    await profanity.logsIn(account, stage.port('c2s'), 'force');
    await profanity.types('/disco info localhost');
    await profanity.sees(/urn:xmpp:ping/);
    await profanity.types(`/avatar get ${account.bare}`);
    await profanity.sees(/Avatar saved as \S+\.png/);
    await profanity.types('/bookmark list');
    await profanity.sees(/verona@conference\.localhost/);
    await profanity.types('/bookmark add padua@conference.localhost nick me name Padua');
    await profanity.sees(/Bookmark added for padua/);
    for (const device of devices) while ((await device.pep.bookmarks())['padua@conference.localhost'] !== 'Padua');
    for (const device of devices)
      assert.deepEqual(await device.pep.bookmarks(), {
        'padua@conference.localhost': 'Padua',
        'verona@conference.localhost': 'Verona',
      });
  };
  step('Profanity gets the avatar and the bookmarks', withProfanity, without('profanity'));
});

const compact = (base64: string): string => base64.replaceAll(/\s/g, '');
