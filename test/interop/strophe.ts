/** Strophe.js: WebSocket and BOSH; SCRAM-SHA-1 to -512; stream management. */
import { type Element, parse } from '../../src/server/xml/element.js';
import { abilities, escaped, happenings } from './by-xml.js';
import { type Account, type Device, Inbox } from './device.js';
import { library } from './libraries.js';
import { patience } from './server.js';
import { provideXhr } from './xhr.js';

interface Connection {
  jid: string;
  connected: boolean;
  /** Ms that it waits for the server when it disconnects. */
  disconnection_timeout: number;
  readonly sm?: { readonly resumed: boolean };
  xmlInput: (element: Node) => void;
  xmlOutput: (element: Node) => void;
  connect(jid: string, password: string, changed: (status: number, reason?: string) => void): void;
  disconnect(reason: string): void;
  reset(): void;
  send(stanza: Node): void;
  sendIQ(iq: Node, answered: (answer: Node) => void, failed: (error: Node | null) => void, timeout: number): string;
  addHandler(handler: (stanza: Node) => boolean, ns: null, name: string): void;
}

/** Of its DOM: we only want the text. */
type Node = object;

interface Strophe {
  readonly Strophe: {
    Connection: new (service: string, options: object) => Connection;
    serialize(element: Node): string;
    readonly Status: Readonly<Record<string, number>>;
    readonly [mechanism: `SASL${string}`]: object;
  };
  /** Parses XML. */
  stx(strings: readonly string[], ...values: readonly unknown[]): { tree(): Node };
}

export interface StropheOptions extends Account {
  /** ws://host:port/path, or http:// for BOSH. */
  readonly service: string;
  /** As Strophe calls its classes: SHA1, SHA256, SHA512, Plain. Default: all. */
  readonly only?: 'SHA1' | 'SHA256' | 'SHA384' | 'SHA512' | 'Plain';
}

export async function strophe(options: StropheOptions): Promise<Device> {
  const loaded = await library<Strophe & { default?: Strophe }>('strophe.js');
  const { Strophe, stx } = loaded.default ?? loaded;
  const { bare, resource, password, service, only } = options;
  if (service.startsWith('http')) await provideXhr();
  const inbox = new Inbox(`${bare}/${resource} (Strophe.js)`);
  const connection = new Strophe.Connection(service, {
    enableStreamManagement: true,
    streamManagement: { requestResume: true },
    ...(only !== undefined && { mechanisms: [Strophe[`SASL${only}`]] }),
  });
  let mechanism: string | undefined;
  let isWanted = false;
  let isKnown = false;
  connection.xmlOutput = (element) => {
    const chosen = /<auth [^>]*mechanism="([^"]+)"/.exec(Strophe.serialize(element))?.[1];
    if (chosen !== undefined) mechanism = chosen;
  };
  const put = (stanza: Node): boolean => {
    for (const happening of happenings(Strophe.serialize(stanza))) inbox.put(happening);
    return true;
  };
  const node = (xml: string): Node => stx([xml.replace(/^<[a-z]+/, "$& xmlns='jabber:client'")] as const).tree();
  /** Settles with the login; afterwards connects again whenever it is cut, as applications do. */
  const connect = (): Promise<void> =>
    new Promise((resolve, reject) => {
      connection.connect(`${bare}/${resource}`, password, (status, reason) => {
        switch (status) {
          case Strophe.Status.CONNECTED: {
            const resumed = connection.sm?.resumed === true;
            if (isKnown) inbox.put({ kind: 'back', resumed });
            isKnown = true;
            resolve();
            break;
          }
          case Strophe.Status.AUTHFAIL:
          case Strophe.Status.CONNFAIL:
            reject(new Error(`Strophe cannot log in: ${reason}`));
            break;
          case Strophe.Status.DISCONNECTED:
            if (isWanted) setTimeout(() => isWanted && connect().catch(() => {}), 200);
        }
      });
      connection.disconnection_timeout = patience;
      // They went with the connection before.
      for (const name of ['message', 'presence', 'iq']) connection.addHandler(put, null, name);
    });
  const ask = (type: 'get' | 'set', payload: string, to?: string): Promise<Element> =>
    new Promise((resolve, reject) => {
      const address = to === undefined ? '' : ` to="${escaped(to)}"`;
      connection.sendIQ(
        node(`<iq type='${type}'${address}>${payload}</iq>`),
        (answer) => resolve(parse(Strophe.serialize(answer))),
        (error) => reject(new Error(error === null ? `no answer to ${payload}` : Strophe.serialize(error))),
        patience,
      );
    });
  const send = async (xml: string): Promise<void> => connection.send(node(xml));
  const can = abilities(ask, send, inbox);
  return {
    library: 'Strophe.js',
    inbox,
    get jid() {
      return connection.jid;
    },
    get mechanism() {
      return mechanism;
    },
    ...can,
    async online() {
      isWanted = true;
      isKnown = false;
      await connect();
      await can.roster();
      await send('<presence/>');
    },
    async offline() {
      isWanted = false;
      connection.disconnect('done');
      while (connection.connected) await new Promise((resolve) => setTimeout(resolve, 20));
    },
    async destroy() {
      isWanted = false;
      connection.disconnect('done');
    },
  };
}
