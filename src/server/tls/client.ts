/** What TLS says of the channel to a client, and of who is at its other end. */
import type { TLSSocket } from 'node:tls';
import type { C2sStream } from '../stream/c2s/stream.js';
import { endPointHash, noBindings, tlsBindings } from '../stream/sasl/binding.js';
import type { ClientCertificate } from '../stream/sasl/mechanism.js';
import { isVerified } from '../transport/tls.js';
import type { Certificates } from './certificates.js';
import { xmppAddresses } from './names.js';

/** What the stream of a client offers to bind SCRAM to (RFC 5929, RFC 9266). */
export function bindingsOf(stream: C2sStream, certificates: Certificates): ReturnType<typeof tlsBindings> {
  const socket = stream.transport.tls;
  // What runs in a browser cannot bind to the channel; some (StanzaJS) take a -PLUS mechanism all the same, and fail.
  if (socket === undefined || stream.kind === 'websocket') return noBindings;
  // servername is false where the client named none.
  const known = certificates.endPointFor(
    (socket as TLSSocket & { servername?: string | false }).servername || undefined,
  );
  if (known !== undefined) return tlsBindings(socket, known);
  const certificate = socket.getX509Certificate();
  return tlsBindings(socket, certificate === undefined ? undefined : endPointHash(certificate));
}

/** The certificate that a client showed (XEP-0178). `isAsked`: clients are asked for one. */
export function clientCertificate(stream: C2sStream, isAsked: boolean): ClientCertificate | undefined {
  const socket = stream.transport.tls;
  if (socket === undefined || !isAsked) return undefined;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  return { trusted: isVerified(socket), xmppAddresses: xmppAddresses(certificate.raw).xmppAddr };
}
