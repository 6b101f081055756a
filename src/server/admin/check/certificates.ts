import { wall } from '../../clock.js';
import { isPrivateName } from '../../config/public-names.js';
import { orderedHosts } from '../../config/schema.js';
import { inspectCertificates } from '../../tls/certificates.js';
import type { Finding, Subject } from './finding.js';

export async function checkCertificates(
  { config, running }: Pick<Subject, 'config' | 'running'>,
  now = wall(),
): Promise<Finding[]> {
  const inspections = await inspectCertificates({ config }, now);
  const ordered = orderedHosts(config);
  const orders = (running?.certificates ?? []).flatMap(({ host, error }): Finding[] =>
    error === null ? [] : [failedOrder(host, error)],
  );
  const found = inspections.flatMap(({ host, file, notAfter, selfSigned, usable, problems }): Finding[] => {
    const found = problems.map(
      (problem): Finding => ({
        area: 'certificates',
        level: usable ? 'warning' : 'error',
        what: `${host}: ${file} ${problem}`,
        why: usable
          ? 'Clients may soon refuse the server, or attackers may read the traffic.'
          : 'Clients and other servers refuse the connection.',
        advice: 'Renew or replace the certificate and its key, then: waxwing reload.',
      }),
    );
    if (selfSigned && ordered.includes(host)) {
      found.push(notOrderedYet(host, running !== undefined));
    } else if (selfSigned && !isPrivateName(host)) {
      found.push({
        area: 'certificates',
        level: 'warning',
        what: `${host}: ${notAfter === undefined ? 'a self-signed certificate will be created' : `${file} is self-signed`}`,
        why: 'Clients warn about it, and other servers refuse it.',
        advice: `Let the server get one: tls.acme.agree_terms = true. Or get one from an authority, and set it in [hosts."${host}"] as certificate and key.`,
      });
    }
    if (found.length > 0) return found;
    const what =
      notAfter === undefined
        ? `${host}: a self-signed certificate will be created`
        : `${host}: valid until ${notAfter.toISOString().slice(0, 10)}${selfSigned ? ', self-signed' : ''}`;
    return [{ area: 'certificates', level: 'ok', what }];
  });
  return [...orders, ...found];
}

const failedOrder = (host: string, error: string): Finding => ({
  area: 'certificates',
  level: 'error',
  what: `${host}: the last order of a certificate failed: ${error}`,
  why: 'The server tries again, less and less often. Once the certificate in use has expired, nobody can connect.',
  advice: `Remove the cause, then: waxwing certificates renew ${host}. If port 80 is the cause, see tls.acme.challenge.`,
});

const notOrderedYet = (host: string, isRunning: boolean): Finding => ({
  area: 'certificates',
  level: isRunning ? 'warning' : 'note',
  what: `${host}: has no certificate of an authority yet`,
  why: 'Until it has one, clients warn about it, and other servers refuse it.',
  advice: isRunning
    ? `See what the order waits for: waxwing certificates show ${host}.`
    : 'Start the server, which orders it.',
});
