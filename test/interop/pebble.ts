/** Pebble, an authority for tests of ACME, and its DNS server: as processes on free ports of 127.0.0.1. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ensureSelfSigned, filesOf } from '../../src/server/tls/self-signed.js';
import { freePorts } from './ports.js';
import { patience, within } from './server.js';

const place = (program: string): string | undefined =>
  (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find((file) => existsSync(file));

export const hasPebble = ['pebble', 'pebble-challtestsrv'].every((program) => place(program) !== undefined);

export interface Ports {
  /** Where it looks for proofs. */
  readonly http: number;
  readonly tls: number;
}

export class Pebble {
  readonly folder: string;
  readonly directory: string;
  /** PEM: signed the certificate of the directory. */
  readonly authority: string;
  /** Address of the DNS server. */
  readonly dns: string;
  readonly #api: number;
  readonly #dnsApi: number;
  #processes: ChildProcess[] = [];

  private constructor(folder: string, port: number, api: number, dns: number, dnsApi: number) {
    this.folder = folder;
    this.directory = `https://localhost:${port}/dir`;
    this.authority = filesOf(folder, 'localhost').certificate;
    this.dns = `127.0.0.1:${dns}`;
    this.#api = api;
    this.#dnsApi = dnsApi;
  }

  static async start({ http, tls }: Ports, more: Readonly<Record<string, unknown>> = {}): Promise<Pebble> {
    const folder = await mkdtemp(join(tmpdir(), 'waxwing-pebble-'));
    const [port = 0, api = 0, dns = 0, dnsApi = 0] = await freePorts(4);
    await ensureSelfSigned(folder, ['localhost']);
    const own = filesOf(folder, 'localhost');
    const config = {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${api}`,
      certificate: own.certificate,
      privateKey: own.key,
      httpPort: http,
      tlsPort: tls,
      keyAlgorithm: 'ecdsa',
      retryAfter: { authz: 1, order: 1 },
      profiles: { default: { description: 'default', validityPeriod: 7_776_000 } },
      ...more,
    };
    await writeFile(join(folder, 'config.json'), JSON.stringify({ pebble: config }));
    const pebble = new Pebble(folder, port, api, dns, dnsApi);
    const none = ['-doh', '', '-http01', '', '-https01', '', '-tlsalpn01', '', '-defaultIPv4', '', '-defaultIPv6', ''];
    pebble.#run('pebble-challtestsrv', ['-dnsserver', pebble.dns, '-management', `127.0.0.1:${dnsApi}`, ...none]);
    pebble.#run('pebble', ['-config', join(folder, 'config.json'), '-dnsserver', pebble.dns]);
    await within(patience, 'the start of pebble', async () => {
      while (!(await pebble.#isUp())) await pause(50);
    });
    return pebble;
  }

  async stop(): Promise<void> {
    for (const child of this.#processes.splice(0)) {
      const ended = once(child, 'exit');
      child.kill();
      await ended;
    }
    await rm(this.folder, { recursive: true });
  }

  /** Where a domain leads to. */
  async setDomain(host: string, address = '127.0.0.1'): Promise<void> {
    await this.#setDns('clear-a', { host: `${host}.` });
    await this.#setDns('add-a', { host: `${host}.`, addresses: [address] });
  }

  async #setDns(action: string, body: unknown): Promise<void> {
    const answer = await fetch(`http://127.0.0.1:${this.#dnsApi}/${action}`, {
      method: 'POST',
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${action}: ${answer.status}`);
  }

  /** Where the DNS server takes records. */
  get dnsApi(): string {
    return `http://127.0.0.1:${this.#dnsApi}`;
  }

  /** What the authority knows of a certificate, by its serial number. */
  async statusOf(serial: string): Promise<{ readonly Status: string }> {
    const { body } = await this.#get(`cert-status-by-serial/${serial}`);
    return JSON.parse(body);
  }

  #run(program: string, args: readonly string[]): void {
    const env = { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_AUTHZREUSE: '0', PEBBLE_WFE_NONCEREJECT: '20' };
    this.#processes.push(spawn(place(program)!, args, { env, stdio: 'ignore' }));
  }

  async #isUp(): Promise<boolean> {
    return this.#get('roots/0').then(
      ({ status }) => status === 200,
      () => false,
    );
  }

  #get(path: string): Promise<{ readonly status: number; readonly body: string }> {
    return new Promise((resolve, reject) => {
      const url = `https://127.0.0.1:${this.#api}/${path}`;
      // Its certificate is for localhost, and made a moment ago.
      const sent = request(url, { rejectUnauthorized: false, agent: false }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (part) => {
          text += part;
        });
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: text }));
      });
      sent.on('error', reject);
      sent.end();
    });
  }
}
