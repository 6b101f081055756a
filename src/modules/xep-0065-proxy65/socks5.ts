/** The part of RFC 1928 that XEP-0065 §10.2 uses: no authentication, CONNECT to a name that is a hash. */

const version = 5;
const noAuthentication = 0;

/** Maximum length of a handshake message: header, length byte, name and port. */
export const longestMessage = 5 + 255 + 2;

export const replies = { succeeded: 0, notAllowed: 2, commandNotSupported: 7, addressNotSupported: 8 } as const;

/** The client does not speak SOCKS5. */
export class SocksError extends Error {
  override readonly name = 'SocksError';
}

export interface Greeting {
  /** Length of the message in bytes. */
  readonly length: number;
  /** Whether the client accepts no authentication. */
  readonly isOpen: boolean;
}

export interface Request {
  readonly length: number;
  /** The reply code, and the requested name, which is valid if the code is `succeeded`. */
  readonly reply: number;
  readonly name: string;
}

/** §3: the first message. Returns undefined while it is incomplete. Throws SocksError. */
export function readGreeting(bytes: Buffer): Greeting | undefined {
  if (bytes.length > 0 && bytes[0] !== version) throw new SocksError('not SOCKS5');
  const methods = bytes[1];
  if (methods === undefined || bytes.length < 2 + methods) return undefined;
  return { length: 2 + methods, isOpen: bytes.subarray(2, 2 + methods).includes(noAuthentication) };
}

export const greetingAnswer = (isOpen: boolean): Buffer => Buffer.from([version, isOpen ? noAuthentication : 0xff]);

/** §4: the request. Returns undefined while it is incomplete. Throws SocksError. */
export function readRequest(bytes: Buffer): Request | undefined {
  if (bytes.length > 0 && bytes[0] !== version) throw new SocksError('not SOCKS5');
  if (bytes.length < 5) return undefined;
  const [, command, , type, first] = bytes as unknown as readonly number[];
  const length = addressLength(type!, first!) + 6;
  if (bytes.length < length) return undefined;
  if (command !== 1) return { length, reply: replies.commandNotSupported, name: '' };
  if (type !== 3) return { length, reply: replies.addressNotSupported, name: '' };
  const name = bytes.toString('latin1', 5, 5 + first!).toLowerCase();
  // XEP-0065 §6.3.2: the hostname is a SHA-1, in hexadecimal; the port is ignored
  return { length, reply: /^[0-9a-f]{40}$/.test(name) ? replies.succeeded : replies.notAllowed, name };
}

/** XEP-0065 §6.3.2: the answer repeats the request. `asked` is the whole request. */
export function requestAnswer(reply: number, asked: Buffer): Buffer {
  const answer = Buffer.from(asked);
  answer[1] = reply;
  return answer;
}

/** The length of DST.ADDR, including its length byte. */
function addressLength(type: number, first: number): number {
  switch (type) {
    case 1:
      return 4;
    case 3:
      return 1 + first;
    case 4:
      return 16;
    default:
      throw new SocksError('unknown address type');
  }
}
