/** Connections to a load balancer as apps open them: direct TLS, and WebSocket over TLS. */
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import { WebSocket } from 'ws';
import { NS } from '../../src/server/stanza/ns.js';
import { elementOf, serialize } from '../../src/server/xml/element.js';
import { OwnReader } from '../strict.js';

/** Trusted besides what the system trusts. */
export interface Trust {
  readonly host: string;
  readonly ca: string;
}

/** XEP-0368. */
export const overTls = (port: number, { host, ca }: Trust): Duplex =>
  connect({ host: '127.0.0.1', port, ca, servername: host, ALPNProtocols: ['xmpp-client'] });

/** RFC 7395, as a stream of the form that TCP has. */
export class OverWebSocket extends Duplex {
  readonly #socket: WebSocket;
  #said = new OwnReader('stream');
  readonly #host: string;
  #isOpen = false;
  #waiting: string[] = [];

  constructor(port: number, { host, ca }: Trust) {
    super({ decodeStrings: true });
    this.#host = host;
    // The name is that of the certificate; this machine is where it leads to.
    const createConnection = () => connect({ host: '127.0.0.1', port, ca, servername: host });
    this.#socket = new WebSocket(`wss://${host}:${port}/xmpp-websocket`, 'xmpp', { createConnection });
    this.#socket.on('open', () => {
      this.#isOpen = true;
      for (const frame of this.#waiting.splice(0)) this.#socket.send(frame);
    });
    this.#socket.on('message', (data) => this.#heard(String(data)));
    this.#socket.on('close', () => {
      this.push(null);
      this.destroy();
    });
    this.#socket.on('error', (error) => this.destroy(error));
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    // A new stream after the login (RFC 6120 §6.4.6).
    if (chunk.subarray(0, 5).toString() === '<?xml') this.#said = new OwnReader('stream');
    for (const item of this.#said.read(chunk)) {
      if (item.kind === 'open') this.#send(`<open xmlns='${NS.framing}' to='${this.#host}' version='1.0'/>`);
      else if (item.kind === 'close') this.#send(`<close xmlns='${NS.framing}'/>`);
      else {
        const element = elementOf(item);
        element.attrs.xmlns = item.ns;
        this.#send(serialize(element));
      }
    }
    done();
  }

  override _final(done: (error?: Error) => void): void {
    this.#send(`<close xmlns='${NS.framing}'/>`);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.terminate();
    done(error);
  }

  #send(frame: string): void {
    if (this.#isOpen) this.#socket.send(frame);
    else this.#waiting.push(frame);
  }

  #heard(frame: string): void {
    if (frame.startsWith('<open ')) this.push(`<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}'>`);
    else if (frame.startsWith('<close ')) this.push('</stream:stream>');
    else this.push(frame);
  }
}
