/** A DNS server (RFC 1035) over UDP on a free port of 127.0.0.1, which knows a few records by heart. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';

export interface Zone {
  /** By name: addresses, IPv4 and IPv6. */
  readonly addresses?: Readonly<Record<string, readonly string[]>>;
  /** By name, beginning with the service: "priority weight port target". */
  readonly srv?: Readonly<Record<string, readonly string[]>>;
  /** Names for which it answers SERVFAIL. */
  readonly broken?: readonly string[];
  /** Names for which it does not answer; "AAAA example.org": only to that question. */
  readonly silent?: readonly string[];
}

const types = { 1: 'A', 28: 'AAAA', 33: 'SRV' } as const;
const [noError, serverFailure, nameError] = [0, 2, 3];

export class DnsServer {
  /** Changes hold at once. */
  zone: Zone;
  readonly #socket: Socket;
  /** Questions so far: "SRV _xmpp-server._tcp.example.org". */
  readonly asked: string[] = [];

  private constructor(socket: Socket, zone: Zone) {
    this.#socket = socket;
    this.zone = zone;
    socket.on('message', (message, from) => this.#answer(message, from));
  }

  static async open(zone: Zone): Promise<DnsServer> {
    // As many questions as come at once.
    const socket = createSocket({ type: 'udp4', recvBufferSize: 4_194_304 }).bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return new DnsServer(socket, zone);
  }

  /** "127.0.0.1:port". */
  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  close(): void {
    this.#socket.close();
  }

  #answer(message: Buffer, { port, address }: RemoteInfo): void {
    const { name, end } = nameAt(message, 12);
    const type = types[message.readUInt16BE(end) as keyof typeof types];
    this.asked.push(`${type} ${name}`);
    const { silent = [] } = this.zone;
    if (silent.includes(name) || silent.includes(`${type} ${name}`)) return;
    const question = message.subarray(12, end + 4);
    const records = this.#records(type, name);
    const header = Buffer.alloc(12);
    message.copy(header, 0, 0, 2);
    // A response, recursion desired and available.
    header.writeUInt16BE(0x8180 | this.#code(name), 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(records.length, 6);
    const answers = records.map((data) => {
      // The name is the one at offset 12; class IN, a minute.
      const head = Buffer.from('c00c00000001000000000000', 'hex');
      head.writeUInt16BE(message.readUInt16BE(end), 2);
      head.writeUInt32BE(60, 6);
      head.writeUInt16BE(data.length, 10);
      return Buffer.concat([head, data]);
    });
    this.#socket.send(Buffer.concat([header, question, ...answers]), port, address);
  }

  #code(name: string): number {
    const { addresses = {}, srv = {}, broken = [] } = this.zone;
    if (broken.includes(name)) return serverFailure!;
    return name in addresses || name in srv ? noError! : nameError!;
  }

  #records(type: string, name: string): Buffer[] {
    const { addresses = {}, srv = {} } = this.zone;
    if (type === 'SRV') return (srv[name] ?? []).map(srvData);
    return (addresses[name] ?? []).filter((one) => isIPv6(one) === (type === 'AAAA')).map(addressData);
  }
}

function nameAt(message: Buffer, start: number): { name: string; end: number } {
  const labels: string[] = [];
  let at = start;
  for (let length = message[at]!; length > 0; length = message[at]!) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length).toLowerCase());
    at += 1 + length;
  }
  return { name: labels.join('.'), end: at + 1 };
}

function writtenName(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '');
  return Buffer.concat([
    ...labels.map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`)),
    Buffer.of(0),
  ]);
}

function srvData(text: string): Buffer {
  const [priority, weight, port, target] = text.split(' ');
  const head = Buffer.alloc(6);
  for (const [at, number] of [priority, weight, port].entries()) head.writeUInt16BE(Number(number), 2 * at);
  return Buffer.concat([head, writtenName(target!)]);
}

function addressData(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail = ''] = address.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const missing = 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array<string>(missing).fill('0'), ...groups(tail)];
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex');
}
