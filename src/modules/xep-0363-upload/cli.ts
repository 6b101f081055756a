/** `waxwing files …`: uploaded files (XEP-0363). */

import type { Jid } from '../../server/address/jid.js';
import { type CliContext, CommandError, cliCommand } from '../../server/module/index.js';
import { oneLine } from '../../server/plain.js';
import { columns, count, facts, megabytes, time } from '../../server/words.js';
import type { UploadedFile, Uploads } from './services.js';

/** Accounts and files read at a time. */
const page = 500;
/** Accounts named by `files usage`. */
const mostNamed = 10;

/** A file as JSON. */
interface FileData extends Omit<UploadedFile, 'at' | 'expires' | 'type'> {
  /** ISO. */
  readonly at: string;
  /** ISO; null if it does not expire. */
  readonly expires: string | null;
  readonly type: string | null;
}

const described = ({ at, expires, type, ...rest }: UploadedFile): FileData => ({
  ...rest,
  type: type ?? null,
  at: new Date(at).toISOString(),
  expires: expires === undefined ? null : new Date(expires).toISOString(),
});

const list = cliCommand({
  name: 'files list',
  summary: 'Lists the uploaded files of an account',
  reads: true,
  parameters: {
    account: { type: 'account', positional: true, required: true, description: 'The account.' },
    after: { type: 'text', description: 'Only files after the one with this id: the next page.' },
    limit: { type: 'count', description: 'Maximum number of files (100).' },
  },
  async run(context, { account, after, limit = 100 }) {
    const found = await uploadsOf(context, account.domain).list(account, { after, limit });
    return { files: found.map(described), next: found.length < limit ? null : found.at(-1)!.id };
  },
  text({ files, next }) {
    if (files.length === 0) return 'There are no files.';
    const rows = files.map(({ at, expires, size, name, url }) => [
      time(at),
      expires === null ? 'never' : time(expires),
      String(size),
      name,
      url,
    ]);
    const more = next === null ? '' : `\nThere may be more: --after ${next}`;
    return columns(rows, ['UPLOADED', 'EXPIRES', 'BYTES', 'NAME', 'ADDRESS']) + more;
  },
});

const remove = cliCommand({
  name: 'files delete',
  summary: 'Deletes an uploaded file, or all files of an account',
  details: 'Clients that have downloaded a file still have it, and browsers may show their copy for a day.',
  parameters: {
    file: { type: 'text', positional: true, description: 'The id of the file, or its address.' },
    account: { type: 'account', description: 'Deletes all files of this account.' },
  },
  confirm: ({ file, account }) =>
    file === undefined
      ? `Delete all uploaded files of ${oneLine(String(account))}?`
      : `Delete ${oneLine(String(file))}?`,
  async run(context, { file, account }) {
    if ((file === undefined) === (account === undefined)) throw new CommandError('usage', 'give a file, or --account');
    if (account !== undefined) return { deleted: await deleteAll(uploadsOf(context, account.domain), account) };
    for (const { uploads } of served(context)) {
      const found = await uploads.find(file!);
      if (found !== undefined) return { deleted: await uploads.delete(found.owner, [found.file.id]) };
    }
    throw new CommandError('not-found', `there is no file ${oneLine(file!)}`);
  },
  text: ({ deleted }) => `${count(deleted, 'file')} deleted.`,
});

async function deleteAll(uploads: Uploads, account: Jid): Promise<number> {
  let deleted = 0;
  for (;;) {
    const files = await uploads.list(account, { limit: page });
    if (files.length === 0) return deleted;
    const ids = files.map(({ id }) => id);
    deleted += await uploads.delete(account, ids);
  }
}

const usage = cliCommand({
  name: 'files usage',
  summary: 'Shows how much space uploaded files use',
  details: 'Without an account it reads the records of all files, which can take some time.',
  reads: true,
  parameters: { account: { type: 'account', positional: true, description: 'Only files of this account.' } },
  async run(context, { account }) {
    if (account !== undefined) {
      const { files, bytes } = await uploadsOf(context, account.domain).usage(account.bare);
      return { accounts: 1, files, bytes, largest: [] };
    }
    const sum = { accounts: 0, files: 0, bytes: 0 };
    let largest: { readonly account: string; readonly files: number; readonly bytes: number }[] = [];
    for (const { uploads } of served(context)) {
      for (let after: string | undefined; ; ) {
        const owners = await uploads.owners({ after, limit: page });
        for (const owner of owners) {
          const { files, bytes } = await uploads.usage(owner);
          sum.accounts++;
          sum.files += files;
          sum.bytes += bytes;
          largest.push({ account: owner, files, bytes });
        }
        largest = largest.sort((one, other) => other.bytes - one.bytes).slice(0, mostNamed);
        if (owners.length < page) break;
        after = owners.at(-1);
        context.progress(`${count(sum.files, 'file')} of ${count(sum.accounts, 'account')} so far`);
      }
    }
    return { ...sum, largest };
  },
  text({ accounts, files, bytes, largest }) {
    const all = facts([
      ['Files', String(files)],
      ['Size', `${megabytes(bytes)} (${bytes} bytes)`],
      ['Accounts', String(accounts)],
    ]);
    if (largest.length === 0) return all;
    const rows = largest.map((one) => [one.account, String(one.files), String(one.bytes)]);
    return `${all}\n\n${columns(rows, ['ACCOUNT', 'FILES', 'BYTES'])}`;
  },
});

const served = ({ hosts }: CliContext) =>
  hosts.flatMap((host) => {
    const uploads = host.provided('uploads');
    return uploads === undefined ? [] : [{ domain: host.domain, uploads }];
  });

/** Throws CommandError. */
function uploadsOf(context: CliContext, domain: string): Uploads {
  if (!context.hosts.some((host) => host.domain === domain))
    throw new CommandError('not-found', `this server does not serve ${domain}`);
  const found = served(context).find((one) => one.domain === domain);
  if (found === undefined) throw new CommandError('failed', 'the module "upload" is disabled for this host');
  return found.uploads;
}

export const cli = [list, remove, usage];
