/** STARTTLS (RFC 6120 §5), from the side that is asked for it. */
import { NS } from '../stanza/ns.js';
import type { Transport, Upgradable } from '../transport/transport.js';
import type { XmlStream } from './stream.js';

/** Whether the transport has STARTTLS at all: TCP has, and WebSocket is below or beside TLS already. */
export function hasStartTls(transport: Transport): transport is Upgradable {
  return 'startTls' in transport;
}

/** Whether it is to be offered: TLS has not started. */
export function offersStartTls(transport: Transport): boolean {
  return !transport.secure && hasStartTls(transport);
}

/**
 * Answers `<starttls/>` (§5.4). `isTimely`: nothing is under way that it would cut off. True if TLS starts: what the peer
 * said before counts no more, and the next header is due. Otherwise the stream is closed. `failed`: the handshake failed.
 */
export function startTls(stream: XmlStream, isTimely: boolean, failed: () => void): boolean {
  const { transport } = stream;
  if (!isTimely || transport.secure || !hasStartTls(transport)) {
    stream.write(`<failure xmlns='${NS.tls}'/>`);
    stream.close();
    return false;
  }
  stream.write(`<proceed xmlns='${NS.tls}'/>`);
  // §5.4.3.3: what came behind <starttls/> is not read.
  stream.startAfresh();
  transport.startTls((error) => {
    if (error === undefined) return;
    failed();
    transport.destroy();
  });
  return true;
}
