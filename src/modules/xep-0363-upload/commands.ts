/** Ad-hoc commands (XEP-0050): users see and delete their own files, administrators delete any. */
import type { Command, CommandResult } from '../../server/module/index.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { table } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import type { UploadedFile, Uploads } from './services.js';

/** Maximum files in a form. */
const most = 200;

/** Our own forms. The list is open, since files may expire while the form is filled in. */
const ofFiles = (files: readonly UploadedFile[]) =>
  defineForm(`${NS.upload}#files`, {
    files: {
      type: 'list-multi',
      label: 'The files to delete',
      options: files.map((file) => ({ value: file.id, label: `${file.name} (${described(file)})` })),
      open: true,
      required: true,
    },
  });
const ofAddresses = defineForm(`${NS.upload}#addresses`, {
  addresses: { type: 'text-multi', label: 'The addresses of the files', required: true },
});

export function fileCommands({ latest, delete: remove, find }: Pick<Uploads, 'latest' | 'delete' | 'find'>): Command[] {
  return [
    {
      node: 'files',
      name: 'List my uploaded files',
      target: 'server',
      access: 'users',
      run: async ({ request }) => {
        const { files, total } = await latest(request.from.toBare(), most);
        return files.length === 0
          ? note('You have no uploaded files.')
          : { status: 'completed', payload: [listOf(files, total)] };
      },
    },
    {
      node: 'files#delete',
      name: 'Delete uploaded files of mine',
      target: 'server',
      access: 'users',
      run: async ({ request, form, state }) => {
        const owner = request.from.toBare();
        if (state === undefined) {
          const { files, total } = await latest(owner, most);
          if (files.length === 0) return note('You have no uploaded files.');
          return asks(ofFiles(files).form({}, { title: titleOf('Delete uploaded files', files, total) }));
        }
        const { files = [] } = ofFiles([]).read(form) ?? {};
        return deleted(await remove(owner, files.slice(0, most)));
      },
    },
    {
      node: 'files#remove',
      name: 'Delete uploaded files of users',
      target: 'server',
      access: 'admins',
      run: async ({ form, state }) => {
        if (state === undefined) return asks(ofAddresses.form({}, { title: 'Delete uploaded files of users' }));
        const { addresses = [] } = ofAddresses.read(form) ?? {};
        let count = 0;
        for (const address of addresses.slice(0, most)) {
          const found = await find(address.trim());
          if (found !== undefined) count += await remove(found.owner, [found.file.id]);
        }
        return deleted(count);
      },
    },
  ];
}

const asks = (form: ReturnType<typeof table>): CommandResult => ({
  status: 'executing',
  state: 'asked',
  payload: [form],
});
const note = (text: string): CommandResult => ({ status: 'completed', note: { type: 'info', text } });
const deleted = (count: number): CommandResult =>
  note(count === 1 ? 'One file was deleted.' : `${count} files were deleted.`);

const described = ({ size, at }: UploadedFile): string => `${size} bytes, ${formatDateTime(at).slice(0, 10)}`;

const titleOf = (title: string, files: readonly UploadedFile[], total: number): string =>
  files.length === total ? title : `${title} (the latest ${files.length} of ${total})`;

const listOf = (files: readonly UploadedFile[], total: number) =>
  table({
    title: titleOf('Your uploaded files', files, total),
    columns: [
      { var: 'name', label: 'Name', type: 'text-single' },
      { var: 'size', label: 'Bytes', type: 'text-single' },
      { var: 'time', label: 'Uploaded', type: 'text-single' },
      { var: 'expires', label: 'Expires', type: 'text-single' },
      { var: 'url', label: 'Address', type: 'text-single' },
    ],
    rows: files.map(({ name, size, at, expires, url }) => ({
      name,
      size: String(size),
      time: formatDateTime(at),
      expires: expires === undefined ? '' : formatDateTime(expires),
      url,
    })),
  });
