/** An IRC server (RFC 2812) small enough for one gateway: nicknames, channels, messages. It never sends an error. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

const name = 'irc.test';

interface User {
  nick: string;
  readonly socket: Socket;
  readonly channels: Set<string>;
}

export class IrcServer {
  readonly #server: Server;
  readonly #users = new Set<User>();
  /** What users have said and done, as "romeo PRIVMSG #garden :text". */
  readonly heard: string[] = [];
  #wake: (() => void)[] = [];

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => this.#take(socket));
  }

  static async open(): Promise<IrcServer> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new IrcServer(server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.close();
    for (const { socket } of this.#users) socket.destroy();
  }

  /** Somebody without a connection says something in a channel. */
  says(nick: string, channel: string, text: string): void {
    this.#toChannel(channel, `:${nick}!${nick}@${name} PRIVMSG ${channel} :${text}`);
  }

  /** Resolves once a user has done something that matches. */
  async hears(wanted: RegExp): Promise<string> {
    for (;;) {
      const at = this.heard.findIndex((one) => wanted.test(one));
      if (at >= 0) return this.heard.splice(at, 1)[0]!;
      await new Promise<void>((resolve) => void this.#wake.push(resolve));
    }
  }

  #take(socket: Socket): void {
    const user: User = { nick: '', socket, channels: new Set() };
    this.#users.add(user);
    let rest = '';
    socket.setEncoding('utf8');
    socket
      .on('error', () => {})
      .on('close', () => {
        this.#users.delete(user);
        this.#happened(`${user.nick} QUIT`);
      })
      .on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\r\n');
        rest = lines.pop()!;
        for (const line of lines) this.#handle(user, line);
      });
  }

  #handle(user: User, line: string): void {
    const [command = '', ...parameters] = line.split(' ');
    const [first = ''] = parameters;
    const { nick, channels } = user;
    const me = `:${nick}!${nick}@${name}`;
    if (command === 'NICK') user.nick = first.replace(/^:/, '');
    else if (command === 'USER')
      for (const number of ['001', '002', '003', '004', '376']) this.#send(user, `:${name} ${number} ${nick} :Welcome`);
    else if (command === 'PING') this.#send(user, `:${name} PONG ${name} ${parameters.join(' ')}`);
    else if (command === 'JOIN') {
      channels.add(first);
      this.#toChannel(first, `${me} JOIN ${first}`);
      const names = [...this.#users].filter((one) => one.channels.has(first)).map((one) => one.nick);
      this.#send(user, `:${name} 353 ${nick} = ${first} :${names.join(' ')}`);
      this.#send(user, `:${name} 366 ${nick} ${first} :End`);
      this.#send(user, `:${name} 331 ${nick} ${first} :No topic`);
    } else if (command === 'PART') {
      this.#toChannel(first, `${me} PART ${first}`);
      channels.delete(first);
    } else if (command === 'QUIT') user.socket.end(`ERROR :Closing\r\n`);
    else if (command === 'PRIVMSG')
      for (const one of this.#users)
        if (one !== user && one.channels.has(first)) this.#send(one, `${me} PRIVMSG ${parameters.join(' ')}`);
    this.#happened(`${nick} ${line}`);
  }

  #toChannel(channel: string, line: string): void {
    for (const one of this.#users) if (one.channels.has(channel)) this.#send(one, line);
  }

  #send({ socket }: User, line: string): void {
    socket.write(`${line}\r\n`);
  }

  #happened(what: string): void {
    this.heard.push(what);
    for (const wake of this.#wake.splice(0)) wake();
  }
}
