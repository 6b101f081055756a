/** Where HTTP requests come from that a proxy handed on. */
import type { IncomingMessage } from 'node:http';
import { type BlockList, isIP } from 'node:net';
import { isIn } from './config/address.js';
import { type Peer, peerOf } from './transport/peer.js';

/**
 * Who sent the request: from `proxies` whom X-Forwarded-For names, to the last of its addresses that is not one of theirs,
 * as all before that anybody may have written.
 */
export function requestPeer(request: IncomingMessage, proxies: BlockList): Peer {
  const peer = peerOf(request.socket);
  if (!isIn(proxies, peer.address)) return peer;
  const { 'x-forwarded-for': said, 'x-forwarded-proto': protocol } = request.headers;
  const addresses = [said ?? []].flat().join(',').split(',');
  const address = addresses.map((text) => text.trim()).findLast((text) => !isIn(proxies, text));
  if (address === undefined || isIP(address) === 0) return peer;
  return { address, loopback: false, secure: peer.secure || protocol === 'https' };
}
