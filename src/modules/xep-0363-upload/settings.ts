/** `[modules.upload]`. */
import { z } from 'zod';
import { bytes, count, longestTimer, seconds } from '../../server/config/units.js';

const amount = () => bytes({ min: 0, unlimited: true });
const files = () => count({ min: 0, unlimited: true });
const mebibyte = 2 ** 20;
/** A slot states the size of a file as a number. */
const fileSize = () => bytes({ min: 1 });

export const settings = z.strictObject({
  subdomain: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/)
    .default('upload')
    .describe('Subdomain of the host at which the service has its address.'),
  public_url: z
    .string()
    .refine((text) => text === '' || isBase(text), {
      error: 'is not the beginning of a web address',
      params: { hint: 'write one such as "https://files.example.org", without a query' },
    })
    .default('')
    .describe(
      'Beginning of the addresses of files, if it is not hosts.*.public_url; "/upload/…" follows, and has to reach this server. A domain that serves nothing else separates files of users from other pages.',
    )
    .meta({ example: 'https://files.example.org' }),
  file_bytes: fileSize()
    .default(100 * mebibyte)
    .describe('Maximum size of a file.'),
  account_bytes: amount()
    .default(1024 * mebibyte)
    .describe('Maximum size of all files of an account for messages.'),
  account_files: count({ min: 1 }).default(10_000).describe('Maximum number of files of an account.'),
  day_bytes: amount()
    .default(1024 * mebibyte)
    .describe('Maximum size of the files that an account uploads in a day (UTC).'),
  day_files: files().default(1000).describe('Maximum number of files that an account uploads in a day (UTC).'),
  retention_seconds: seconds({ min: 60, unlimited: true })
    .default(90 * 86_400)
    .describe('How long files for messages are stored.'),
  profile_file_bytes: fileSize()
    .default(2 * mebibyte)
    .describe('Maximum size of a file for a profile, such as an avatar. Those are stored until they are deleted.'),
  profile_bytes: amount()
    .default(20 * mebibyte)
    .describe('Maximum size of all such files of an account. 0: this purpose is not offered.'),
  permanent_bytes: amount()
    .default(100 * mebibyte)
    .describe(
      'Maximum size of all files that an account stores permanently, such as pictures of a blog. 0: this purpose is not offered.',
    ),
  admins: z
    .strictObject({
      file_bytes: fileSize()
        .default(1024 * mebibyte)
        .describe('Maximum size of a file.'),
      account_bytes: amount().default(Number.POSITIVE_INFINITY).describe('Maximum size of all files for messages.'),
      permanent_bytes: amount()
        .default(Number.POSITIVE_INFINITY)
        .describe('Maximum size of all permanent files. 0: this purpose is not offered.'),
      day_bytes: amount().default(Number.POSITIVE_INFINITY).describe('Maximum size of the files uploaded in a day.'),
      day_files: files().default(Number.POSITIVE_INFINITY).describe('Maximum number of files uploaded in a day.'),
    })
    .prefault({})
    .describe('Limits of administrators instead of those of users.'),
  slot_seconds: seconds({ min: 10, max: 86_400 })
    .default(300)
    .describe('How long a client may wait before it begins to upload (XEP-0363 §8).'),
  upload_seconds: seconds({ min: 10, max: longestTimer }).default(3600).describe('Maximum duration of an upload.'),
  slots_per_account: count({ min: 1 }).default(50).describe('Maximum unused slots and running uploads of an account.'),
  uploads: count({ min: 1 })
    .default(500)
    .describe('Maximum running uploads. One account can have at most ten, and a quarter of what is free.'),
});

export type Settings = z.output<typeof settings>;

function isBase(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return (protocol === 'https:' || protocol === 'http:') && `${username}${password}${search}${hash}` === '';
}
