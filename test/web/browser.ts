/** Chromium, driven by playwright-core, which run.sh installs in a folder of its own and not with the server. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { patience } from '../interop/server.js';

/** What the tests use of a page of Playwright. A selector that is not found within its patience rejects. */
export interface Page {
  goto(url: string): Promise<unknown>;
  reload(): Promise<unknown>;
  click(selector: string): Promise<void>;
  fill(selector: string, text: string): Promise<void>;
  press(selector: string, key: string): Promise<void>;
  setInputFiles(selector: string, file: string): Promise<void>;
  waitForSelector(
    selector: string,
    options?: { state: 'attached' | 'detached' | 'visible' | 'hidden' },
  ): Promise<unknown>;
  evaluate(inPage: string): Promise<unknown>;
  /** Call it before what causes the event. Rejects if it does not happen within its patience. */
  waitForEvent(event: 'download'): Promise<Download>;
  waitForEvent(event: 'websocket'): Promise<unknown>;
  screenshot(options: { path: string; animations: 'disabled' }): Promise<unknown>;
  emulateMedia(media: { colorScheme: 'dark' | 'light' }): Promise<void>;
  url(): string;
  close(): Promise<void>;
  context(): Context;
}

/** All pages of somebody. */
export interface Context {
  newCDPSession(page: Page): Promise<DevTools>;
  newPage(): Promise<Page>;
  /** Service workers that run. */
  serviceWorkers(): readonly Worker[];
  waitForEvent(event: 'serviceworker'): Promise<Worker>;
}

export interface Worker {
  url(): string;
  evaluate(inWorker: string): Promise<unknown>;
}

/** A file that a page gave to its user. */
interface Download {
  /** Where it is, once it is complete. Rejects if it is not. */
  path(): Promise<string>;
}

/** Chromium's own protocol, of which Playwright covers a part. */
interface DevTools {
  send(method: 'Page.getInstallabilityErrors'): Promise<{ installabilityErrors: readonly { errorId: string }[] }>;
  detach(): Promise<void>;
}

interface DrivenPage extends Page {
  setDefaultTimeout(ms: number): void;
  on(event: 'console', listener: (message: { type(): string; text(): string }) => void): void;
  on(event: 'pageerror', listener: (error: Error) => void): void;
  on(event: 'request', listener: (request: { url(): string }) => void): void;
  on(event: 'response', listener: (response: { url(): string; status(): number }) => void): void;
}

interface ContextOptions {
  readonly viewport: { readonly width: number; readonly height: number };
  readonly locale?: string;
  readonly javaScriptEnabled?: boolean;
  readonly permissions?: readonly string[];
}

interface OpenOptions extends Omit<ContextOptions, 'viewport'> {
  /** Runs in each page before its own scripts. */
  readonly script?: string;
  /** A browser of its own, with its data in a folder and further arguments: what private windows do not have works there. */
  readonly own?: { readonly folder: string; readonly args: readonly string[] };
}

interface DrivenContext extends Context {
  newPage(): Promise<DrivenPage>;
  addInitScript(script: { content: string }): Promise<void>;
  close(): Promise<void>;
}

interface LaunchOptions {
  readonly executablePath: string;
  readonly args: readonly string[];
  readonly timeout: number;
}

interface Playwright {
  readonly chromium: {
    launchPersistentContext(
      folder: string,
      options: LaunchOptions & ContextOptions & { readonly ignoreDefaultArgs: readonly string[] },
    ): Promise<DrivenContext>;
    launch(options: LaunchOptions): Promise<{
      newContext(options: ContextOptions): Promise<DrivenContext>;
      close(): Promise<void>;
    }>;
  };
}

const root = fileURLToPath(new URL('../../../', import.meta.url));
const installed = createRequire(join(root, '.interop/web/package.json'));
const { chromium } = installed('playwright-core') as Playwright;
/** It runs in the page: https://github.com/dequelabs/axe-core/blob/develop/doc/API.md */
const axe = readFileSync(installed.resolve('axe-core/axe.min.js'), 'utf8');

interface Violation {
  readonly id: string;
  readonly impact: string;
  readonly nodes: readonly { readonly html: string }[];
}

const howToLaunch = (args: readonly string[] = []): LaunchOptions => ({
  executablePath: '/usr/bin/chromium',
  // Its sandbox does not start for root.
  args: [...args, ...(process.getuid?.() === 0 ? ['--no-sandbox'] : [])],
  timeout: patience,
});

/** Resolves once something in the page is so. The page looks by itself, which leaves the machine to what it waits for. */
export const until = (page: Page, condition: string): Promise<unknown> =>
  page.evaluate(`(async () => {
    while ((await (${condition})) !== true) await new Promise((resolve) => setTimeout(resolve, 50));
  })()`);

export class Browser {
  readonly #browser: Awaited<ReturnType<typeof chromium.launch>>;
  /** What a user would not see: errors, refused and failed requests, requests to others than the server. */
  readonly #problems: string[] = [];
  readonly #owned: DrivenContext[] = [];

  private constructor(browser: Awaited<ReturnType<typeof chromium.launch>>) {
    this.#browser = browser;
  }

  static async launch(): Promise<Browser> {
    return new Browser(await chromium.launch(howToLaunch()));
  }

  /** Opens a page as somebody else than all others: nothing is shared with them. */
  async open(name: string, url: string, { script, own, ...more }: OpenOptions = {}): Promise<Page> {
    const options = { viewport: { width: 1000, height: 640 }, locale: 'en', ...more };
    const context =
      own === undefined
        ? await this.#browser.newContext(options)
        : await chromium.launchPersistentContext(own.folder, {
            ...options,
            ...howToLaunch(own.args),
            // Push messages count as such.
            ignoreDefaultArgs: ['--disable-background-networking'],
          });
    if (own !== undefined) this.#owned.push(context);
    if (script !== undefined) await context.addInitScript({ content: script });
    const page = await context.newPage();
    page.setDefaultTimeout(patience);
    const note = (text: string) => this.#problems.push(`${name}: ${text}`);
    // A violation of the Content-Security-Policy is an error of the console, too.
    page.on('console', (message) => message.type() === 'error' && note(message.text()));
    page.on('pageerror', (error) => note(error.message));
    page.on('request', (request) => {
      if (!/^(?:data|blob):/.test(request.url()) && new URL(request.url()).origin !== new URL(url).origin)
        note(`asks ${request.url()}`);
    });
    page.on('response', (response) => {
      if (response.status() >= 400) note(`${response.status()} ${response.url()}`);
    });
    await page.goto(url);
    return page;
  }

  /** @param known errors of the client itself */
  demandNoProblems(known?: RegExp): void {
    assert.deepEqual(
      this.#problems.splice(0).filter((problem) => known?.test(problem) !== true),
      [],
    );
  }

  /**
   * What keeps people with disabilities from using the page: violations of WCAG that axe-core rates serious or critical.
   *
   * @param known parts of pages of Converse.js itself, by selector and rule
   */
  static async barriers(page: Page, known: readonly string[] = []): Promise<string[]> {
    await page.evaluate(axe);
    const { violations } = (await page.evaluate(`axe.run(document, { resultTypes: ['violations'] })`)) as {
      readonly violations: readonly Violation[];
    };
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`))
      .filter((barrier) => !known.some((one) => barrier.startsWith(one)));
  }

  /** Why Chromium would not install the page as an app. */
  static async obstacles(page: Page): Promise<string[]> {
    const tools = await page.context().newCDPSession(page);
    const { installabilityErrors } = await tools.send('Page.getInstallabilityErrors');
    await tools.detach();
    // The pages of tests share nothing, as if they were private.
    return installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== 'in-incognito');
  }

  async close(): Promise<void> {
    for (const context of this.#owned) await context.close();
    await this.#browser.close();
  }
}
