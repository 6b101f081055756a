/**
 * The PROXY protocol, versions 1 and 2, as specified by HAProxy ("The PROXY protocol", sections by number): a proxy
 * that forwards bytes first sends the address of the client.
 */
import { isIPv4, isIPv6, type Socket, SocketAddress } from 'node:net';
import { namePeer } from './peer.js';

export interface ProxyHeader {
  /** Length of the header in bytes. */
  readonly length: number;
  /** IP address of the client. Undefined if the proxy itself is the peer (a health check) or does not know. */
  readonly address: string | undefined;
  /** Whether the client has TLS to the proxy (§2.2.6). */
  readonly secure: boolean;
}

/** The PROXY header is invalid or missing. */
export class ProxyHeaderError extends Error {
  override readonly name = 'ProxyHeaderError';
}

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
/** §2.1: maximum length in bytes, including the line end. */
const maxLine = 107;
/** §2.2 allows 64 KiB; real headers have a few hundred bytes. */
const maxBlock = 4096;
/** Time limit for the header in ms. Proxies send it at once. */
const headerTimeout = 5000;

/** Reads the header at the start of `bytes`. Returns undefined if it is incomplete. Throws ProxyHeaderError. */
export function readProxyHeader(bytes: Buffer): ProxyHeader | undefined {
  const common = Math.min(bytes.length, signature.length);
  if (bytes.subarray(0, common).equals(signature.subarray(0, common)))
    return bytes.length < 16 ? undefined : readBlock(bytes);
  return readLine(bytes);
}

/** §2.1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 5222`. */
function readLine(bytes: Buffer): ProxyHeader | undefined {
  const line = bytes.subarray(0, maxLine).toString('latin1');
  const beginning = 'PROXY ';
  if (!line.startsWith(beginning.slice(0, line.length))) throw new ProxyHeaderError('no PROXY header');
  const end = line.indexOf('\r\n');
  if (end < 0) {
    if (bytes.length >= maxLine) throw new ProxyHeaderError('the line is too long');
    return undefined;
  }
  const length = end + 2;
  const [, protocol, source = '', target = '', ...ports] = line.slice(0, end).split(' ');
  if (protocol === 'UNKNOWN') return { length, address: undefined, secure: false };
  const isAddress = protocol === 'TCP4' ? isIPv4 : protocol === 'TCP6' ? isIPv6 : undefined;
  if (isAddress === undefined || !isAddress(source) || !isAddress(target) || ports.length !== 2 || !ports.every(isPort))
    throw new ProxyHeaderError('malformed');
  return { length, address: canonical(source), secure: false };
}

const isPort = (text: string): boolean => /^\d{1,5}$/.test(text) && Number(text) <= 65_535;

/** §2.2: binary addresses, followed by type-length-value fields. */
function readBlock(bytes: Buffer): ProxyHeader | undefined {
  const [command, family] = [bytes[12]!, bytes[13]!];
  if (command >> 4 !== 2) throw new ProxyHeaderError('unknown version');
  const length = 16 + bytes.readUInt16BE(14);
  if (length > maxBlock) throw new ProxyHeaderError('the header is too long');
  if (bytes.length < length) return undefined;
  const local = { length, address: undefined, secure: false };
  if ((command & 15) === 0) return local;
  if ((command & 15) !== 1) throw new ProxyHeaderError('unknown command');
  const body = bytes.subarray(16, length);
  // §2.2: other families and transports are ignored
  const [isV4, isV6] = [family === 0x11, family === 0x21];
  if (!isV4 && !isV6) return local;
  const [each, all] = isV4 ? [4, 12] : [16, 36];
  if (body.length < all) throw new ProxyHeaderError('malformed');
  const source = body.subarray(0, each);
  const address = isV4 ? source.join('.') : source.toString('hex').match(/.{4}/g)!.join(':');
  return { length, address: canonical(address), secure: hasTls(body.subarray(all)) };
}

/** Formats an address as the system does. */
function canonical(address: string): string {
  return isIPv4(address) ? address : new SocketAddress({ address, family: 'ipv6' }).address;
}

/** §2.2.6: PP2_TYPE_SSL with PP2_CLIENT_SSL. */
function hasTls(pieces: Buffer): boolean {
  for (let at = 0; at < pieces.length; ) {
    if (at + 3 > pieces.length) throw new ProxyHeaderError('malformed');
    const end = at + 3 + pieces.readUInt16BE(at + 1);
    if (end > pieces.length) throw new ProxyHeaderError('malformed');
    if (pieces[at] === 0x20) return end > at + 3 && (pieces[at + 3]! & 1) === 1;
    at = end;
  }
  return false;
}

/**
 * Reads the header of a connection from a proxy, then calls `named`. Closes the connection if the header is invalid or
 * missing.
 */
export function takeProxyHeader(socket: Socket, named: () => void, refused: (error: Error) => void): void {
  let bytes: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => refuse(new ProxyHeaderError('no PROXY header received in time')), headerTimeout);
  const over = () => {
    clearTimeout(timer);
    socket.removeListener('readable', read).removeListener('close', over).removeListener('error', ignore);
  };
  const refuse = (error: Error) => {
    over();
    socket.on('error', ignore).destroy();
    refused(error);
  };
  const read = () => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    bytes = Buffer.concat([bytes, chunk]);
    try {
      const header = readProxyHeader(bytes);
      if (header === undefined) return;
      over();
      const { address, secure } = header;
      if (address !== undefined) namePeer(socket, { address, loopback: false, secure });
      if (bytes.length > header.length) socket.unshift(bytes.subarray(header.length));
      named();
    } catch (error) {
      if (!(error instanceof ProxyHeaderError)) throw error;
      refuse(error);
    }
  };
  socket.on('readable', read).once('close', over).on('error', ignore);
}

function ignore(): void {
  // 'close' follows.
}
