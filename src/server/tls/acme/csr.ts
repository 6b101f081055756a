/** Certificate signing requests (PKCS #10, RFC 2986). */
import { createPublicKey, type KeyObject, sign } from 'node:crypto';
import { derTag, writeDer, writeOid } from '../der.js';
import { subjectAltName } from '../self-signed.js';

/** In DER. The names are in the subjectAltName alone, and the subject is empty (RFC 8555 §7.4). */
export function signingRequest(domains: readonly string[], key: KeyObject): Buffer {
  const info = writeDer(
    derTag.sequence,
    writeDer(0x02, Buffer.of(0)), // version
    writeDer(derTag.sequence), // subject
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
    writeDer(
      derTag.context(0),
      writeDer(
        derTag.sequence,
        writeOid('1.2.840.113549.1.9.14'), // extensionRequest
        writeDer(0x31, writeDer(derTag.sequence, subjectAltName(domains, []))),
      ),
    ),
  );
  return writeDer(derTag.sequence, info, algorithmOf(key), writeDer(0x03, Buffer.of(0), sign('sha256', info, key)));
}

function algorithmOf({ asymmetricKeyType: type }: KeyObject): Buffer {
  if (type === 'ec') return writeDer(derTag.sequence, writeOid('1.2.840.10045.4.3.2')); // ecdsa-with-SHA256
  // sha256WithRSAEncryption, whose parameters are NULL (RFC 4055 §5)
  if (type === 'rsa') return writeDer(derTag.sequence, writeOid('1.2.840.113549.1.1.11'), writeDer(0x05));
  throw new Error(`a key of type ${type} cannot be certified; use an EC or RSA key`);
}
