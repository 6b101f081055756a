/**
 * The name in a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), read before TLS begins. OpenSSL decides about a ticket with the
 * keys of the context that a connection begins with, and asks for no other context when it resumes a session: so the
 * context has to be chosen before.
 */
import type { Socket } from 'node:net';

/** What a ClientHello names; `unreadable`: it is none, or too long. */
export type Hello = { readonly servername: string | undefined } | 'unreadable';

/** A record (RFC 8446 §5.1) has at most 2^14 bytes behind its header of 5. */
const longest = 2 ** 14 + 5;
/** Records that one is spread over. Clients use one; each piece that comes is read from the first of them on. */
const mostRecords = 8;

/** undefined: there is more of it to come. */
export function readHello(bytes: Buffer): Hello | undefined {
  const handshake: Buffer[] = [];
  let size = 0;
  for (let at = 0; ; ) {
    // §5.1: type 22, version 3.x.
    if ((at < bytes.length && bytes[at] !== 22) || (at + 1 < bytes.length && bytes[at + 1] !== 3)) return 'unreadable';
    if (at + 5 > bytes.length) return bytes.length > longest ? 'unreadable' : undefined;
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0 || at + 5 + length > longest) return 'unreadable';
    const payload = bytes.subarray(at + 5, at + 5 + length);
    if (handshake.push(payload) > mostRecords) return 'unreadable';
    size += payload.length;
    if (payload.length < length) return undefined;
    at += 5 + length;
    if (size < 4) continue;
    const message = Buffer.concat(handshake);
    if (message[0] !== 1) return 'unreadable';
    const end = 4 + message.readUIntBE(1, 3);
    if (end > longest) return 'unreadable';
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
    for (at += 2; at < end; ) {
      const [type, length] = [hello.readUInt16BE(at), hello.readUInt16BE(at + 2)];
      at += 4;
      if (at + length > end) return 'unreadable';
      if (type === 0) return listed(hello.subarray(at, at + length));
      at += length;
    }
    return { servername: undefined };
  } catch (error) {
    // It ends where a length should be.
    if (error instanceof RangeError) return 'unreadable';
    throw error;
  }
}

/** RFC 6066 §3: a list of one name of type 0. */
function listed(list: Buffer): Hello {
  const length = list.readUInt16BE(3);
  if (list.readUInt16BE(0) !== list.length - 2 || list[2] !== 0 || length !== list.length - 5) return 'unreadable';
  return { servername: list.subarray(5).toString('latin1') };
}

/**
 * Waits for the ClientHello and leaves it in the socket for TLS to read. Calls `read`, or `failed` if the connection ends
 * before. Who waits sets the deadline.
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
