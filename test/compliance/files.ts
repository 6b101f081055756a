/** What a client does to upload and download files (XEP-0363), over HTTP/1.1. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import type { Peer, Scene } from './dialogue.js';

export const service = 'upload.localhost';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A slot as the client sees it: paths with their queries, since the server does not know its port. */
export interface ClientSlot {
  readonly put: string;
  readonly get: string;
}

const attribute = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll("'", '&apos;');

export const slotRequest = (
  attributes: Readonly<Record<string, string | number>>,
  content = '',
  to = service,
): string => {
  const all = Object.entries(attributes).map(([name, value]) => ` ${name}='${attribute(String(value))}'`);
  return `<iq type='get' id='slot' to='${to}'><request xmlns='${NS.upload}'${all.join('')}>${content}</request></iq>`;
};

const pathOf = (url: string): string => new URL(url).pathname + new URL(url).search;

export async function slotOf(
  peer: Peer,
  attributes: Readonly<Record<string, string | number>>,
  content = '',
  to = service,
): Promise<ClientSlot> {
  await peer.sends(slotRequest(attributes, content, to));
  const xml = `<iq type='result' id='slot' from='${to}'><slot xmlns='${NS.upload}'><put url='*'/><get url='*'/></slot></iq>`;
  const slot = (await peer.receives(xml)).getChild('slot', NS.upload)!;
  const url = (name: string) => pathOf(slot.getChild(name)!.attrs.url!);
  return { put: url('put'), get: url('get') };
}

/** The error that answers a request for a slot. */
export async function refused(peer: Peer, xml: string): Promise<Element> {
  await peer.sends(xml);
  return (await peer.receives(`<iq type='error' id='slot'><error/></iq>`)).getChild('error')!;
}

export interface Sent {
  readonly headers?: Readonly<Record<string, string | number>>;
  readonly body?: string | Buffer;
  /** A node of the cluster, by its place. */
  readonly node?: number;
}

/** A request whose body is not sent yet. */
export function begins(
  { stage }: Scene,
  method: string,
  path: string,
  { headers = {}, node = 0 }: Sent = {},
): ClientRequest {
  const port = stage.port('http', stage.nodes[node % stage.nodes.length]);
  return request({ host: '127.0.0.1', port, method, path, agent: false, headers: { host: 'localhost', ...headers } });
}

export async function answerTo(asked: ClientRequest): Promise<Answer> {
  const [message] = (await once(asked, 'response')) as [IncomingMessage];
  return { status: message.statusCode!, headers: message.headers, body: await buffer(message) };
}

export function asks(scene: Scene, method: string, path: string, sent: Sent = {}): Promise<Answer> {
  const asked = begins(scene, method, path, sent);
  // The server may answer before it has read the body.
  asked.on('error', () => {});
  const answer = answerTo(asked);
  asked.end(sent.body);
  return answer;
}

export const gets = (scene: Scene, path: string, headers: Sent['headers'] = {}): Promise<Answer> =>
  asks(scene, 'GET', path, { headers });

/** Node announces the length of a body that it is given at once. */
export const puts = (
  scene: Scene,
  path: string,
  body: string | Buffer,
  headers: Sent['headers'] = {},
): Promise<Answer> => asks(scene, 'PUT', path, { headers, body });

/** Uploads a file. Returns the path at which it is found. */
export async function uploads(
  scene: Scene,
  peer: Peer,
  name: string,
  body: string | Buffer,
  type?: string,
  content?: string,
): Promise<string> {
  const attributes = {
    filename: name,
    size: Buffer.byteLength(body),
    ...(type !== undefined && { 'content-type': type }),
  };
  const slot = await slotOf(peer, attributes, content);
  const { status, body: text } = await puts(scene, slot.put, body, type === undefined ? {} : { 'content-type': type });
  assert.equal(status, 201, text.toString());
  return slot.get;
}
