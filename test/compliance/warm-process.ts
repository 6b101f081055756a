/** The process behind warm.ts: runs calls of the program in turn, and says how each ended. */
import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import { main } from '../../src/server/admin/cli.js';
import { closed, openNow } from '../left-open.js';
import type { Ended } from './program.js';
import type { Call } from './warm.js';

process.on('message', async (call: Call) => process.send!(await run(call)));

/** A call ends as its process would: once nothing keeps it alive. */
async function run({ argv, input }: Call): Promise<Ended> {
  const forget = listenersKept([process, process.stdout, process.stderr]);
  const before = openNow();
  const [out, err] = [capture(process.stdout), capture(process.stderr)];
  process.argv = [process.execPath, ...argv];
  Object.defineProperty(process, 'stdin', { value: Readable.from([Buffer.from(input)]), configurable: true });
  let code: number;
  try {
    code = await main(argv.slice(1));
    forget();
    await closed(before);
  } catch (error) {
    process.stderr.write(inspect(error));
    code = 1;
  }
  return { code, out: out(), err: err() };
}

/** Keeps what is written to a stream, and returns it when it is called, for the last time. */
function capture(stream: NodeJS.WriteStream): () => string {
  const { write } = stream;
  let text = '';
  stream.write = (chunk: string | Uint8Array) => {
    text += String(chunk);
    return true;
  };
  return () => {
    stream.write = write;
    return text;
  };
}

/** Returns what takes listeners away that were added since. */
function listenersKept(emitters: readonly NodeJS.EventEmitter[]): () => void {
  const before = emitters.map((emitter) => new Set(emitter.eventNames().flatMap((name) => emitter.listeners(name))));
  return () => {
    for (const [index, emitter] of emitters.entries())
      for (const name of emitter.eventNames())
        for (const listener of emitter.listeners(name))
          if (!before[index]!.has(listener)) emitter.off(name, listener as () => void);
  };
}
