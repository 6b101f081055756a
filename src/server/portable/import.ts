/**
 * Reads accounts in the format of XEP-0227. The file is read twice: first everything that can be refused before anything
 * is written, then account by account. An account that is being imported is marked in its record: nobody can log in until
 * it is complete, and the next import continues with it. What an account has already stays as it is.
 */
import { AccountError, type Imported } from '../accounts/index.js';
import { Jid } from '../address/jid.js';
import { monotonic } from '../clock.js';
import { CommandError, type PortableElement } from '../module/index.js';
import type { LocalHost } from '../routing/host.js';
import { StanzaError } from '../stanza/errors.js';
import { parse } from '../xml/element.js';
import { accountElements, accountPart, readAccountElement } from './account.js';
import { readPortable } from './files.js';
import { beginning, ending, taking } from './home.js';
import type { PortableEvent } from './parser.js';

export const existingChoices = ['skip', 'merge', 'replace'] as const;
export type Existing = (typeof existingChoices)[number];

export interface ImportOptions {
  /** A file, or a folder with files. */
  readonly path: string;
  /** Only accounts of this host. */
  readonly host: string | undefined;
  /** What to do about accounts that exist; undefined refuses to import anything. */
  readonly existing: Existing | undefined;
  /** Writes nothing. */
  readonly dryRun: boolean;
  readonly hosts: readonly LocalHost[];
  progress(text: string): void;
}

interface RefusedData {
  /** null: nothing of one account. */
  readonly account: string | null;
  readonly what: string;
  readonly why: string;
  count: number;
}

export interface ImportData {
  readonly dryRun: boolean;
  /** Accounts imported, or found by a dry run; those that existed before are also in `existing`. */
  accounts: number;
  existing: number;
  skipped: number;
  /** Accounts that could not be imported, or not as a whole. */
  readonly failed: { readonly account: string; readonly why: string }[];
  /** What was left out, with the reason. */
  readonly refused: RefusedData[];
  /** Further ones that are not listed. */
  furtherRefused: number;
  /** Elements that no running module takes. */
  readonly unknown: { readonly ns: string; readonly name: string; count: number }[];
  /** Hosts of the file that this server does not have. */
  readonly foreign: { readonly host: string; users: number }[];
  /** Accounts that nobody can log in to until they have a password. */
  readonly withoutPassword: string[];
  /** Accounts whose only keys are for SCRAM-SHA-1. */
  onlySha1: number;
}

/** Maximum entries of each list of the result. */
const mostListed = 1000;
/** Maximum parts, and characters, given to a module at once. */
const mostParts = 100;
const mostCharacters = 262_144;
/** Between two reports of progress, in ms. */
const reportEvery = 5000;
/** Accounts named in an error. */
const mostNamed = 10;

/** Rejects with CommandError, PortableError or StorageError. */
export async function importAccounts(options: ImportOptions): Promise<ImportData> {
  const survey = new Import(options, false);
  await survey.run();
  if (options.existing === undefined && survey.known.length > 0) {
    const more = survey.data.existing - survey.known.length;
    throw new CommandError(
      'conflict',
      `accounts exist already: ${survey.known.join(', ')}${more > 0 ? ` and ${more} more` : ''}; use --existing skip to leave them alone, such as after an interruption, --existing merge to add what they lack, or --existing replace`,
    );
  }
  if (options.dryRun) return survey.data;
  const real = new Import(options, true);
  await real.run();
  return real.data;
}

/** The account that is being read. */
interface Current {
  readonly jid: Jid;
  readonly host: LocalHost;
  readonly replaces: boolean;
  imported: Imported;
  readonly memos: Map<string, string>;
  /** Why the rest of it is not imported. */
  failure?: string;
}

class Import {
  readonly data: ImportData;
  /** Names of existing accounts, for an error. */
  readonly known: string[] = [];
  readonly #options: ImportOptions;
  readonly #acts: boolean;
  readonly #hosts: ReadonlyMap<string, LocalHost>;
  readonly #takers = new Map<string, { readonly module: string; readonly element: PortableElement }>();
  #host: LocalHost | undefined;
  #foreign: ImportData['foreign'][number] | undefined;
  #current: Current | undefined;
  #isInSkipped = false;
  #pending: { readonly module: string; readonly parts: string[]; characters: number } | undefined;
  #reported = monotonic();

  constructor(options: ImportOptions, acts: boolean) {
    this.#options = options;
    this.#acts = acts;
    this.#hosts = new Map(options.hosts.map((host) => [host.domain, host]));
    this.data = {
      dryRun: options.dryRun,
      accounts: 0,
      existing: 0,
      skipped: 0,
      failed: [],
      refused: [],
      furtherRefused: 0,
      unknown: [],
      foreign: [],
      withoutPassword: [],
      onlySha1: 0,
    };
    const add = (module: string, elements: readonly PortableElement[]) => {
      for (const element of elements) this.#takers.set(`${element.name} ${element.ns}`, { module, element });
    };
    add(accountPart, accountElements);
    for (const { hooks } of options.hosts) for (const [module, { takes }] of hooks.portables) add(module, takes);
  }

  async run(): Promise<void> {
    const takes = (ns: string, name: string) => this.#takers.get(`${name} ${ns}`)?.element;
    for await (const event of readPortable(this.#options.path, takes)) await this.#take(event);
  }

  async #take(event: PortableEvent): Promise<void> {
    switch (event.kind) {
      case 'host':
        return this.#enter(event.jid);
      case 'endHost':
        this.#host = this.#foreign = undefined;
        return;
      case 'user':
        return this.#begin(event.name, event.password);
      case 'endUser':
        return this.#end();
      case 'part':
        return this.#part(event.ns, event.name, event.xml);
      case 'unknown':
        if (this.#isOutside) return;
        this.#count(this.data.unknown, ({ ns, name }) => ns === event.ns && name === event.name, {
          ns: event.ns,
          name: event.name,
          count: 1,
        });
        return;
      case 'refused':
        if (!this.#isOutside) this.#refuse(event);
        return;
      case 'include':
    }
  }

  /** Whether the current element belongs to a host or user that is not imported. */
  get #isOutside(): boolean {
    return this.#foreign !== undefined || this.#isInSkipped;
  }

  #count<T extends { count: number }>(list: T[], isSame: (one: T) => boolean, added: T): void {
    const found = list.find(isSame);
    if (found !== undefined) found.count++;
    else if (list.length < mostListed) list.push(added);
    else this.data.furtherRefused++;
  }

  #refuse({ what, why }: { readonly what: string; readonly why: string }): void {
    const account = this.#current?.jid.bare ?? null;
    const isSame = (one: RefusedData) => one.account === account && one.what === what && one.why === why;
    this.#count(this.data.refused, isSame, { account, what, why, count: 1 });
  }

  #enter(name: string): void {
    const domain = Jid.tryParse(name)?.full;
    if (this.#options.host !== undefined && domain !== this.#options.host) {
      this.#foreign = { host: name, users: 0 };
      return;
    }
    this.#host = domain === undefined ? undefined : this.#hosts.get(domain);
    if (this.#host !== undefined) return;
    this.#foreign = { host: name.slice(0, 1023), users: 0 };
    if (this.data.foreign.length < mostListed) this.data.foreign.push(this.#foreign);
  }

  async #begin(name: string | undefined, password: string | undefined): Promise<void> {
    if (this.#foreign !== undefined) this.#foreign.users++;
    if (this.#host === undefined) return;
    this.#isInSkipped = true;
    const jid = accountOf(name, this.#host.domain);
    if (jid === undefined) {
      const what = `the user ${JSON.stringify((name ?? '').slice(0, 100))} of ${this.#host.domain}`;
      this.#refuse({ what, why: 'its name is not valid' });
      return;
    }
    const found = await this.#host.accounts.get(jid.bare);
    const isKnown = found !== undefined && !found.importing;
    const { existing } = this.#options;
    if (isKnown) this.data.existing++;
    if (isKnown && existing !== 'merge' && existing !== 'replace') {
      if (this.known.length < mostNamed) this.known.push(jid.bare);
      this.data.skipped++;
      // The survey found that it did not exist.
      if (this.#acts && existing === undefined) this.#fail(jid, 'it exists already, or is in the file twice');
      return;
    }
    this.#isInSkipped = false;
    const imported = password === undefined ? {} : { password };
    const replaces = existing === 'replace';
    this.#current = { jid, host: this.#host, replaces, imported, memos: new Map() };
    if (!this.#acts) return;
    await this.#attempt(async () => {
      await this.#host!.accounts.beginImport(jid);
      await this.#host!.askHome(beginning, jid, { replaces });
    });
  }

  async #part(ns: string, name: string, xml: string): Promise<void> {
    const current = this.#current;
    if (current === undefined || current.failure !== undefined) return;
    const { module } = this.#takers.get(`${name} ${ns}`)!;
    if (module === accountPart) {
      const read = readAccountElement(parse(xml), current.imported);
      if (typeof read === 'string') this.#refuse({ what: `<${name}>`, why: read });
      else current.imported = read;
      return;
    }
    if (!this.#acts) return;
    const pending = this.#pending;
    if (
      pending !== undefined &&
      (pending.module !== module || pending.parts.length >= mostParts || pending.characters >= mostCharacters)
    )
      await this.#flush();
    this.#pending ??= { module, parts: [], characters: 0 };
    this.#pending.parts.push(xml);
    this.#pending.characters += xml.length;
  }

  async #flush(): Promise<void> {
    const pending = this.#pending;
    const current = this.#current;
    this.#pending = undefined;
    if (pending === undefined || current === undefined) return;
    const { module, parts } = pending;
    const memo = current.memos.get(module);
    await this.#attempt(async () => {
      const given = { module, parts, ...(memo !== undefined && { memo }) };
      const { refused, memo: next } = await current.host.askHome(taking, current.jid, given);
      for (const one of refused) this.#refuse(one);
      if (next !== undefined) current.memos.set(module, next);
    });
    this.#report();
  }

  async #end(): Promise<void> {
    this.#isInSkipped = false;
    const current = this.#current;
    if (current === undefined) return;
    if (this.#acts) {
      await this.#flush();
      if (current.failure === undefined) await this.#attempt(() => this.#complete(current));
    }
    if (current.failure === undefined) this.data.accounts++;
    this.#current = undefined;
    this.#report();
  }

  async #complete({ jid, host, imported, replaces }: Current): Promise<void> {
    await host.askHome(ending, jid, null);
    const { accounts } = host;
    await accounts.endImport(jid.bare, { ...imported, replaces }).catch((error: unknown) => {
      if (!(error instanceof AccountError) || error.failure !== 'password-invalid') throw error;
      this.#refuse({ what: 'the password', why: error.message });
      return accounts.endImport(jid.bare, { ...imported, password: undefined, replaces });
    });
    const hashes = (await accounts.get(jid.bare))?.hashes ?? [];
    if (hashes.length === 0 && this.data.withoutPassword.length < mostListed) this.data.withoutPassword.push(jid.bare);
    if (hashes.length === 1 && hashes[0] === 'SHA-1') this.data.onlySha1++;
  }

  /** What concerns one account alone does not end the import. */
  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const why = reasonOf(error);
      if (why === undefined) throw error;
      this.#current!.failure = why;
      this.#fail(
        this.#current!.jid,
        `${why}; it is not complete, and nobody can log in to it until it is imported again`,
      );
    }
  }

  #fail({ bare }: Jid, why: string): void {
    if (this.data.failed.length < mostListed) this.data.failed.push({ account: bare, why });
    else this.data.furtherRefused++;
  }

  #report(): void {
    const now = monotonic();
    if (now - this.#reported < reportEvery) return;
    this.#reported = now;
    const at = this.#current === undefined ? '' : `, reading ${this.#current.jid.bare}`;
    this.#options.progress(`${this.#acts ? 'imported' : 'checked'} ${this.data.accounts} accounts${at}`);
  }
}

/** The address of a user (§4.2: `name` is a local part). Returns undefined if it is not valid. */
function accountOf(name: string | undefined, domain: string): Jid | undefined {
  if (name === undefined || name === '' || /[@/]/.test(name)) return undefined;
  const jid = Jid.tryParse(`${name}@${domain}`);
  return jid?.local === undefined ? undefined : jid;
}

/** The reason why an account cannot be imported. Returns undefined if the import as a whole cannot continue. */
function reasonOf(error: unknown): string | undefined {
  if (error instanceof StanzaError) return error.text ?? error.condition;
  if (error instanceof AccountError) return error.message;
  const { name, failure } = error as { readonly name?: string; readonly failure?: string };
  return name === 'StorageError' && failure === 'quota'
    ? 'its storage quota is reached (waxwing user quota)'
    : undefined;
}
