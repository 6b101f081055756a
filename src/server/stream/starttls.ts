/** STARTTLS (RFC 6120 §5), receiving side. */
import { NS } from '../stanza/ns.js';
import type { Transport, Upgradable } from '../transport/transport.js';
import type { XmlStream } from './stream.js';

/** Whether the transport supports STARTTLS: TCP does; WebSocket has TLS below it or none. */
export function hasStartTls(transport: Transport): transport is Upgradable {
  return 'startTls' in transport;
}

/** Whether to offer STARTTLS: it is supported and TLS has not started. */
export function offersStartTls(transport: Transport): boolean {
  return !transport.secure && hasStartTls(transport);
}

/**
 * Answers `<starttls/>` (§5.4). `isTimely`: no negotiation is in progress that it would interrupt. Returns true if TLS
 * starts: everything before is discarded and a new header is due. Otherwise the stream is closed. `failed` is called if
 * the handshake fails. `domain`: the local domain in the header, whose certificate a peer without a server name gets.
 */
export function startTls(stream: XmlStream, isTimely: boolean, failed: () => void, domain?: string): boolean {
  const { transport } = stream;
  if (!isTimely || transport.secure || !hasStartTls(transport)) {
    stream.write(`<failure xmlns='${NS.tls}'/>`);
    stream.close();
    return false;
  }
  stream.write(`<proceed xmlns='${NS.tls}'/>`);
  // §5.4.3.3: data after <starttls/> is discarded.
  stream.restartAfterTls();
  transport.startTls((error) => {
    if (error === undefined) return;
    failed();
    transport.destroy();
  }, domain);
  return true;
}
