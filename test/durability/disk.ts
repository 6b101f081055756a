/**
 * File systems of our own to put faults on: an ext4 image on a loop device, a small tmpfs. Needs root, Linux, mount(8) and
 * perl (for one ioctl).
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Why no file system is available here. Undefined if one is. */
export type Refusal = string | undefined;

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();

const folders: string[] = [];
/** However the tests end, nothing stays mounted. */
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
process.once('exit', () => {
  for (const folder of folders) {
    try {
      run('umount', '-l', join(folder, 'mounted'));
    } catch {
      // It is not mounted.
    }
    rmSync(folder, { recursive: true, force: true });
  }
});

function newFolder(): { folder: string; place: string } {
  const folder = mkdtempSync(join(tmpdir(), 'waxwing-disk-'));
  folders.push(folder);
  const place = join(folder, 'mounted');
  mkdirSync(place);
  return { folder, place };
}

function reasonOf(error: unknown): string {
  const { stderr, message } = error as { stderr?: Buffer; message: string };
  return (stderr?.toString().trim() || message).split('\n')[0]!;
}

/** A disk whose power can go. */
export class Disk {
  readonly #image: string;

  private constructor(
    readonly folder: string,
    readonly place: string,
  ) {
    this.#image = join(folder, 'image');
  }

  /** Creates one, or returns why it cannot. `mebibytes`: its size. */
  static make(mebibytes: number): Disk | string {
    const { folder, place } = newFolder();
    const disk = new Disk(folder, place);
    try {
      run('perl', '-e', '1');
      writeFileSync(disk.#image, '');
      truncateSync(disk.#image, mebibytes * 2 ** 20);
      run('mkfs.ext4', '-q', '-F', disk.#image);
      disk.mount();
      disk.cut();
      disk.mount();
    } catch (error) {
      return `needs root, ext4 on a loop device, and perl: ${reasonOf(error)}`;
    }
    return disk;
  }

  mount(): void {
    run('mount', '-o', 'loop', this.#image, this.place);
  }

  /**
   * Simulates a power cut: anything not yet written to the device is lost, data and journal (EXT4_IOC_SHUTDOWN, as in
   * the kernel's file system tests). Open files return errors; the file system can be unmounted once all are closed.
   */
  shutdown(): void {
    const withoutFlush = 2;
    run(
      'perl',
      '-e',
      'open(my $f, "<", $ARGV[0]) or die "open: $!"; my $how = pack("L", $ARGV[1]); ioctl($f, 0x8004587d, $how) or die "ioctl: $!"',
      this.place,
      String(withoutFlush),
    );
  }

  unmount(): void {
    run('umount', this.place);
  }

  cut(): void {
    this.shutdown();
    this.unmount();
  }

  /** The file system detects an error and becomes read-only until it is mounted again. */
  abort(): void {
    run('mount', '-o', 'remount,abort', this.place);
  }

  /** Of the whole file system, without its journal: throws where it is damaged. It must not be mounted. */
  check(): void {
    run('e2fsck', '-f', '-n', this.#image);
  }
}

/** Creates a file system of so many bytes in memory, or returns why it cannot. */
export function smallDisk(size: string): { readonly place: string } | string {
  const { place } = newFolder();
  try {
    run('mount', '-t', 'tmpfs', '-o', `size=${size}`, 'none', place);
  } catch (error) {
    return `needs the right to mount: ${reasonOf(error)}`;
  }
  return { place };
}
