/** `waxwing check`: looks for problems that keep the server from working, now or soon. Changes nothing. */
import { ConfigError, type Finding as ConfigFinding, formatFinding } from '../../config/findings.js';
import { demandStores } from '../../loader.js';
import { dnsResolver } from '../../stream/s2s/lookups.js';
import { statusOf } from '../background.js';
import type { Terminal } from '../command.js';
import { loadConfiguration } from '../configuration.js';
import { checkCertificates } from './certificates.js';
import { checkClock } from './clock.js';
import { checkComponents } from './components.js';
import { checkDns } from './dns.js';
import { checkFederation } from './federation.js';
import type { Finding, Subject } from './finding.js';
import { checkLimits } from './limits.js';
import { checkPorts } from './ports.js';
import { checkStart } from './start.js';
import { checkStorage } from './storage.js';
import { checkWeb } from './web.js';

export interface CheckData {
  readonly findings: readonly Finding[];
  readonly errors: number;
  readonly warnings: number;
}

/** `full`: includes slow checks. */
export async function check(terminal: Terminal, full: boolean): Promise<CheckData> {
  const findings = await look(terminal, full);
  const count = (level: Finding['level']) => findings.filter((finding) => finding.level === level).length;
  return { findings, errors: count('error'), warnings: count('warning') };
}

async function look(terminal: Terminal, full: boolean): Promise<Finding[]> {
  let subject: Subject;
  let renamed: Finding[];
  let file: string | undefined;
  let socket: string;
  try {
    const places = await terminal.places();
    ({ file, socket } = places);
    const { config, modules, warnings } = await loadConfiguration(file, terminal.given.data);
    renamed = warnings.map((warning) => fromConfigFinding(warning, 'warning'));
    // Throws what the start would.
    demandStores(modules, config);
    subject = { config, running: await statusOf(socket), full };
  } catch (error) {
    return fromConfiguration(error);
  }
  const configuration: Finding = {
    area: 'configuration',
    level: 'ok',
    what: file ?? 'no file; using the defaults',
  };
  const started = checkStart(subject, { file });
  const { dns_servers } = subject.config.s2s;
  const parts = await Promise.all([
    part('certificates', checkCertificates(subject)),
    part('ports', checkPorts(subject)),
    part('storage', checkStorage(subject)),
    part('clock', checkClock(subject)),
    part('dns', checkDns(subject, { resolver: dnsResolver() })),
    part('web', checkWeb(subject, fetch)),
    part('limits', checkLimits(subject)),
    part(
      'federation',
      started.then(({ domains }) => checkFederation(subject, { resolver: dnsResolver(dns_servers), domains })),
    ),
    part(
      'server',
      started.then(({ findings }) => [...findings]),
    ),
  ]);
  return [
    configuration,
    ...renamed,
    ...checkComponents(subject),
    server(subject, socket),
    ...webClients(subject),
    ...parts.flat(),
  ];
}

function fromConfiguration(error: unknown): Finding[] {
  if (error instanceof ConfigError) return error.findings.map((finding) => fromConfigFinding(finding, 'error'));
  if (!(error instanceof Error) || (error.name !== 'ModuleError' && error.name !== 'CommandError')) throw error;
  return [{ area: error.name === 'ModuleError' ? 'configuration' : 'server', level: 'error', what: error.message }];
}

function fromConfigFinding(finding: ConfigFinding, level: 'warning' | 'error'): Finding {
  return {
    area: 'configuration',
    level,
    what: formatFinding({ ...finding, hint: '' }).replace(/; $/, ''),
    advice: `${finding.hint.charAt(0).toUpperCase()}${finding.hint.slice(1)}.`,
  };
}

function server({ running }: Subject, socket: string): Finding {
  return {
    area: 'server',
    level: 'ok',
    what:
      running === undefined
        ? `not running (no reply at ${socket})`
        : `version ${running.version} is running as process ${running.pid}`,
  };
}

/** The running server may be older than this program, and not say where its web client is. */
function webClients({ running }: Subject): Finding[] {
  return (running?.webClients ?? []).map((url) => ({ area: 'server', level: 'ok', what: `web client: ${url}` }));
}

/** Turns a failed check into a finding, so that the others continue. */
function part(area: Finding['area'], findings: Promise<Finding[]>): Promise<Finding[]> {
  return findings.catch((error: Error) => [
    { area, level: 'error', what: `check failed: ${error.message}` } satisfies Finding,
  ]);
}
