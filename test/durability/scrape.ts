/** The metrics of a server (/metrics). */
import { readFileSync } from 'node:fs';
import type { ServerProcess } from '../interop/server.js';

export class Scrape {
  readonly #text: string;

  private constructor(text: string) {
    this.#text = text;
  }

  static async of(server: ServerProcess): Promise<Scrape> {
    const answer = await fetch(`http://127.0.0.1:${server.port('http')}/metrics`);
    return new Scrape(await answer.text());
  }

  value(name: string): number {
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(this.#text)?.[1]);
  }

  mebibytes(name: string): number {
    return Math.round(this.value(name) / 2 ** 20);
  }

  /** All values of a metric with one label, by the value of the label. */
  byLabel(name: string): Map<string, number> {
    const found = this.#text.matchAll(new RegExp(`^${name}\\{\\w+="([^"]*)"\\} (\\S+)$`, 'gm'));
    return new Map([...found].map(([, label, value]) => [label!, Number(value)]));
  }
}

/** The most memory that a process had since it started, in MiB. */
export const peakMemory = (pid: number): number =>
  Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024);
