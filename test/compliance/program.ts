/**
 * The program as administrators call it, for dialogues: real processes on folders and ports of their own. Loading the
 * server's code takes most of a call; those that are about commands and not about processes are in warm.ts.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { atEndOfFile } from '../endings.js';

export { dataOf, errorOf } from './warm.js';

export const root = mkdtempSync(join(tmpdir(), 'waxwing-cli-'));
export const servers = new Set<ChildProcess>();
atEndOfFile(() => {
  for (const server of servers) server.kill('SIGKILL');
  servers.clear();
});
process.once('exit', () => rmSync(root, { recursive: true, maxRetries: 5 }));

// The program itself, of the build that this test belongs to.
export const built = fileURLToPath(new URL('../../', import.meta.url));
export const program = join(root, 'waxwing.mjs');
const source = readFileSync(new URL('../../../bin/waxwing.js', import.meta.url), 'utf8');
writeFileSync(program, source.replace("'../dist/", `'${built}`));

export interface Home {
  readonly file: string;
  readonly data: string;
}

let homes = 0;

/** A folder with a configuration whose data lies in it. */
export function home(more = ''): Home {
  const folder = join(root, String(homes++));
  mkdirSync(folder);
  const made = { file: join(folder, 'waxwing.toml'), data: join(folder, 'data') };
  configure(made, more);
  return made;
}

export function configure({ file }: Home, more: string): void {
  const listen = 'c2s = ["127.0.0.1:0"]\nc2s_tls = ["127.0.0.1:0"]\nhttps = []\nhttp = []';
  writeFileSync(file, `[listen]\n${listen}\n[auth]\nscram_iterations = 4096\n${more}`);
}

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export function call({ file }: Home, args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [program, ...args, '--config', file], { stdio: 'pipe' });
}

/** Calls the program in a process of its own and waits for its end. */
export async function waxwing(at: Home, args: readonly string[], input = ''): Promise<Ended> {
  const child = call(at, args);
  const [out, err] = [collect(child.stdout!), collect(child.stderr!)];
  child.stdin!.on('error', () => {}).end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out: out.text, err: err.text };
}

/** What a command printed with --json; it must have worked. */
export function dataIn({ code, out, err }: Ended): Record<string, unknown> {
  assert.equal(code, 0, out + err);
  return JSON.parse(out) as Record<string, unknown>;
}

export function collect(stream: NodeJS.ReadableStream) {
  const read = {
    text: '',
    /** Resolves with the text once it matches; rejects if the stream ends before. */
    until: (pattern: RegExp) =>
      new Promise<string>((resolve, reject) => {
        const look = () => {
          if (!pattern.test(read.text)) return;
          stream.off('data', look);
          resolve(read.text);
        };
        stream.on('data', look).once('end', () => reject(new Error(`no ${pattern} in ${read.text}`)));
        look();
      }),
  };
  stream.on('data', (chunk: Buffer | string) => {
    read.text += String(chunk);
  });
  return read;
}

export interface Ready {
  readonly pid: number;
  readonly listening: readonly { readonly kind: string; readonly port: number }[];
  readonly admin: { readonly jid: string; readonly password: string } | null;
}

/** Starts a server in the foreground and waits until it is ready. */
export async function start(at: Home, child = call(at, ['start', '--json'])) {
  servers.add(child);
  const out = collect(child.stdout!);
  const err = collect(child.stderr!);
  const ended = once(child, 'close').then(([code]) => {
    servers.delete(child);
    return code as number | null;
  });
  await out.until(/"listening":.*\n/).catch(() => assert.fail(`${out.text}${err.text}`));
  const line = out.text.split('\n').find((one) => one.includes('"listening"'))!;
  return { child, out, err, ended, ready: JSON.parse(line) as Ready };
}

export const portOf = ({ listening }: Ready) => listening.find(({ kind }) => kind === 'c2s_tls')!.port;

/** A client over direct TLS, as far as the password and a resource. Rejects where the password is wrong. */
export async function logIn(port: number, jid: string, password: string) {
  const [user, host] = jid.split('@');
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  const read = collect(socket);
  socket.on('error', () => {});
  const header = `<stream:stream to="${host}" version="1.0" xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams">`;
  socket.write(header);
  await read.until(/<\/stream:features>/);
  const proof = Buffer.from(`\0${user}\0${password}`).toString('base64');
  socket.write(`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">${proof}</auth>`);
  if (/<failure/.test(await read.until(/<(?:success|failure)/))) {
    socket.destroy();
    throw new Error('wrong password');
  }
  socket.write(header);
  await read.until(/<\/stream:features>[\s\S]*<\/stream:features>/);
  const bind = '<bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><resource>desk</resource></bind>';
  socket.write(`<iq type="set" id="b">${bind}</iq>`);
  await read.until(/type=['"]result['"]/);
  return { socket, read };
}
