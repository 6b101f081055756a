/** The HTTP server on port 80 for authorities (RFC 8555 §8.3). It answers nothing but proofs, since it has no TLS. */
import { createServer, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Challenges } from '../tls/acme/challenges.js';
import { sendWhole } from './send.js';
import { pathOf } from './target.js';

/** Without a port: connections are passed to it. `received` is told which has sent a request. `headersTimeout` in ms. */
export function createProofServer(
  challenges: Challenges,
  headersTimeout: number,
  received: (socket: Socket) => void,
): Server {
  const server = createServer(
    { headersTimeout, requestTimeout: headersTimeout, connectionsCheckingInterval: 1000, maxHeaderSize: 8192 },
    (request, response) => {
      received(request.socket);
      response.shouldKeepAlive = false;
      const path = pathOf(request);
      sendWhole(request, response, challenges.answer(request.method, path) ?? { status: 404, body: 'Not found.\n' });
    },
  );
  // Node checks for slow requests only on listening servers.
  server.emit('listening');
  return server;
}
