/** `node certificate.js FOLDER`: a certificate for localhost, which clients trust before they start. */
import { ensureSelfSigned } from '../../src/server/tls/self-signed.js';

await ensureSelfSigned(process.argv[2]!, ['localhost']);
