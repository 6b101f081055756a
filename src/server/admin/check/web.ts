/**
 * Whether browsers and web clients reach the server: at the address that it announces, with a certificate that they
 * accept, and by the host's metadata (XEP-0156) at the usual port.
 */
import { parseListenAddress } from '../../config/address.js';
import { isPrivateName } from '../../config/public-names.js';
import { publicUrl } from '../../http/public-url.js';
import type { Finding, Subject } from './finding.js';

/** Most hosts to ask. */
const mostHosts = 20;
const timeoutMs = 5000;
/** More than any such file needs. */
const mostBytes = 65_536;
const websocket = 'urn:xmpp:alt-connections:websocket';

/** The part of `fetch` that is used. */
export type Fetch = (url: string, options: { readonly signal: AbortSignal }) => Promise<Response>;

export async function checkWeb(
  { config, running }: Pick<Subject, 'config' | 'running'>,
  request: Fetch,
): Promise<Finding[]> {
  const { listen, modules } = config;
  if ([...listen.https, ...listen.http].length === 0) return [];
  const describes = !modules.disabled.includes('host_meta');
  const hosts = Object.keys(config.hosts).filter((host) => !isPrivateName(host));
  const findings = hosts.slice(0, mostHosts).map(async (host) => {
    const announced = running === undefined ? undefined : publicUrl(host, config, listeners(config, running));
    const [reached, described] = await Promise.all([
      announced === undefined ? [] : isReached(announced, request),
      describes ? [isDescribed(host, request)] : [],
    ]);
    return [...reached, ...(await Promise.all(described))];
  });
  return (await Promise.all(findings)).flat();
}

/** As the running server has them; an older one does not say. */
function listeners({ listen }: Subject['config'], { listening = [] }: NonNullable<Subject['running']>) {
  if (listening.length > 0) return listening;
  return (['http', 'https'] as const).flatMap((kind) =>
    listen[kind].map((text) => ({ kind, port: parseListenAddress(text)!.port })),
  );
}

/** Any answer will do: what matters is the way to the server. */
async function isReached(url: string, request: Fetch): Promise<Finding[]> {
  try {
    const response = await request(`${url}/`, { signal: AbortSignal.timeout(timeoutMs) });
    await response.body?.cancel();
    return [{ area: 'web', level: 'ok', what: `${url} answers` }];
  } catch (error) {
    const code = reasonOf(error);
    const isRefused = /CERT|SIGNATURE|SELF_SIGNED|ISSUER/.test(code);
    return [
      {
        area: 'web',
        level: 'warning',
        what: `${url} ${isRefused ? 'has a certificate that browsers refuse' : 'cannot be reached from this machine'} (${code})`,
        why: 'The web client, WebSocket, BOSH and uploaded files are announced there.',
        advice: isRefused
          ? 'Get a certificate from an authority for this name; if a proxy has the address, for the proxy.'
          : 'Add an A or AAAA record for the name, open the port in the firewall, and forward it in the router. If people reach the server at another address, set it as public_url of the host.',
      },
    ];
  }
}

async function isDescribed(host: string, request: Fetch): Promise<Finding> {
  const url = `https://${host}/.well-known/host-meta`;
  const problem = await problemOf(url, request);
  if (problem === undefined) return { area: 'web', level: 'ok', what: `${url} names WebSocket` };
  return {
    area: 'web',
    level: 'note',
    what: `${url} ${problem}`,
    why: 'Web clients on other sites look there for the address of WebSocket. Other clients do not need it.',
    advice: `Let the web server of ${host} pass this path on to this server, or copy the file (docs/admin.md, Web clients).`,
  };
}

/** Undefined if there is none. */
async function problemOf(url: string, request: Fetch): Promise<string | undefined> {
  try {
    const response = await request(url, { signal: AbortSignal.timeout(timeoutMs) });
    if (!response.ok) return `is answered with status ${response.status}`;
    return (await beginningOf(response)).includes(websocket) ? undefined : 'does not name WebSocket';
  } catch (error) {
    return `cannot be read (${reasonOf(error)})`;
  }
}

function reasonOf(error: unknown): string {
  const { cause, message } = error as Error & { readonly cause?: NodeJS.ErrnoException };
  return cause?.code ?? cause?.message ?? message;
}

async function beginningOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > mostBytes) break;
  }
  return Buffer.concat(chunks).toString('utf8', 0, Math.min(bytes, mostBytes));
}
