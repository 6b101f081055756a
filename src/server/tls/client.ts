/** Properties of a client's TLS connection: channel binding and client certificate. */
import type { TLSSocket } from 'node:tls';
import type { C2sStream } from '../stream/c2s/stream.js';
import { RelayedTransport } from '../stream/relayed.js';
import { type ChannelBindings, endPointHash, noBindings, tlsBindings } from '../stream/sasl/binding.js';
import type { ClientCertificate } from '../stream/sasl/mechanism.js';
import { isVerified } from '../transport/tls.js';
import type { Certificates } from './certificates.js';
import { xmppAddresses } from './names.js';

/** Returns the channel bindings for SCRAM on a client's stream (RFC 5929, RFC 9266). */
export function bindingsOf(stream: C2sStream, certificates: Certificates): ChannelBindings {
  if (stream.transport instanceof RelayedTransport) return stream.transport.bindings;
  const socket = stream.transport.tls;
  // Browsers give scripts no access to channel binding, but some clients (StanzaJS) select a -PLUS mechanism anyway and
  // fail.
  if (socket === undefined || stream.kind === 'websocket') return noBindings;
  // False if the client sent none: then the header of the stream may have chosen the certificate (RFC 6120 §5.4.3.1).
  const { servername = false } = socket as TLSSocket & { servername?: string | false };
  const known = servername === false ? undefined : certificates.endPointFor(servername);
  if (known !== undefined) return tlsBindings(socket, known);
  const certificate = socket.getX509Certificate();
  return tlsBindings(socket, certificate === undefined ? undefined : endPointHash(certificate));
}

/** Returns the client's certificate (XEP-0178). `isAsked`: whether clients are asked for one. */
export function clientCertificate(stream: C2sStream, isAsked: boolean): ClientCertificate | undefined {
  if (stream.transport instanceof RelayedTransport) return stream.transport.certificate;
  const socket = stream.transport.tls;
  if (socket === undefined || !isAsked) return undefined;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  return { trusted: isVerified(socket), xmppAddresses: xmppAddresses(certificate.raw).xmppAddr };
}
