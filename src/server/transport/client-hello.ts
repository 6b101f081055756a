/**
 * The server name in a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), read before TLS starts. OpenSSL accepts a ticket
 * with the keys of the initial context, and does not ask for another context when it resumes a session: so the context
 * must be chosen first.
 */
import type { Socket } from 'node:net';

/** The server name of a ClientHello; `unreadable` if it is malformed or too long. */
export type Hello =
  | {
      readonly servername: string | undefined;
      /** RFC 8737 §4: from an authority that looks for a proof; its only protocol (ALPN) is `acme-tls/1`. */
      readonly isAcme?: true;
    }
  | 'unreadable';

/** A record (RFC 8446 §5.1) has at most 2^14 bytes after its 5-byte header. */
const maxRecord = 2 ** 14 + 5;
/** Maximum records of a ClientHello. Clients use one; all are parsed again whenever bytes arrive. */
const maxRecords = 8;

/** RFC 7301 §3.1: a list of this protocol alone. */
const acmeAlone = Buffer.from('\0\x0b\x0aacme-tls/1', 'latin1');

/** Returns undefined if the ClientHello is incomplete. */
export function readHello(bytes: Buffer): Hello | undefined {
  const handshake: Buffer[] = [];
  let size = 0;
  for (let at = 0; ; ) {
    // §5.1: type 22, version 3.x.
    if ((at < bytes.length && bytes[at] !== 22) || (at + 1 < bytes.length && bytes[at + 1] !== 3)) return 'unreadable';
    if (at + 5 > bytes.length) return bytes.length > maxRecord ? 'unreadable' : undefined;
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0 || at + 5 + length > maxRecord) return 'unreadable';
    const payload = bytes.subarray(at + 5, at + 5 + length);
    if (handshake.push(payload) > maxRecords) return 'unreadable';
    size += payload.length;
    if (payload.length < length) return undefined;
    at += 5 + length;
    if (size < 4) continue;
    const message = Buffer.concat(handshake);
    if (message[0] !== 1) return 'unreadable';
    const end = 4 + message.readUIntBE(1, 3);
    if (end > maxRecord) return 'unreadable';
    if (message.length >= end) return nameIn(message.subarray(4, end));
  }
}

function nameIn(hello: Buffer): Hello {
  try {
    let at = 2 + 32;
    at += 1 + hello.readUInt8(at); // legacy_session_id
    at += 2 + hello.readUInt16BE(at); // cipher_suites
    at += 1 + hello.readUInt8(at); // legacy_compression_methods
    if (at === hello.length) return { servername: undefined };
    const end = at + 2 + hello.readUInt16BE(at);
    if (end !== hello.length) return 'unreadable';
    let named: Hello = { servername: undefined };
    let isAcme = false;
    for (at += 2; at < end; ) {
      const [type, length] = [hello.readUInt16BE(at), hello.readUInt16BE(at + 2)];
      at += 4;
      if (at + length > end) return 'unreadable';
      const content = hello.subarray(at, at + length);
      if (type === 0) named = readNames(content);
      if (type === 16) isAcme = content.equals(acmeAlone);
      at += length;
    }
    return isAcme && named !== 'unreadable' ? { ...named, isAcme } : named;
  } catch (error) {
    // Truncated: a length field is missing.
    if (error instanceof RangeError) return 'unreadable';
    throw error;
  }
}

/** RFC 6066 §3: reads a list of one name of type 0. */
function readNames(list: Buffer): Hello {
  const length = list.readUInt16BE(3);
  if (list.readUInt16BE(0) !== list.length - 2 || list[2] !== 0 || length !== list.length - 5) return 'unreadable';
  return { servername: list.subarray(5).toString('latin1') };
}

/**
 * Reads the ClientHello, leaving it in the socket for TLS. Calls `read`, or `failed` if the connection ends first. The
 * caller sets the deadline.
 */
export function awaitHello(socket: Socket, read: (hello: Hello) => void, failed: (error: Error) => void): void {
  let bytes: Buffer = Buffer.alloc(0);
  const over = () => {
    socket.removeListener('readable', look).removeListener('end', gone).removeListener('close', gone);
    socket.removeListener('error', ignore);
  };
  const gone = () => {
    over();
    failed(new Error('the connection ended before the TLS handshake'));
  };
  const look = () => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const hello = readHello(bytes);
    if (hello === undefined) return;
    over();
    socket.unshift(bytes);
    read(hello);
  };
  socket.on('readable', look).once('end', gone).once('close', gone).on('error', ignore);
}

function ignore(): void {
  // 'close' follows.
}
