/** The files of an export (XEP-0227 §4): one, those that it includes, or all of a folder. */
import { createReadStream } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { type Level, PortableError, type PortableEvent, PortableParser } from './parser.js';

/** Bytes read at a time. */
const chunk = 65_536;
/** Files that include each other: main file, host, user, and some more. */
const deepest = 8;

type Takes = ConstructorParameters<typeof PortableParser>[1];

/**
 * The events of a file, or of all files named `*.xml` in a folder, in order. Included files must be in the same folder or
 * below it. Throws PortableError.
 */
export async function* readPortable(path: string, takes: Takes): AsyncGenerator<PortableEvent> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new PortableError(`${path} cannot be read (${error.code})`);
  });
  const folder = await realpath(found.isDirectory() ? path : dirname(path));
  const names = found.isDirectory()
    ? (await readdir(path)).filter((name) => name.endsWith('.xml')).sort()
    : [path.slice(dirname(path).length).replace(/^[/\\]/, '')];
  if (names.length === 0) throw new PortableError(`${path} has no files named *.xml`);
  for (const name of names) yield* readFile(join(folder, name), 'document', { folder, takes, depth: 1 });
}

interface Place {
  readonly folder: string;
  readonly takes: Takes;
  readonly depth: number;
}

async function* readFile(file: string, level: Level, place: Place): AsyncGenerator<PortableEvent> {
  const inFile = (error: unknown) =>
    error instanceof PortableError ? new PortableError(`${file}: ${error.message}`) : error;
  const parser = new PortableParser(level, place.takes);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decode = (bytes?: Buffer): string => {
    try {
      return bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true });
    } catch {
      throw new PortableError(`${file} is not UTF-8`);
    }
  };
  const attempt = (work: () => PortableEvent[]): PortableEvent[] => {
    try {
      return work();
    } catch (error) {
      throw inFile(error);
    }
  };
  const input = createReadStream(file, { highWaterMark: chunk });
  try {
    for await (const bytes of input as AsyncIterable<Buffer>)
      yield* included(
        attempt(() => parser.push(decode(bytes))),
        file,
        place,
      );
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === undefined ? error : new PortableError(`${file} cannot be read (${code})`);
  } finally {
    input.destroy();
  }
  yield* included(
    attempt(() => [...parser.push(decode()), ...parser.end()]),
    file,
    place,
  );
}

/** The same events, with those of included files in place of their inclusion. */
async function* included(events: readonly PortableEvent[], file: string, place: Place): AsyncGenerator<PortableEvent> {
  for (const event of events) {
    if (event.kind !== 'include') {
      yield event;
      continue;
    }
    const target = await locate(event.href, file, place);
    if (typeof target === 'string') yield* readFile(target, event.level, { ...place, depth: place.depth + 1 });
    else
      yield { kind: 'refused', what: `the included file ${JSON.stringify(event.href.slice(0, 200))}`, why: target.why };
  }
}

/** The real path of an included file, unless it must not be read. */
async function locate(
  href: string,
  file: string,
  { folder, depth }: Place,
): Promise<string | { readonly why: string }> {
  if (depth >= deepest) return { why: 'files include each other too deeply' };
  let path: string;
  try {
    path = decodeURIComponent(href);
  } catch {
    return { why: 'its name is not a valid reference' };
  }
  const segments = path.split(/[/\\]/);
  if (
    path === '' ||
    /^[a-z][a-z0-9+.-]*:/i.test(href) ||
    /[?#]/.test(href) ||
    path.includes('\0') ||
    segments.includes('') ||
    segments.includes('..')
  )
    return { why: 'only relative references to files in the same folder or below are followed' };
  const target = join(dirname(file), path);
  const real = await realpath(target).catch(() => undefined);
  if (real === undefined) return { why: 'it does not exist' };
  if (!real.startsWith(folder.endsWith(sep) ? folder : folder + sep)) return { why: 'it is outside of the folder' };
  return (await stat(real)).isFile() ? real : { why: 'it is not a file' };
}
