/** RFC 1928 as far as XEP-0065 §10.2 has use for it: no authentication, CONNECT to a name that is a hash. */

const version = 5;
const noAuthentication = 0;

/** No message of the handshake is longer: the header, a length, so many bytes, a port. */
export const longestMessage = 5 + 255 + 2;

export const replies = { succeeded: 0, notAllowed: 2, commandNotSupported: 7, addressNotSupported: 8 } as const;

/** The client speaks something else. */
export class SocksError extends Error {
  override readonly name = 'SocksError';
}

export interface Greeting {
  /** Bytes of the message. */
  readonly length: number;
  /** Whether it can do without authentication. */
  readonly isOpen: boolean;
}

export interface Request {
  readonly length: number;
  /** What the answer is, and where it is `succeeded` the name asked for. */
  readonly reply: number;
  readonly name: string;
}

/** §3: the first message; undefined while it is not all there. Throws SocksError. */
export function readGreeting(bytes: Buffer): Greeting | undefined {
  if (bytes.length > 0 && bytes[0] !== version) throw new SocksError('not SOCKS5');
  const methods = bytes[1];
  if (methods === undefined || bytes.length < 2 + methods) return undefined;
  return { length: 2 + methods, isOpen: bytes.subarray(2, 2 + methods).includes(noAuthentication) };
}

export const greetingAnswer = (isOpen: boolean): Buffer => Buffer.from([version, isOpen ? noAuthentication : 0xff]);

/** §4: the request; undefined while it is not all there. Throws SocksError. */
export function readRequest(bytes: Buffer): Request | undefined {
  if (bytes.length > 0 && bytes[0] !== version) throw new SocksError('not SOCKS5');
  if (bytes.length < 5) return undefined;
  const [, command, , type, first] = bytes as unknown as readonly number[];
  const length = addressLength(type!, first!) + 6;
  if (bytes.length < length) return undefined;
  if (command !== 1) return { length, reply: replies.commandNotSupported, name: '' };
  if (type !== 3) return { length, reply: replies.addressNotSupported, name: '' };
  const name = bytes.toString('latin1', 5, 5 + first!).toLowerCase();
  // XEP-0065 §6.3.2: the hostname is a SHA-1, in hexadecimal; the port says nothing
  return { length, reply: /^[0-9a-f]{40}$/.test(name) ? replies.succeeded : replies.notAllowed, name };
}

/** XEP-0065 §6.3.2: the answer repeats what was asked for. `asked` is the whole request. */
export function requestAnswer(reply: number, asked: Buffer): Buffer {
  const answer = Buffer.from(asked);
  answer[1] = reply;
  return answer;
}

/** DST.ADDR with what stands before it of itself. */
function addressLength(type: number, first: number): number {
  switch (type) {
    case 1:
      return 4;
    case 3:
      return 1 + first;
    case 4:
      return 16;
    default:
      throw new SocksError('no such type of address');
  }
}
