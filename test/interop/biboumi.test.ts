/** XEP-0114 with biboumi, a gateway to IRC: configured by commands (XEP-0050), its channels are rooms (XEP-0045). */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { NS } from '../../src/server/stanza/ns.js';
import { Client } from './federation/client.js';
import { until } from './federation/program.js';
import { IrcServer } from './irc-server.js';
import { patience, within } from './server.js';
import { Stage, without } from './stage.js';

const secret = 'a pound of apothecary';
const domain = 'irc.localhost';
const network = `127.0.0.1@${domain}`;
const garden = `#garden%${network}`;
const skip = without('biboumi');
const stage = Stage.forThisFile({
  listen: { component: ['127.0.0.1:0'] },
  components: { [domain]: { secret } },
});

let irc: IrcServer;
let home: string;
let gateway: Gateway | undefined;
before(async () => {
  irc = await IrcServer.open();
  home = await mkdtemp(join(tmpdir(), 'waxwing-biboumi-'));
});
after(async () => {
  await gateway?.end();
  irc.close();
  await rm(home, { recursive: true, maxRetries: 5 });
});

class Gateway {
  readonly #process;
  readonly #exited;

  private constructor(file: string) {
    this.#process = spawn('biboumi', [file], { stdio: 'ignore' });
    this.#exited = once(this.#process, 'exit');
  }

  static async start(): Promise<Gateway> {
    const options = {
      hostname: domain,
      password: secret,
      xmpp_server_ip: '127.0.0.1',
      port: stage.server.port('component'),
      db_name: join(home, 'biboumi.sqlite'),
      log_file: join(home, 'biboumi.log'),
      log_level: 3,
      identd_port: 0,
    };
    const file = join(home, 'biboumi.cfg');
    await writeFile(
      file,
      Object.entries(options)
        .map(([name, value]) => `${name}=${value}\n`)
        .join(''),
    );
    return new Gateway(file);
  }

  async end(): Promise<void> {
    this.#process.kill('SIGTERM');
    try {
      await within(patience, 'the end of biboumi', () => this.#exited);
    } catch (error) {
      this.#process.kill('SIGKILL');
      throw error;
    }
  }
}

async function someone(resource: string): Promise<Client> {
  const { bare, password } = stage.account(resource);
  return Client.online({ host: '127.0.0.1', port: stage.port('c2s'), bare, resource, password });
}

const isThere = (client: Client): Promise<boolean> =>
  until('the gateway', patience, () =>
    client.can.features(domain).then(
      (features) => features.includes(NS.commands),
      () => false,
    ),
  );

/** XEP-0050: the ports of the network, without TLS. */
async function configure(client: Client): Promise<void> {
  const answer = await client.asks(
    'set',
    `<command xmlns='${NS.commands}' node='configure' action='execute'/>`,
    network,
  );
  const { sessionid } = answer.getChild('command', NS.commands)!.attrs;
  const field = (name: string, value: string): string => `<field var='${name}'><value>${value}</value></field>`;
  const fields = field('ports', String(irc.port)) + field('tls_ports', '');
  const done = await client.asks(
    'set',
    `<command xmlns='${NS.commands}' node='configure' action='next' sessionid='${sessionid}'><x xmlns='${NS.dataForms}' type='submit'>${fields}</x></command>`,
    network,
  );
  assert.equal(done.getChild('command', NS.commands)!.attrs.status, 'completed', String(done));
}

test('biboumi: a network, a channel, messages, ends of sessions and of the gateway', { skip }, async () => {
  gateway = await Gateway.start();
  const romeo = await someone('phone');
  await isThere(romeo);
  await configure(romeo);
  await romeo.can.rooms.enter(garden, 'romeo');
  await within(patience, 'romeo in the channel', () => irc.hears(/^romeo JOIN #garden/));
  await romeo.can.rooms.say(garden, 'But soft!');
  await within(patience, 'a message', () => irc.hears(/^romeo PRIVMSG #garden :But soft!/));
  await romeo.gets(`<message type='groupchat' from='${garden}/romeo'><body>But soft!</body></message>`);
  irc.says('juliet', '#garden', 'Ay me! <&>');
  await romeo.gets(`<message type='groupchat' from='${garden}/juliet'><body>Ay me! &lt;&amp;&gt;</body></message>`);
  assert.ok(await romeo.can.rooms.isIn(garden, 'romeo'));
  // RFC 6121 §4.6.3: the server tells the gateway that the session has ended.
  romeo.cut();
  await within(patience, 'the end of the session', () => irc.hears(/^romeo (QUIT|PART)/));

  // While the gateway is away its users are refused; afterwards it works as before.
  const again = await someone('laptop');
  await configure(again);
  await again.can.rooms.enter(garden, 'again');
  await gateway.end();
  assert.equal(await again.isRefused('get', `<ping xmlns='${NS.ping}'/>`, domain), 'remote-server-timeout');
  gateway = await Gateway.start();
  await isThere(again);
  assert.equal(await again.can.rooms.isIn(garden, 'again').catch(() => false), false);
  await again.can.rooms.enter(garden, 'again');
  irc.says('juliet', '#garden', 'Wherefore art thou?');
  await again.gets(`<message type='groupchat' from='${garden}/juliet'><body>Wherefore art thou?</body></message>`);
  again.cut();
});
