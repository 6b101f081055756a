/** The terminal: questions, and whether secrets may be shown. */
import { fstatSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { CommandError } from './command.js';

/** Longest password read, in bytes. */
const longestLine = 4096;

/**
 * The first line of standard input, without its line break. Rejects with CommandError('usage') if it is empty or too
 * long.
 */
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
    throw new CommandError('usage', line === '' ? 'no password on standard input' : 'the password is too long');
  return line;
}

/** Asks twice, without echo. Rejects with CommandError. */
export async function askNewPassword(): Promise<string> {
  const password = await ask('Password: ', true);
  if (password === '') throw new CommandError('usage', 'the password is empty');
  if ((await ask('Repeat password: ', true)) !== password)
    throw new CommandError('usage', 'the passwords do not match');
  return password;
}

export async function askWhether(question: string): Promise<boolean> {
  return /^y(?:es)?$/i.test((await ask(`${question} (yes or no) `, false)).trim());
}

/** Asks on the terminal. Resolves with the line. Ctrl-C and Ctrl-D reject. */
function ask(question: string, hidden: boolean): Promise<string> {
  const output = hidden ? new Writable({ write: (_chunk, _encoding, done) => done() }) : process.stderr;
  // Turns echo off before the question is printed.
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
      reject(new CommandError('failed', 'no answer'));
    });
  });
}

/** Whether the output is not stored: a terminal or a pipe, but not a file or the systemd journal. */
export function showsSecrets(): boolean {
  const output = fstatSync(1);
  return !output.isFile() && process.env.JOURNAL_STREAM !== `${output.dev}:${output.ino}`;
}
