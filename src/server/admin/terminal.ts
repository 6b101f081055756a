/** Who sits before the program: what is asked, and what may be shown. */
import { fstatSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { CommandError } from './command.js';

/** The longest password that is read, in bytes. */
const longestLine = 4096;

/** The first line of standard input, without its end. Rejects with CommandError('usage') if there is none. */
export async function readLine(): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (chunk.includes(0x0a) || bytes > longestLine) break;
  }
  const line = Buffer.concat(chunks).toString('utf8').split(/\r?\n/, 1)[0] ?? '';
  if (line === '' || bytes > longestLine)
    throw new CommandError('usage', line === '' ? 'standard input has no password' : 'the password is too long');
  return line;
}

/** Asks twice, showing nothing of what is typed. Rejects with CommandError. */
export async function askNewPassword(): Promise<string> {
  const password = await ask('Password: ', true);
  if (password === '') throw new CommandError('usage', 'no password was given');
  if ((await ask('Once more: ', true)) !== password) throw new CommandError('usage', 'the two are not the same');
  return password;
}

export async function askWhether(question: string): Promise<boolean> {
  return /^y(?:es)?$/i.test((await ask(`${question} (yes or no) `, false)).trim());
}

/** Asks on the terminal; the answer comes without its line break. Ctrl-C and Ctrl-D end the question as a refusal. */
function ask(question: string, hidden: boolean): Promise<string> {
  const output = hidden ? new Writable({ write: (_chunk, _encoding, done) => done() }) : process.stderr;
  // From here on the terminal shows nothing by itself: only then it is asked.
  const lines = createInterface({ input: process.stdin, output, terminal: true, historySize: 0 });
  if (hidden) process.stderr.write(question);
  else {
    lines.setPrompt(question);
    lines.prompt();
  }
  return new Promise((resolve, reject) => {
    lines.once('line', (line) => {
      resolve(line);
      lines.close();
    });
    lines.once('SIGINT', () => lines.close());
    lines.once('close', () => {
      if (hidden) process.stderr.write('\n');
      reject(new CommandError('failed', 'nothing was answered'));
    });
  });
}

/** Whether what is printed is read and not kept: by a terminal or a pipe, but no file and not systemd's journal. */
export function showsSecrets(): boolean {
  const output = fstatSync(1);
  return !output.isFile() && process.env.JOURNAL_STREAM !== `${output.dev}:${output.ino}`;
}
