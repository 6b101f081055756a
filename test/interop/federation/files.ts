/** Files (XEP-0363): addresses that are sent to people of another server, and who may upload. */
import assert from 'node:assert/strict';
import { request } from 'node:https';
import { NS } from '../../../src/server/stanza/ns.js';
import { domainOf, type Peer, uploadsOf } from './peer.js';
import type { Play, Scene } from './scene.js';

interface Answer {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly body: Buffer;
}

/**
 * A request to a web address of our server, whose certificate must be valid for the name in it. DNS of the test is not
 * that of the system, so the connection goes to where the server listens.
 */
function fetched(scene: Scene, { web }: Peer, method: string, url: string, content?: Buffer): Promise<Answer> {
  assert.ok(web !== undefined);
  const { hostname, pathname, search, port, protocol } = new URL(url);
  assert.deepEqual([protocol, Number(port)], ['https:', web.port]);
  return new Promise((resolve, reject) => {
    const asking = request(
      {
        host: web.host,
        port: web.port,
        servername: hostname,
        ca: scene.authority.certificate,
        method,
        path: `${pathname}${search}`,
        headers: { Host: `${hostname}:${port}`, ...(content && { 'Content-Length': content.length }) },
        agent: false,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode,
            type: response.headers['content-type'],
            body: Buffer.concat(chunks),
          }),
        );
      },
    );
    asking.on('error', reject).end(content);
  });
}

const slotFor = (name: string, size: number): string =>
  `<request xmlns='${NS.upload}' filename='${name}' size='${size}' content-type='image/png'/>`;

const suits: Play['suits'] = (scene, one) => one === scene.us;

export const files: readonly Play[] = [
  {
    title: 'a file is uploaded, its address (XEP-0066) is sent to the other server, and downloaded',
    suits,
    async play(scene, one, other) {
      const [romeo, juliet] = await scene.friends(one, other);
      const content = Buffer.from('not really a picture, with \0 and \xff', 'latin1');
      const service = uploadsOf(domainOf(one.name, 'external'));
      assert.ok((await romeo.can.features(service)).includes(NS.upload));
      const answer = await romeo.asks(
        'get',
        slotFor('Blümchen & Söhne.png', content.length).replace('&', '&amp;'),
        service,
      );
      const slot = answer.getChild('slot', NS.upload)!;
      const [put, get] = ['put', 'get'].map((name) => slot.getChild(name)!.attrs.url!) as [string, string];
      assert.equal((await fetched(scene, one, 'PUT', put, content)).status, 201);
      const escaped = get.replaceAll('&', '&amp;');
      const link = `<body>${escaped}</body><x xmlns='jabber:x:oob'><url>${escaped}</url></x>`;
      romeo.sends(`<message to='${juliet.bare}' type='chat' id='file'>${link}</message>`);
      const came = await juliet.gets(`<message from='${romeo.jid}' type='chat' id='file'>${link}</message>`);
      const { status, type, body } = await fetched(scene, one, 'GET', came.getChildText('body')!);
      assert.deepEqual([status, type], [200, 'image/png']);
      assert.deepEqual(body, content);
    },
  },
  {
    title: 'somebody of the other server may not upload (XEP-0363 §5)',
    suits,
    async play(scene, one, other) {
      const juliet = await scene.someone(other);
      const service = uploadsOf(domainOf(one.name, 'external'));
      assert.ok((await juliet.can.features(service)).includes(NS.upload));
      assert.equal(await juliet.isRefused('get', slotFor('picture.png', 10), service), 'forbidden');
    },
  },
];
