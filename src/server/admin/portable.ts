/**
 * Commands that move accounts between servers (XEP-0227). Each has two halves: the server reads and writes accounts, and for
 * an export the calling program writes the file, with the rights of its user.
 */
import type { ImportData } from '../portable/import.js';
import { columns, count, megabytes } from '../words.js';
import { CommandError, eitherCommand, exitCodes, localCommand } from './command.js';

const hostOption = { type: 'text', description: 'Only accounts of this host.' } as const;
const addresses = {
  type: 'text',
  positional: true,
  description: 'Only these accounts, separated by commas. Default: all.',
} as const;

interface ExportedData {
  readonly accounts: number;
  /** Accounts whose import is not complete. */
  readonly incomplete: readonly string[];
}

/** Characters of a piece of output. */
const piece = 65_536;

export const exporting = eitherCommand({
  name: 'export',
  summary: 'Sends accounts with all their data',
  reads: true,
  parameters: { addresses, host: hostOption },
  async run(context, { addresses, host }): Promise<ExportedData> {
    const { Jid } = await import('../address/jid.js');
    const { exportEnd, exportHead, exportHost } = await import('../portable/export.js');
    const server = await context.opened();
    const hosts = server.portableHosts.filter(({ domain }) => host === undefined || domain === host);
    if (hosts.length === 0) throw new CommandError('not-found', `this server has no host ${host}`);
    const named = (addresses?.split(',') ?? []).map((text) => {
      const jid = Jid.tryParse(text.trim());
      if (jid?.local === undefined || !jid.isBare || !hosts.some(({ domain }) => domain === jid.domain))
        throw new CommandError(
          'usage',
          `${JSON.stringify(text.trim())} is not the address of an account of this server`,
        );
      return jid;
    });
    for (const { bare } of named)
      if ((await server.accounts.get(bare)) === undefined) throw new CommandError('not-found', `no account ${bare}`);
    let accounts = 0;
    const incomplete: string[] = [];
    let waiting = exportHead;
    for (const one of hosts) {
      const only = addresses === undefined ? undefined : named.filter(({ domain }) => domain === one.domain);
      if (only?.length === 0) continue;
      const counted = ({ bare, isComplete }: { readonly bare: string; readonly isComplete: boolean }) => {
        accounts++;
        if (!isComplete && incomplete.length < 1000) incomplete.push(bare);
      };
      for await (const text of exportHost(one, only, counted)) {
        waiting += text;
        if (waiting.length < piece) continue;
        await context.output(waiting);
        waiting = '';
      }
    }
    await context.output(waiting + exportEnd);
    return { accounts, incomplete };
  },
  text: () => '',
});

export const exportAccounts = localCommand({
  name: 'export',
  summary: 'Writes accounts with all their data to a file that other servers can read (XEP-0227)',
  details:
    'Works with and without a running server, and clients stay connected. The file has the messages and the password keys of the accounts, so only its owner may read it. What the format has no elements for is in elements of our own, so that another Waxwing gets everything. Uploaded files are not included: copy the folder storage.files.folder.',
  parameters: {
    file: { type: 'text', positional: true, required: true, description: 'The file to write; - for standard output.' },
    addresses,
    host: hostOption,
    force: { type: 'flag', description: 'Overwrites an existing file.' },
  },
  async run(terminal, { file, addresses, host, force }) {
    const { openTarget } = await import('./target-file.js');
    const target = await openTarget(file, { force });
    const raw = { ...(addresses !== undefined && { addresses }), ...(host !== undefined && { host }) };
    try {
      const exported = (await terminal.call(exporting, raw, target.write)) as ExportedData;
      const bytes = await target.complete();
      const data = { file: target.path ?? null, bytes, ...exported };
      if (target.path !== undefined) return data;
      // Standard output has the accounts.
      process.stderr.write(`${textOf(data)}\n`);
      return undefined;
    } catch (error) {
      await target.discard();
      throw error;
    }
  },
  text: (data) => (data === undefined ? '' : textOf(data)),
});

function textOf({
  file,
  bytes,
  accounts,
  incomplete,
}: ExportedData & { readonly file: string | null; readonly bytes: number }) {
  const done = `${count(accounts, 'account')} exported${file === null ? '' : ` to ${file}`} (${megabytes(bytes)}).`;
  const missing =
    incomplete.length === 0 ? '' : `\nNot complete, because their import is not: ${incomplete.join(', ')}`;
  return done + missing;
}

/** Servers that import accounts now. */
const busy = new WeakSet<object>();

const importParameters = {
  host: hostOption,
  existing: {
    type: 'text',
    choices: ['skip', 'merge', 'replace'],
    description:
      'What to do with accounts that exist: skip leaves them alone, merge adds what they lack, replace deletes their data first. Without it, nothing is imported if there are any.',
  },
  'dry-run': { type: 'flag', description: 'Only reads the file, and reports what would be left out.' },
} as const;

const fileToRead = {
  type: 'text',
  positional: true,
  required: true,
  description: 'The file, or a folder with files named *.xml.',
} as const;

export const importing = eitherCommand({
  name: 'import',
  summary: 'Imports accounts',
  parameters: { file: fileToRead, ...importParameters },
  async run(context, { file, host, existing, 'dry-run': dryRun }): Promise<ImportData> {
    const { importAccounts } = await import('../portable/import.js');
    const server = await context.opened();
    const hosts = server.portableHosts;
    if (host !== undefined && !hosts.some(({ domain }) => domain === host))
      throw new CommandError('not-found', `this server has no host ${host}`);
    if (busy.has(server)) throw new CommandError('busy', 'another import is running');
    busy.add(server);
    try {
      return await importAccounts({ path: file, host, existing, dryRun, hosts, progress: context.progress });
    } finally {
      busy.delete(server);
    }
  },
  text: () => '',
});

export const importAccounts = localCommand({
  name: 'import',
  summary: 'Imports accounts that Waxwing or another server has exported (XEP-0227)',
  details:
    'Works with and without a running server, which must be able to read the file. An account that exists is disabled while it is imported, which ends its sessions. If the command is interrupted, call it again with --existing skip: it completes the account it had begun and leaves the others alone. The same file twice doubles nothing. Exits with code 1 if an account could not be imported.',
  parameters: { file: fileToRead, ...importParameters },
  async run(terminal, { file, host, existing, 'dry-run': dryRun }) {
    const { resolve } = await import('node:path');
    const raw = {
      file: resolve(file),
      ...(host !== undefined && { host }),
      ...(existing !== undefined && { existing }),
      'dry-run': dryRun,
    };
    return (await terminal.call(importing, raw)) as ImportData;
  },
  text(data) {
    const {
      dryRun,
      accounts,
      existing,
      skipped,
      failed,
      refused,
      furtherRefused,
      unknown,
      foreign,
      withoutPassword,
      onlySha1,
    } = data;
    const done = dryRun ? 'found; nothing was imported' : 'imported';
    const section = (title: string, rows: readonly (readonly string[])[]) =>
      rows.length === 0 ? [] : ['', title, columns(rows.map(([first, ...rest]) => [`  ${first}`, ...rest]))];
    return [
      `${count(accounts, 'account')} ${done}${existing - skipped > 0 ? `, ${existing - skipped} of them existed` : ''}${skipped > 0 ? `; ${skipped} that exist skipped` : ''}.`,
      ...section(
        'Failed:',
        failed.map(({ account, why }) => [account, why]),
      ),
      ...section(
        'Left out:',
        refused.map(({ account, what, why, count }) => [account ?? '', `${count} × ${what}`, why]),
      ),
      ...section(
        'Not known here, and left out:',
        unknown.map(({ ns, name, count }) => [`${count} × <${name}>`, ns]),
      ),
      ...section(
        'Not hosts of this server:',
        foreign.map(({ host, users }) => [host, count(users, 'account')]),
      ),
      ...(furtherRefused > 0 ? ['', `${furtherRefused} more are not listed.`] : []),
      ...(withoutPassword.length > 0
        ? [
            '',
            `Nobody can log in to these until they have a password (waxwing user passwd): ${withoutPassword.join(', ')}`,
          ]
        : []),
      ...(onlySha1 > 0
        ? [
            '',
            `${count(onlySha1, 'account')} can log in by SCRAM-SHA-1 alone: set auth.mechanisms = ["SCRAM-SHA-1", "PLAIN"] until their passwords have changed.`,
          ]
        : []),
    ].join('\n');
  },
  exitCode: ({ failed }) => (failed.length > 0 ? exitCodes.failed : exitCodes.done),
});
