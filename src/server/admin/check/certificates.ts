import { wall } from '../../clock.js';
import { isPrivateName } from '../../config/public-names.js';
import { inspectCertificates } from '../../tls/certificates.js';
import type { Finding, Subject } from './finding.js';

export async function checkCertificates({ config }: Pick<Subject, 'config'>, now = wall()): Promise<Finding[]> {
  const inspections = await inspectCertificates({ config }, now);
  return inspections.flatMap(({ host, file, notAfter, selfSigned, usable, problems }): Finding[] => {
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
    if (selfSigned && !isPrivateName(host)) {
      found.push({
        area: 'certificates',
        level: 'warning',
        what: `${host}: ${notAfter === undefined ? 'a self-signed certificate will be created' : `${file} is self-signed`}`,
        why: 'Clients warn about it, and other servers refuse it.',
        advice: `Get one from an authority such as Let's Encrypt, and set it in [hosts."${host}"] as certificate and key.`,
      });
    }
    if (found.length > 0) return found;
    const what =
      notAfter === undefined
        ? `${host}: a self-signed certificate will be created`
        : `${host}: valid until ${notAfter.toISOString().slice(0, 10)}${selfSigned ? ', self-signed' : ''}`;
    return [{ area: 'certificates', level: 'ok', what }];
  });
}
