/**
 * Certificates of the hosts by server name (SNI, RFC 6066 §3): loaded from the configured files or self-signed, and
 * reloaded when the files change. Wildcards, and an ECDSA and an RSA certificate side by side, are supported.
 */

import { constants, createHash, createPrivateKey, randomBytes, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import { domainToASCII } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { Recent } from '../../storage/recent.js';
import { monotonic, wall } from '../clock.js';
import type { Config } from '../config/schema.js';
import { endPointHash } from '../stream/sasl/binding.js';
import type { Hello } from '../transport/client-hello.js';
import { type CertificateNames, coversDomain, coversServer, xmppAddresses } from './names.js';
import { certificatesIn, ensureSelfSigned, filesOf, isSelfSigned, settleKey } from './self-signed.js';
import { publicName } from './served.js';

/** The certificate of a host is not usable. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError';
  constructor(
    readonly host: string,
    readonly file: string,
    readonly problem: string,
  ) {
    super(`certificate of ${host}: ${file}: ${problem}`);
  }
}

export type CertificateChange =
  /** A self-signed certificate was created or renewed. */
  | { readonly kind: 'made'; readonly host: string; readonly file: string }
  /** Changed files were loaded and are used for new connections. */
  | { readonly kind: 'reloaded'; readonly host: string }
  /** Changed files are not usable; the previous certificate is still in use. */
  | { readonly kind: 'refused'; readonly host: string; readonly error: Error };

export interface CertificateOptions {
  readonly config: Pick<Config, 'data' | 'hosts' | 'tls'>;
  /** By host: further domains that its certificate has to prove, such as those of services. */
  readonly domains?: ReadonlyMap<string, readonly string[]>;
  /** Called on changes while the server runs. */
  readonly report?: (change: CertificateChange) => void;
}

/** Returns a `report` that writes changes to a log. */
export const changeLog =
  (log: Logger) =>
  (change: CertificateChange): void => {
    const { host, kind } = change;
    if (kind === 'refused')
      log.error({ err: change.error, host }, 'a certificate is not usable; the previous one stays in use');
    else log.info({ host }, kind === 'made' ? 'made a self-signed certificate' : 'loaded a new certificate');
  };

/** A certificate as reported by `waxwing check`. */
export interface Inspection {
  readonly host: string;
  readonly file: string;
  /** The domains that it proves. */
  readonly names: readonly string[];
  readonly notAfter: Date | undefined;
  readonly selfSigned: boolean;
  /**
   * Whether it proves the host to clients that trust its authority: it is readable, currently valid, and for the host.
   */
  readonly usable: boolean;
  /** Current and imminent problems. */
  readonly problems: readonly string[];
  /** Further domains that it should prove to other servers and does not. */
  readonly uncovered: readonly string[];
}

interface Loaded {
  readonly host: string;
  readonly pairs: readonly Pair[];
  /** Names of each certificate. */
  readonly names: readonly CertificateNames[];
  /** Context that resumes sessions; only for the host's own name. */
  readonly context: SecureContext;
  /** The same without session resumption. Created on demand. */
  readonly strict: () => SecureContext;
  /** For streams with other servers, whose certificates it verifies; resumes no session. Created on demand. */
  readonly toServers: () => SecureContext;
  /** RFC 5929 §4; set only if there is one certificate. */
  readonly endPoint: Buffer | undefined;
  /** When the first of the certificates expires, in ms since 1970. */
  readonly end: number;
}

/** Maximum cached server names. */
const maxNames = 1000;

/** Ticket keys of a host: a session is only resumed under the settings it was created with. */
interface TicketKeys {
  readonly keys: Buffer;
  /** Monotonic clock, in ms. */
  readonly madeAt: number;
  /** Hash of certificates, authorities and settings. */
  readonly settings: string;
}

/** A certificate chain and its key, both PEM. */
interface Pair {
  readonly certificate: string;
  readonly key: string;
}

const day = 86_400_000;
/** A ticket key decrypts every TLS 1.2 session resumed with it, so its lifetime is short. */
const ticketKeyLife = day;
/** Let's Encrypt certificates are renewed a month before they expire: less left means that renewal fails. */
const soon = 14 * day;

export class Certificates {
  #options: CertificateOptions;
  readonly #loaded = new Map<string, Loaded>();
  /** Cache by server name, cleared on reload. */
  readonly #found = new Recent<Loaded>(maxNames);
  /** By host: stamp of the files when last read, successfully or not. */
  readonly #tried = new Map<string, string>();
  /** By host: the current error, so that it is reported once. */
  readonly #refusals = new Map<string, string>();
  readonly #ticketKeys = new Map<string, TicketKeys>();
  #timer: NodeJS.Timeout | undefined;
  /** The current reload, or a resolved promise: reloads do not overlap. */
  #idle: Promise<void> = Promise.resolve();
  #isClosed = false;

  private constructor(options: CertificateOptions) {
    this.#options = options;
  }

  /** Loads all certificates, creating self-signed ones for hosts without. Rejects with CertificateError. */
  static async open(options: CertificateOptions): Promise<Certificates> {
    const certificates = new Certificates(options);
    for (const host of Object.keys(options.config.hosts)) {
      await certificates.#renew(host);
      certificates.#tried.set(host, await certificates.#stamp(host));
      certificates.#loaded.set(host, await certificates.#load(host));
    }
    certificates.#watch();
    return certificates;
  }

  /**
   * Returns the context for a server name in any spelling: of the host with that name, else of a host whose certificate
   * covers it, else of its parent domain, else of the default host.
   */
  contextFor(servername: string | undefined): SecureContext {
    return this.#loadedFor(servername).context;
  }

  /**
   * Returns the initial context of a connection. RFC 6066 §3: a session must not be resumed under another name, so a
   * connection without the host's own name gets a context without resumption.
   */
  contextOf(hello: Hello): SecureContext {
    const servername = hello === 'unreadable' ? undefined : hello.servername;
    const loaded = this.#loadedFor(servername);
    const isOwnName = servername !== undefined && servername.toLowerCase() === domainToASCII(loaded.host);
    return isOwnName ? loaded.context : loaded.strict();
  }

  /** Of the host that `contextFor` finds for the name: for a connection with another server, which either side opened. */
  contextForServers(servername: string | undefined): SecureContext {
    return this.#loadedFor(servername).toServers();
  }

  /**
   * Returns tls-server-end-point (RFC 5929 §4) for a server name if the host has a single certificate. Otherwise it
   * depends on the negotiated one, and the result is undefined.
   */
  endPointFor(servername: string | undefined): Buffer | undefined {
    return this.#loadedFor(servername).endPoint;
  }

  #loadedFor(servername = ''): Loaded {
    const known = this.#found.get(servername);
    if (known !== undefined) return known;
    const name = domainToASCII(servername.replace(/\.$/, ''));
    const all = [...this.#loaded.values()];
    const found =
      all.find(({ host }) => domainToASCII(host) === name) ??
      all.find(({ names }) => name !== '' && names.some((one) => coversDomain(one, name))) ??
      all.find(({ host }) => name.endsWith(`.${domainToASCII(host)}`)) ??
      all[0]!;
    this.#found.set(servername, found);
    return found;
  }

  /** For `SNICallback` of node:tls. */
  readonly sniCallback = (servername: string, done: (error: Error | null, context?: SecureContext) => void): void => {
    done(null, this.contextFor(servername));
  };

  /**
   * Reloads changed files, or everything if `config` is given. An unusable certificate is reported, and the previous
   * one stays in use. Never rejects.
   */
  reload(config?: CertificateOptions['config']): Promise<void> {
    this.#idle = this.#idle.then(() => this.#reload(config));
    return this.#idle;
  }

  /**
   * Runs `write`, which replaces files, while they are not looked at: a self-signed certificate that is due is not written
   * over the new one. Then reloads. Rejects if `write` does.
   */
  async replace(write: () => Promise<void>): Promise<void> {
    const written = this.#idle.then(write);
    this.#idle = written.then(
      () => this.#reload(undefined),
      () => {}, // the caller gets the error
    );
    await written;
    await this.#idle;
  }

  /** By host, in ms since 1970: when the certificates in use expire, the first of several. */
  get ends(): ReadonlyMap<string, number> {
    return new Map([...this.#loaded.values()].map(({ host, end }) => [host, end]));
  }

  inspect(): Promise<Inspection[]> {
    return inspectCertificates(this.#options);
  }

  /** Stops checking for changes. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  /** Polls the files: file watchers lose files that are replaced by a rename or through a link. */
  #watch(): void {
    if (this.#isClosed) return;
    const ms = this.#options.config.tls.reload_check_seconds * 1000;
    const watch = () => this.#watch();
    this.#timer = setTimeout(() => void this.reload().then(watch, watch), ms).unref();
  }

  async #reload(config: CertificateOptions['config'] | undefined): Promise<void> {
    if (config !== undefined) this.#options = { ...this.#options, config };
    const hosts = Object.keys(this.#options.config.hosts);
    for (const host of hosts) await this.#refresh(host, config !== undefined || this.#keysAreOld(host));
    for (const host of [...this.#loaded.keys()]) {
      if (hosts.includes(host)) continue;
      for (const known of [this.#loaded, this.#tried, this.#refusals, this.#ticketKeys]) known.delete(host);
      this.#found.clear();
    }
  }

  async #refresh(host: string, isForced: boolean): Promise<void> {
    try {
      await this.#renew(host);
      const stamp = await this.#stamp(host);
      if (!isForced && stamp === this.#tried.get(host)) return;
      this.#tried.set(host, stamp);
      const before = this.#loaded.get(host);
      const after = await this.#load(host);
      this.#loaded.set(host, after);
      this.#found.clear();
      this.#refusals.delete(host);
      if (!isDeepStrictEqual(after.pairs, before?.pairs)) this.#options.report?.({ kind: 'reloaded', host });
    } catch (caught) {
      const error = caught as Error;
      if (this.#refusals.get(host) === error.message) return;
      this.#refusals.set(host, error.message);
      this.#options.report?.({ kind: 'refused', host, error });
    }
  }

  async #load(host: string): Promise<Loaded> {
    const pairs = await Promise.all(this.#files(host).map((pair) => readPair(host, pair)));
    const { tls } = this.#options.config;
    const authorities = await Promise.all(tls.client_authorities.map((file) => readText(host, file)));
    const serverAuthorities = await Promise.all(tls.server_authorities.map((file) => readText(host, file)));
    const options: SecureContextOptions = {
      cert: pairs.map(({ certificate }) => certificate),
      key: pairs.map(({ key }) => key),
      // without client certificates nothing is verified: an empty list saves the memory of Node's own
      ...(tls.client_certificates && authorities.length === 0 ? {} : { ca: authorities }),
      minVersion: `TLSv${tls.minimum_version}`,
      ciphers: tls.ciphers,
      // all offered ciphers are strong: the client knows which is fast on its hardware
      honorCipherOrder: false,
    };
    const hash = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 32);
    const ends = pairs.map(({ certificate }) => Date.parse(new X509Certificate(certificate).validTo));
    let strict: SecureContext | undefined;
    let toServers: SecureContext | undefined;
    return {
      host,
      pairs,
      endPoint: pairs.length === 1 ? endPointHash(new X509Certificate(pairs[0]!.certificate)) : undefined,
      names: pairs.map(({ certificate }) => xmppAddresses(new X509Certificate(certificate).raw)),
      end: Math.min(...ends),
      context: createSecureContext({
        ...options,
        sessionTimeout: tls.session_seconds,
        sessionIdContext: hash(host),
        ticketKeys: this.#keysFor(host, hash(JSON.stringify([pairs, authorities, tls]))),
      }),
      strict: () =>
        (strict ??= createSecureContext({
          ...options,
          sessionIdContext: hash(`${host} strict`),
          secureOptions: constants.SSL_OP_NO_TICKET,
        })),
      toServers: () =>
        (toServers ??= createSecureContext({
          ...options,
          ca: serverAuthorities.length === 0 ? undefined : serverAuthorities,
          sessionIdContext: hash(`${host} servers`),
          secureOptions: constants.SSL_OP_NO_TICKET,
        })),
    };
  }

  /** Returns the current ticket keys, or new ones if the settings changed or the keys have expired. */
  #keysFor(host: string, settings: string): Buffer {
    const known = this.#ticketKeys.get(host);
    if (known?.settings === settings && !this.#keysAreOld(host)) return known.keys;
    const keys = randomBytes(48);
    this.#ticketKeys.set(host, { keys, madeAt: monotonic(), settings });
    return keys;
  }

  #keysAreOld(host: string): boolean {
    const known = this.#ticketKeys.get(host);
    return known !== undefined && monotonic() - known.madeAt > ticketKeyLife;
  }

  /** Returns a stamp of all files used in the context of a host. */
  #stamp(host: string): Promise<string> {
    const own = this.#files(host).flatMap(({ certificate, key }) => [certificate, key]);
    const { client_authorities, server_authorities } = this.#options.config.tls;
    return stampOf([...own, ...client_authorities, ...server_authorities]);
  }

  /** Creates or renews the self-signed certificate of a host without configured files, if due. */
  async #renew(host: string): Promise<void> {
    if (this.#options.config.hosts[host]!.certificate.length > 0) return;
    const folder = folderOf(this.#options);
    const own = [host, publicName(host, this.#options.config)].filter((name) => name !== undefined);
    const domains = [...own, ...(this.#options.domains?.get(host) ?? [])];
    const files = filesOf(folder, host);
    const { certificate: file } = files;
    await settleKey(files);
    const isMade = await ensureSelfSigned(folder, domains).catch((error: Error) => {
      throw new CertificateError(host, file, `cannot create a self-signed certificate: ${error.message}`);
    });
    if (isMade) this.#options.report?.({ kind: 'made', host, file });
  }

  #files(host: string): readonly Pair[] {
    return filesFor(this.#options, host);
  }
}

/** Inspects the certificates on disk without creating any. */
export async function inspectCertificates(options: CertificateOptions, now = wall()): Promise<Inspection[]> {
  const perHost = Object.keys(options.config.hosts).map(async (host) => {
    const isOwn = options.config.hosts[host]!.certificate.length === 0;
    const { certificate: file } = filesFor(options, host)[0]!;
    // a new server creates it at startup
    if (
      isOwn &&
      (await stampOf(filesFor(options, host).flatMap(({ certificate, key }) => [certificate, key]))).includes('ENOENT')
    ) {
      return [
        { host, file, names: [], notAfter: undefined, selfSigned: true, usable: true, problems: [], uncovered: [] },
      ];
    }
    return Promise.all(
      filesFor(options, host).map((pair) => inspectPair(host, pair, options.domains?.get(host) ?? [], now)),
    );
  });
  return (await Promise.all(perHost)).flat();
}

async function inspectPair(host: string, files: Pair, domains: readonly string[], now: number): Promise<Inspection> {
  const file = files.certificate;
  try {
    const pair = await readPair(host, files);
    const certificate = new X509Certificate(pair.certificate);
    const selfSigned = isSelfSigned(certificate);
    const names = xmppAddresses(certificate.raw);
    const [from, to] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = certificate.publicKey;
    const isOpen = ((await stat(files.key)).mode & 0o004) !== 0;
    const problems = [
      to < now ? `expired on ${dateOf(to)}` : to - now < soon ? `expires soon, on ${dateOf(to)}` : '',
      from > now ? `is not valid before ${dateOf(from)}` : '',
      coversDomain(names, host) ? '' : `is not for ${host}`,
      type === 'rsa' && (details?.modulusLength ?? 0) < 2048 ? 'has an RSA key shorter than 2048 bits' : '',
      !selfSigned && pair.certificate.split('-----BEGIN CERTIFICATE-----').length === 2
        ? 'is the only certificate in its file: without the intermediate certificates clients may not trust it'
        : '',
      isOpen ? `has a key file that is readable by other users: ${files.key}` : '',
    ];
    return {
      host,
      file,
      names: names.dns,
      notAfter: new Date(to),
      selfSigned,
      usable: from <= now && now <= to && coversDomain(names, host),
      problems: problems.filter((problem) => problem !== ''),
      uncovered: domains.filter((domain) => !coversServer(names, domain)),
    };
  } catch (error) {
    const problem = error instanceof CertificateError ? error.problem : (error as Error).message;
    return {
      host,
      file,
      names: [],
      notAfter: undefined,
      selfSigned: false,
      usable: false,
      problems: [problem],
      uncovered: [],
    };
  }
}

function filesFor(options: CertificateOptions, host: string): readonly Pair[] {
  const { certificate, key } = options.config.hosts[host]!;
  if (certificate.length === 0) return [filesOf(folderOf(options), host)];
  return certificate.map((file, index) => ({ certificate: file, key: key[index]! }));
}

const folderOf = ({ config }: CertificateOptions): string => certificatesIn(config.data);

/** Rejects with CertificateError unless both files are readable and match. */
async function readPair(host: string, files: Pair): Promise<Pair> {
  const certificate = await readText(host, files.certificate);
  const key = await readText(host, files.key);
  const parsed = attempt(
    host,
    files.certificate,
    'contains no certificate in PEM',
    () => new X509Certificate(certificate),
  );
  const secret = attempt(host, files.key, 'contains no private key in PEM without a passphrase', () =>
    createPrivateKey(key),
  );
  if (!parsed.checkPrivateKey(secret)) {
    throw new CertificateError(host, files.key, `does not match ${files.certificate}`);
  }
  return { certificate, key };
}

async function readText(host: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CertificateError(host, file, code === 'ENOENT' ? 'no such file' : `cannot be read (${code})`);
  }
}

function attempt<T>(host: string, file: string, problem: string, read: () => T): T {
  try {
    return read();
  } catch {
    throw new CertificateError(host, file, problem);
  }
}

/** Changes whenever a file is written, replaced, or its link changed. */
async function stampOf(files: readonly string[]): Promise<string> {
  const stamps = files.map(async (file) => {
    try {
      const { ino, size, mtimeMs } = await stat(file);
      return `${ino} ${size} ${mtimeMs}`;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? 'unreadable';
    }
  });
  return (await Promise.all(stamps)).join();
}

function dateOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
